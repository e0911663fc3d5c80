package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/weftnet/weft/cmd/weft/internal/tunnel"
	"github.com/weftnet/weft/overlay"
)

// echoServer answers what it has read to the end, and then that it was the end. With a
// line "reset" it resets the conn.
func echoServer(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				all, _ := io.ReadAll(c)
				if string(all) == "reset" {
					_ = c.(*net.TCPConn).SetLinger(0)
					return
				}
				_, _ = c.Write(append(all, " and the end"...))
			}()
		}
	}()
	return ln.Addr().String()
}

// startForward starts forwards and returns where each of them listens.
func startForward(t *testing.T, n int, args ...string) (c *command, listen []string) {
	t.Helper()
	c = start(t, append([]string{"forward", "--json"}, args...)...)
	for range n {
		var st tunnel.Status
		if err := json.Unmarshal([]byte(c.line()), &st); err != nil {
			t.Fatal(err)
		}
		listen = append(listen, st.Listen)
	}
	return c, listen
}

// dialTCP dials a forward.
func dialTCP(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// wantReset checks that a forward resets a conn, at once or before it is read.
func wantReset(t *testing.T, addr, why string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s: %v, want a reset", why, err)
	}
}

// ask writes a question, ends that direction, and returns the answer.
func ask(t *testing.T, c *net.TCPConn, question string) string {
	t.Helper()
	if _, err := io.WriteString(c, question); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("read %q, %v", answer, err)
	}
	return string(answer)
}

func TestForwardFromEndToEnd(t *testing.T) {
	for _, mode := range []string{"own nodes", "node that is up"} {
		t.Run(mode, func(t *testing.T) {
			runtimeDir(t)
			startRelay(t)
			args := []string{"--name", "kv-1"}
			if mode == "node that is up" {
				startUp(t, args...)
				args = nil
			}
			server, ports := startForward(t, 1, append(args, "-R", "9000="+echoServer(t))...)
			if ports[0] != "kv-1:9000" {
				t.Errorf("the port is %s", ports[0])
			}
			client, ports := startForward(t, 1, "-L", "0=kv-1:9000", "--socket", "none")
			if answer := ask(t, dialTCP(t, ports[0]), "the question"); answer != "the question and the end" {
				t.Errorf("answer %q", answer)
			}
			long := strings.Repeat("0123456789abcdef", 1<<16)
			if answer := ask(t, dialTCP(t, ports[0]), long); answer != long+" and the end" {
				t.Errorf("an answer of %d bytes, want %d", len(answer), len(long)+12)
			}
			c := dialTCP(t, ports[0])
			_, _ = c.Write([]byte("reset"))
			_ = c.CloseWrite()
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the target resets: read %v", err)
			}
			client.log.await(t, "disorder")
			server.log.await(t, "disorder")
		})
	}
}

// A server may say why it does not want the rest of a request, and close the conn with
// that unread, which makes a reset of it.
func TestWhatWasSaidBeforeAResetArrives(t *testing.T) {
	for _, mode := range []string{"own nodes", "node that is up"} {
		t.Run(mode, func(t *testing.T) {
			runtimeDir(t)
			startRelay(t)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					_, _ = c.Read(make([]byte, 1))
					_, _ = c.Write([]byte("busy"))
					c.Close()
				}
			}()
			args := []string{"--name", "kv-1"}
			if mode != "own nodes" {
				startUp(t, args...)
				args = nil
			}
			startForward(t, 1, append(args, "-R", "9000="+ln.Addr().String())...)
			_, ports := startForward(t, 1, "-L", "0=kv-1:9000", "--socket", "none")
			c := dialTCP(t, ports[0])
			_, _ = c.Write([]byte("request"))
			if answer, err := io.ReadAll(c); string(answer) != "busy" || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %q, %v", answer, err)
			}
		})
	}
}

func TestForwardSaysWhatIsWrong(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	none := "127.0.0.1:1" // nobody listens there
	server, _ := startForward(t, 1, "--name", "kv-1", "-R", "9000="+none, "--socket", "none")
	client, ports := startForward(t, 3, "-L", "0=kv-1:9000", "-L", "0=kv-1:9001", "-L", "0=pigeon:1", "--socket", "none")
	for i, want := range []string{"could not reach the target behind the port", "nobody listens on the port", "no such node"} {
		wantReset(t, ports[i], want)
		client.log.await(t, want)
	}
	server.log.await(t, "connection refused")
	out, _, _ := weft(t, "status", "kv-1")
	if !strings.Contains(out, "forward kv-1:9000 -> 127.0.0.1:1: open 0 of 1, sent 0 B, received 0 B, 1 failed") {
		t.Errorf("status: %s", out)
	}
	for want, args := range map[string][]string{
		"what should be forwarded?":   nil,
		"is no port":                  {"-L", "pigeon"},
		"the target is not NODE:PORT": {"-L", "1=pigeon"},
		"the target is not HOST:PORT": {"-R", "1=pigeon"},
		"which targets may diallers":  {"-R", "9=*"},
		"who may use the proxy":       {"-L", ":0"},
		"--to stdin NODE:PORT":        {"--to", "stdout", "kv-1:1"},
		"which port of which node":    {"--to", "stdin"},
		"no pattern for targets":      {"-R", "9=*", "--allow-target", "x"},
		"limits and times cannot be":  {"-L", "0=kv-1:1", "--max-conns", "-1"},
		"for UDP, allow nodes by ID":  {"-R", "udp/9=127.0.0.1:1", "--allow", "kv-1"},
	} {
		_, stderr, code := weft(t, append([]string{"forward", "--socket", "none"}, args...)...)
		if code == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, %q; want %q", args, code, stderr, want)
		}
	}
	taken := strings.TrimPrefix(ports[0], "127.0.0.1:")
	if _, stderr, code := weft(t, "forward", "--socket", "none", "-L", taken+"=kv-1:1"); code != exitFailure || !strings.Contains(stderr, "address already in use") {
		t.Errorf("a port that is taken: exit code %d, %q", code, stderr)
	}
}

