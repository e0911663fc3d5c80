package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/examples/kvstore/kvv1"
	"github.com/weftnet/weft/examples/kvstore/kvv1/kvv1connect"
	"github.com/weftnet/weft/overlay"
)

// A real node is one on a node of the overlay that uses a relay on loopback.
type realNode struct {
	t    *testing.T
	node *overlay.Node
	url  string
	stop func()
	done chan struct{}
}

// startReal starts a node that joins another one by name, or founds a store.
func startReal(t *testing.T, cfg overlay.Config, name, join string) *realNode {
	t.Helper()
	r := &realNode{t: t, node: testnet.Named(t, cfg, name), done: make(chan struct{})}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + ln.Addr().String()
	s := settings{data: t.TempDir(), Quorums: defaultQuorums, patience: 2 * time.Second, new: join == ""}
	if join != "" {
		s.join = []string{join}
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	r.stop = stop
	go func() {
		defer close(r.done)
		if err := runNode(ctx, r.node, ln, s, log); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-r.done
	})
	return r
}

// call makes a request and returns its status and body.
func (r *realNode) call(method, path, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(testnet.Context(r.t), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func (r *realNode) wants(method, path, body string, status int, answer string) {
	r.t.Helper()
	if got, text := r.call(method, path, body); got != status || !strings.Contains(text, answer) {
		r.t.Errorf("%s %.60s: %d %.200q; want %d %q", method, path, got, text, status, answer)
	}
}

// waitMembers waits until a node is in a view of so many, with nothing to take over.
func (r *realNode) waitMembers(n int) {
	r.t.Helper()
	client := kvv1connect.NewKVServiceClient(http.DefaultClient, r.url)
	for {
		resp, err := client.Members(testnet.Context(r.t), new(kvv1.MembersRequest))
		if err != nil {
			r.t.Fatal(err)
		}
		if len(resp.GetMembers()) == n && resp.GetPending() == 0 {
			return
		}
		wait(r.t.Context(), 20*time.Millisecond)
	}
}

func startThree(t *testing.T) (nodes []*realNode) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	cfg := testnet.Start(t)
	nodes = []*realNode{startReal(t, cfg, "kv-1", ""), startReal(t, cfg, "kv-2", "kv-1"), startReal(t, cfg, "kv-3", "kv-1")}
	for _, n := range nodes {
		n.waitMembers(3)
	}
	return nodes
}

func TestUsers(t *testing.T) {
	nodes := startThree(t)
	a, b, c := nodes[0], nodes[1], nodes[2]
	a.wants("PUT", "/v1/keys/hello", "world", 204, "")
	for _, n := range nodes {
		n.wants("GET", "/v1/keys/hello", "", 200, "world")
	}
	b.wants("GET", "/v1/keys/hello/host", "", 200, `"host":"`)
	c.wants("DELETE", "/v1/keys/hello", "", 204, "")
	for _, n := range nodes {
		n.wants("GET", "/v1/keys/hello", "", 404, "there is no such key")
	}
	c.wants("DELETE", "/v1/keys/never", "", 204, "")
	b.wants("PUT", "/v1/keys/a%2Fb%20%C3%BC", "slashes", 204, "")
	c.wants("GET", "/v1/keys/a%2Fb%20%C3%BC", "", 200, "slashes")
	a.wants("PUT", "/v1/keys/empty", "", 204, "")
	b.wants("GET", "/v1/keys/empty", "", 200, "")

	largest := strings.Repeat("x", maxValue)
	a.wants("PUT", "/v1/keys/large", largest, 204, "")
	b.wants("GET", "/v1/keys/large", "", 200, largest)
	a.wants("PUT", "/v1/keys/large", largest+"x", 413, "more than 1048576 bytes")
	a.wants("PUT", "/v1/keys/"+strings.Repeat("k", maxKey), "long", 204, "")
	a.wants("PUT", "/v1/keys/"+strings.Repeat("k", maxKey+1), "longer", 400, "the key has 1025 bytes; 1 to 1024 are allowed")

	client := kvv1connect.NewKVServiceClient(http.DefaultClient, a.url)
	if _, err := client.Get(t.Context(), &kvv1.GetRequest{Key: []byte("never")}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Error(err)
	}
	if _, err := client.Put(t.Context(), &kvv1.PutRequest{Key: []byte("k"), Value: []byte(largest + "x")}); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Error(err)
	}
	host, err := client.FindHost(t.Context(), &kvv1.FindHostRequest{Key: []byte("large")})
	if err != nil || len(host.GetReplicas()) != 3 || host.GetHost() != host.GetReplicas()[0] {
		t.Errorf("%v, %v", host, err)
	}

	// HTTP/2 keeps one conn for all calls to a node: one in each direction, and for a while the
	// one to the name by which a node has joined.
	for _, n := range nodes {
		for peer := range n.node.Peers() {
			if peer.Conns > 3 {
				t.Errorf("%d conns between %v and %v", peer.Conns, n.node.ID(), peer.ID)
			}
		}
	}

	b.wants("POST", "/v1/leave", "", 204, "") // in fact three become two
	<-b.done
	for _, n := range []*realNode{a, c} {
		n.waitMembers(2)
		n.wants("GET", "/v1/keys/large", "", 200, largest)
	}
}