// Who only dials is nobody, whatever the environment or a file says.
func TestForwardOnAnErrandTakesNobodysPlace(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	t.Setenv(overlay.EnvName, "kv-1")
	t.Setenv(overlay.EnvState, t.TempDir())
	file := filepath.Join(t.TempDir(), "weft.yaml")
	if err := os.WriteFile(file, []byte("all:\n  name: kv-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	startForward(t, 1, "-R", "9000="+echoServer(t))
	client, ports := startForward(t, 1, "-L", "0=kv-1:9000", "--config", file)
	for range 2 {
		if answer := ask(t, dialTCP(t, ports[0]), "x"); answer != "x and the end" {
			t.Errorf("answer %q", answer)
		}
	}
	client.end(exitOK)
	client.log.await(t, "-> kv-1:9000 ends")
}

func TestForwardHasLimits(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	startForward(t, 1, "--name", "kv-1", "-R", "9000="+echoServer(t), "--socket", "none")
	client, ports := startForward(t, 1, "-L", "0=kv-1:9000", "--max-conns", "1", "--socket", "none")
	first := dialTCP(t, ports[0])
	_, _ = first.Write([]byte("x"))
	wantReset(t, ports[0], "a conn too many")
	client.log.await(t, "--max-conns")
	if answer := ask(t, first, "y"); answer != "xy and the end" {
		t.Errorf("the first: %q", answer)
	}
}

func TestForwardAllowsWhomItIsTold(t *testing.T) {
	runtimeDir(t)
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	startRelay(t)
	startForward(t, 1, "--name", "kv-1", "-R", "9000="+echoServer(t), "--allow", "friend", "--socket", "none")
	_, ports := startForward(t, 1, "-L", "0=kv-1:9000", "--name", "friend", "--socket", "none")
	if answer := ask(t, dialTCP(t, ports[0]), "x"); answer != "x and the end" {
		t.Errorf("a friend: %q", answer)
	}
	stranger, ports := startForward(t, 1, "-L", "0=kv-1:9000", "--name", "stranger", "--socket", "none")
	wantReset(t, ports[0], "a stranger")
	stranger.log.await(t, "does not allow this peer")
}

func TestTheTargetLearnsWhoIsCalling(t *testing.T) {
	runtimeDir(t)
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	startRelay(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, ports := startForward(t, 1, "--name", "kv-1", "-R", "9000="+ln.Addr().String(), "--proxy-protocol", "--socket", "none")
	_, ports = startForward(t, 1, "-L", "0="+ports[0], "--name", "laptop", "--socket", "none")
	client := dialTCP(t, ports[0])
	_, _ = client.Write([]byte("hello\n"))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	header, err := proxyproto.Read(r)
	if err != nil {
		t.Fatal(err)
	}
	out, _, _ := weft(t, "status", "laptop", "--json")
	var all []report
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		t.Fatal(out)
	}
	source, destination, ok := header.TCPAddrs()
	if !ok || !strings.Contains(strings.ReplaceAll(source.IP.String(), ":", ""), strings.TrimLeft(all[0].Node[:4], "0")) || destination.Port != 9000 {
		t.Errorf("from %v to %v, want node %s", source, destination, all[0].Node)
	}
	values, err := header.TLVs()
	if err != nil || len(values) != 2 || values[0].Type != tunnel.TLVKey || string(values[0].Value) != all[0].Key ||
		values[1].Type != tunnel.TLVName || string(values[1].Value) != "laptop" {
		t.Errorf("the header has %v, %v", values, err)
	}
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Errorf("behind the header is %q, %v", line, err)
	}
}

func TestForwardUDP(t *testing.T) {
	for _, mode := range []string{"own nodes", "nodes that are up"} {
		t.Run(mode, func(t *testing.T) {
			runtimeDir(t)
			startRelay(t)
			target, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			go func() {
				b := make([]byte, 2000)
				for {
					n, from, err := target.ReadFrom(b)
					if err != nil {
						return
					}
					_, _ = target.WriteTo(append([]byte("echo "), b[:n]...), from)
				}
			}()
			server, client := "none", "none"
			if mode != "own nodes" {
				dir := runtimeDir(t)
				server, client = filepath.Join(dir, "s"), filepath.Join(dir, "c")
				startUp(t, "--name", "kv-1", "--socket", server)
				startUp(t, "--socket", client)
			}
			startForward(t, 1, "--name", "kv-1", "-R", "udp/53="+target.LocalAddr().String(), "--socket", server)
			_, ports := startForward(t, 1, "-L", "udp/0=kv-1:53", "--socket", client)
			for _, who := range []string{"a", "b"} {
				c, err := net.Dial("udp", ports[0])
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if got := insist(t, c, who); got != "echo "+who {
					t.Errorf("%s got %q", who, got)
				}
			}
		})
	}
}

// insist repeats a packet, which may get lost, until there is an answer.
func insist(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	b := make([]byte, 2000)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_, _ = c.Write([]byte(text))
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := c.Read(b); err == nil {
			return string(b[:n])
		}
	}
	t.Fatal("no answer")
	return ""
}

// proxied is an HTTP client that uses a proxy.
func proxied(t *testing.T, proxy string) *http.Client {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(u), DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func TestSocksReachesNodesAndNothingElse(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	proxy := start(t, "socks", "--listen", "0", "--json", "--socket", "none")
	var st tunnel.Status
	if err := json.Unmarshal([]byte(proxy.line()), &st); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"socks5h", "http"} {
		client := proxied(t, scheme+"://"+st.Listen)
		for _, host := range []string{"files.weft", "files"} {
			resp, err := client.Get("http://" + host + "/hello.txt")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != "hello\n" {
				t.Errorf("%s %s: %s, %q", scheme, host, resp.Status, body)
			}
		}
		if resp, err := client.Get(web.URL); err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s: what is not of the overlay answers %s", scheme, resp.Status)
			}
		}
	}
	proxy.log.await(t, "is no name of the overlay")
	resp, err := http.Get("http://" + st.Listen + "/proxy.pac")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if pac, _ := io.ReadAll(resp.Body); !strings.Contains(string(pac), `if (dnsDomainIs(host, ".weft")) return "SOCKS5 `+st.Listen) {
		t.Errorf("the page for browsers: %s", pac)
	}
}

func TestSocksElsewhereWantsAPassword(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	file := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(file, []byte("me:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := start(t, "socks", "--listen", "[::]:0", "--auth-file", file, "--json", "--socket", "none")
	var st tunnel.Status
	if err := json.Unmarshal([]byte(proxy.line()), &st); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(st.Listen)
	for user, want := range map[string]bool{"": false, "me:wrong@": false, "me:secret@": true} {
		for _, scheme := range []string{"socks5h", "http"} {
			resp, err := proxied(t, scheme+"://"+user+"127.0.0.1:"+port).Get("http://files.weft/hello.txt")
			ok := err == nil && resp.StatusCode == http.StatusOK
			if err == nil {
				resp.Body.Close()
			}
			if ok != want {
				t.Errorf("%s as %q: %v, %v", scheme, user, ok, err)
			}
		}
	}
}

// The destination of each conn may be chosen by whoever makes it.
func TestDiallersNameTargets(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	echo := echoServer(t)
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	gate, _ := startForward(t, 1, "--name", "gate", "-R", "9000=*", "--allow-target", echo, "--allow-target", web.Listener.Addr().String(), "--socket", "none")
	client, ports := startForward(t, 3, "--socket", "none",
		"-L", "0=gate:9000/"+echo, "-L", "0=gate:9000", "-L", "0=gate:9000/127.0.0.1:1")
	if answer := ask(t, dialTCP(t, ports[0]), "x"); answer != "x and the end" {
		t.Errorf("a named target: %q", answer)
	}
	// A program that speaks SOCKS itself.
	resp, err := proxied(t, "socks5h://"+ports[1]).Get(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	wantReset(t, ports[2], "a target that may not be named")
	gate.log.await(t, "is not among the targets that may be named")
	client.log.await(t, "not allowed; its --allow-target says what is")
}

func TestForwardToStdin(t *testing.T) {
	runtimeDir(t)
	startRelay(t)
	startForward(t, 1, "--name", "kv-1", "-R", "9000="+echoServer(t), "--socket", "none")
	root := newRoot()
	var out, errs bytes.Buffer
	root.SetArgs([]string{"forward", "--to", "stdin", "kv-1:9000"})
	root.SetIn(strings.NewReader("typed"))
	root.SetOut(&out)
	root.SetErr(&errs)
	if err := root.ExecuteContext(t.Context()); err != nil || out.String() != "typed and the end" {
		t.Errorf("got %q, %v, %s", out.String(), err, &errs)
	}
	if _, stderr, code := weft(t, "forward", "--to", "stdin", "kv-1:9001"); code != exitFailure || !strings.Contains(stderr, "check the port") {
		t.Errorf("a closed port: exit code %d, %q", code, stderr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := run(ctx, []string{"forward", "--to", "stdin", "kv-1:9000"}, &out, &errs); code != exitFailure {
		t.Errorf("interrupted: exit code %d", code)
	}
}