// A node that is gone makes no other one fail, and whoever needs it learns which it is.
func TestWhoIsGoneIsNamed(t *testing.T) {
	nodes := startThree(t)
	a, b, c := nodes[0], nodes[1], nodes[2]
	a.wants("PUT", "/v1/keys/hello", "world", 204, "")
	b.stop() // it does not leave
	<-b.done
	a.wants("PUT", "/v1/keys/hello", "two of three", 204, "")
	c.wants("GET", "/v1/keys/hello", "", 200, "two of three")
	c.stop()
	<-c.done
	a.wants("PUT", "/v1/keys/hello", "one of three", 503, "2 of 3 nodes have to answer, but: ")
	a.wants("GET", "/v1/keys/hello", "", 503, "node "+b.node.ID().String())
	a.wants("GET", "/v1/keys/hello", "", 503, "node "+c.node.ID().String())
}

func TestWebPagesOfOthersAreRefused(t *testing.T) {
	handler := users{}.handler()
	for header, value := range map[string]string{"Host": "evil.example", "Sec-Fetch-Site": "cross-site"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://127.0.0.1:8080/v1/keys/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(header, value)
		if header == "Host" {
			req.Host = value
		}
		w := &answer{header: make(http.Header)}
		if handler.ServeHTTP(w, req); w.status != http.StatusForbidden {
			t.Errorf("%s: %s is answered with %d", header, value, w.status)
		}
	}
}

type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(p []byte) (int, error) { return len(p), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }

// TestDemo does what the demo says.
func TestDemo(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	ctx, stop := context.WithCancel(testnet.Context(t))
	reader, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- demo(ctx, 0, out) }()
	lines := bufio.NewScanner(reader)
	var urls []string
	for len(urls) < 4 && lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "http://"); ok {
			urls = append(urls, "http://"+url)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }() // the log
	first := &realNode{t: t, url: strings.TrimSuffix(urls[0], "/v1/keys/hello")}
	first.waitMembers(demoNodes)
	for i, try := range []struct {
		method, body, answer string
		status               int
	}{{"PUT", "world", "", 204}, {"GET", "", "world", 200}, {"GET", "", `"replicas":["`, 200}, {"POST", "", "", 204}} {
		(&realNode{t: t, url: urls[i]}).wants(try.method, "", try.body, try.status, try.answer)
	}
	first.waitMembers(demoNodes - 1)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	_ = out.Close()
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--write 1":             "write quorum: 1 is not from 2, a majority of the replicas, to 3",
		"--replicas 3 --read 4": "read quorum: 4",
		"--patience x":          "parse error",
		"start":                 `"start" is not understood`,
		"--join":                "flag needs an argument",
	} {
		if err := run(t.Context(), strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
	s, err := parse([]string{"--join", "kv-1,kv-2", "--join", "kv-3", "--replicas", "5", "--read", "3", "--write", "4"})
	if fmt.Sprint(s.join, s.Quorums) != "[kv-1 kv-2 kv-3] {5 3 4}" || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	for _, s := range []settings{{}, {new: true, join: []string{"kv-1"}}} {
		cfg := Config{Dir: t.TempDir(), Log: logrus.New(), New: s.new, Join: s.join}
		if _, err := open(cfg); err == nil || !strings.Contains(err.Error(), "--join), or that this is to be a new one (--new)") {
			t.Error(err)
		}
	}
	cfg := Config{ID: 1, Dir: t.TempDir(), Log: logrus.New(), New: true}
	n, err := open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.close(); err != nil {
		t.Error(err)
	}
	if _, err := open(cfg); err == nil || !strings.Contains(err.Error(), "go on with it without --new") {
		t.Error(err)
	}
	cfg.ID, cfg.New = 2, false
	if _, err := open(cfg); err == nil || !strings.Contains(err.Error(), "it belongs to node 0000000000000001, and this is 0000000000000002") {
		t.Error(err)
	}
	testnet.Setenv(t, overlay.Config{})
	if err := run(t.Context(), []string{"--data", t.TempDir()}); err == nil || !strings.Contains(err.Error(), "set WEFT_SECRET") {
		t.Error(err)
	}
}
