package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1) // see overlaytest
	goleak.VerifyTestMain(m)
}

// A cluster is members in a simulated network, and a client.
type cluster struct {
	*overlaytest.Lab
	t       *testing.T
	members map[string]*running
	client  *client
}

type running struct {
	*Directory
	stop  context.CancelFunc
	ended chan error
}

// inCluster runs a test with members dir-1 to dir-n.
func inCluster(t *testing.T, n int, test func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		lab := overlaytest.New(t, overlaytest.Config{
			Secret: "a secret for the tests of the directory", Link: overlaytest.Impairment{Latency: 5 * time.Millisecond},
		})
		lab.Relay("relay")
		c := &cluster{Lab: lab, t: t, members: make(map[string]*running), client: newClient(lab.Node("client", overlay.Config{}))}
		defer func() {
			c.client.http.CloseIdleConnections()
			for name := range c.members {
				c.leave(name)
			}
		}()
		for i := range n {
			c.start(fmt.Sprintf("dir-%d", i+1), "dir-1")
		}
		c.meet()
		test(t, c)
	})
}

// start starts a member on a new node, or on the one that was restarted.
func (c *cluster) start(name string, others ...string) {
	c.t.Helper()
	var node *overlay.Node
	if c.members[name] == nil {
		node = c.Node(name, overlay.Config{})
	} else {
		node = c.Restart(name)
		c.WaitReady(name)
	}
	d, err := New(node)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(c.t.Context()))
	m := &running{d, stop, make(chan error, 1)}
	go func() { m.ended <- d.Run(ctx, others) }()
	c.members[name] = m
}

// leave has a member leave in order.
func (c *cluster) leave(name string) {
	c.t.Helper()
	c.members[name].stop()
	if err := <-c.members[name].ended; err != nil {
		c.t.Errorf("%s: %v", name, err)
	}
	delete(c.members, name)
}

// kill ends a member without a word.
func (c *cluster) kill(name string) {
	c.t.Helper()
	c.Kill(name)
	m := c.members[name]
	m.stop()
	<-m.ended
	delete(c.members, name)
}

// meet waits until all members know of all, and things are where they belong.
func (c *cluster) meet() {
	c.t.Helper()
	for range 100 {
		time.Sleep(time.Second)
		if c.agreed() {
			time.Sleep(2 * pollEvery)
			return
		}
	}
	c.t.Fatal("the members do not come to one list")
}

func (c *cluster) agreed() bool {
	for _, m := range c.members {
		up := m.view.up()
		if len(up) != len(c.members) || slices.ContainsFunc(up, func(name string) bool { return c.members[name] == nil }) {
			return false
		}
	}
	return true
}

// any is a member to ask, another one for each key.
func (c *cluster) any(key string) string {
	names := []string{}
	for name := range c.members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[len(key)*7%len(names)]
}

// do asks a member for a key.
func (c *cluster) do(method, member, key, value string) answer {
	c.t.Helper()
	a, err := c.client.ask(c.t.Context(), method, member, keyPath(values, key), []byte(value), nil)
	if err != nil {
		c.t.Errorf("%s %s of %s: %v", method, key, member, err)
	}
	return a
}

func (c *cluster) put(key, value string) {
	c.t.Helper()
	if a := c.do(http.MethodPut, c.any(key), key, value); a.status != http.StatusNoContent || a.header.Get(headerCopies) != fmt.Sprint(min(copies, len(c.members))) {
		c.t.Errorf("put %s: %d %s, %s copies", key, a.status, a.body, a.header.Get(headerCopies))
	}
}

// has checks that each member answers with a value.
func (c *cluster) has(key, value string) {
	c.t.Helper()
	for name := range c.members {
		if a := c.do(http.MethodGet, name, key, ""); a.status != http.StatusOK || string(a.body) != value {
			c.t.Errorf("get %s of %s: %d %.80q, want %.80q", key, name, a.status, a.body, value)
		}
	}
}

// placed checks that each key is kept by its owners and nobody else.
func (c *cluster) placed(keys []string) {
	c.t.Helper()
	for _, key := range keys {
		var at []string
		for name, m := range c.members {
			if _, ok := m.store.read(key); ok {
				at = append(at, name)
			}
		}
		want := owners(c.members[c.any("")].view.up(), key)
		slices.Sort(want)
		if slices.Sort(at); !slices.Equal(at, want) {
			c.t.Errorf("%s is at %q, and belongs to %q", key, at, want)
		}
	}
}

func numbered(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key/%d äß?", i)
	}
	return keys
}

func TestPutGetDelete(t *testing.T) {
	for _, n := range []int{1, 2, 5} {
		inCluster(t, n, func(t *testing.T, c *cluster) {
			keys := numbered(20)
			for _, key := range keys {
				c.put(key, "first")
				c.put(key, "value of "+key)
				c.has(key, "value of "+key)
			}
			c.placed(keys)
			c.put("empty", "")
			c.has("empty", "")
			for name := range c.members {
				if a := c.do(http.MethodDelete, name, keys[0], ""); a.status != http.StatusNoContent {
					t.Errorf("%d %s", a.status, a.body)
				}
				if a := c.do(http.MethodGet, name, keys[0], ""); a.status != http.StatusNotFound || string(a.body) != "there is no such key\n" {
					t.Errorf("%d %s", a.status, a.body)
				}
			}
			if n != 2 {
				return
			}
			c.put("large", strings.Repeat("x", maxValue))
			c.has("large", strings.Repeat("x", maxValue))
			time.Sleep(buryAfter + 2*mendEvery) // the deletion itself is forgotten
			for name, m := range c.members {
				if _, ok := m.store.read(keys[0]); ok {
					t.Errorf("%s still remembers it", name)
				}
			}
			c.has(keys[1], "value of "+keys[1])
		})
	}
}

// Members come, leave, are restarted and die, one at a time, and no value is lost.
func TestMembersComeAndGo(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *cluster) {
		keys := numbered(60)
		for i, key := range keys {
			c.put(key, fmt.Sprint(i))
		}
		c.do(http.MethodDelete, "dir-1", keys[0], "")
		for _, step := range []struct {
			name string
			do   func()
		}{
			{"dir-4 comes", func() { c.start("dir-4", "dir-2") }},
			{"dir-5 comes", func() { c.start("dir-5", "dir-4") }},
			{"dir-1 leaves", func() { c.leave("dir-1") }},
			{"dir-2 dies", func() { c.kill("dir-2") }},
			{"dir-3 is restarted", func() {
				m := c.members["dir-3"]
				c.Kill("dir-3")
				m.stop()
				<-m.ended
				c.start("dir-3", "dir-5") // before the others have missed it
			}},
			{"dir-5 leaves", func() { c.leave("dir-5") }},
		} {
			step.do()
			c.meet()
			for i, key := range keys[1:] {
				c.has(key, fmt.Sprint(i+1))
			}
			c.placed(keys)
			if a := c.do(http.MethodGet, c.any(""), keys[0], ""); a.status != http.StatusNotFound {
				t.Errorf("after %s the deleted key is %d %s", step.name, a.status, a.body)
			}
			if t.Failed() {
				t.Fatalf("after: %s", step.name)
			}
		}
	})
}

// What is answered while an owner does not answer and is not left out yet.
func TestAnOwnerIsSilent(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *cluster) {
		up := c.members["dir-1"].view.up()
		key := ""
		for i := 0; key == ""; i++ {
			if k := fmt.Sprint(i); slices.Equal(owners(up, k), []string{"dir-2", "dir-3"}) {
				key = k
			}
		}
		c.put(key, "before")
		c.Cut("dir-2")
		if a := c.do(http.MethodPut, "dir-1", key, "after"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "6" ||
			!strings.HasPrefix(string(a.body), "dir-2, which owns the key, does not answer: ") {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := c.do(http.MethodGet, "dir-1", key, ""); a.status != http.StatusOK || string(a.body) != "before" { // of the other owner
			t.Errorf("%d %s", a.status, a.body)
		}
		time.Sleep((maxMisses + 2) * (pollEvery + pollTimeout))
		if a := c.do(http.MethodPut, "dir-1", key, "after"); a.status != http.StatusNoContent || a.header.Get(headerCopies) != "2" {
			t.Errorf("%d %s", a.status, a.body)
		}
		c.Heal("dir-2")
		c.meet()
		time.Sleep(2 * mendEvery)
		c.has(key, "after") // the newer one, also where the old one was
		c.placed([]string{key})
		c.Cut("dir-2")
		c.Cut("dir-3")
		if a := c.do(http.MethodGet, "dir-1", key, ""); a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "dir-2 does not answer: ") || !strings.Contains(string(a.body), "dir-3 does not answer: ") {
			t.Errorf("%d %s", a.status, a.body)
		}
		c.Heal("dir-2")
		c.Heal("dir-3")
		c.meet()
	})
}

func TestRefusals(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, c *cluster) {
		for _, tt := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{http.MethodGet, keyPath(values, "nothing"), "", 404, "there is no such key\n"},
			{http.MethodPut, keyPath(values, "large"), strings.Repeat("x", maxValue+1), 413, "a value has at most 1048576 bytes here"},
			{http.MethodPut, keyPath(values, strings.Repeat("k", maxKey+1)), "", 413, "a key has at most 256 bytes"},
			{http.MethodPost, keyPath(values, "key"), "", 405, "say GET, PUT or DELETE"},
			{http.MethodPut, keyPath(kept, "key"), "", 403, "that is between members"}, // the client is none
			{http.MethodPost, keyPath(kept, "key"), "", 403, "that is between members"},
		} {
			a, err := c.client.ask(t.Context(), tt.method, "dir-1", tt.path, []byte(tt.body), nil)
			if err != nil || a.status != tt.status || !strings.HasPrefix(string(a.body), tt.want) {
				t.Errorf("%s %.40s: %d %.100s, %v", tt.method, tt.path, a.status, a.body, err)
			}
		}
		for _, m := range c.members {
			m.store.bytes = maxStored
		}
		if a := c.do(http.MethodPut, "dir-1", "key", "value"); a.status != http.StatusInsufficientStorage || !strings.HasPrefix(string(a.body), "dir-") || !strings.Contains(string(a.body), "no room") {
			t.Errorf("%d %s", a.status, a.body)
		}
		if _, err := New(c.Node("nodash", overlay.Config{})); err == nil || !strings.Contains(err.Error(), "WEFT_NAME=dir-1") {
			t.Error(err)
		}
	})
}

func TestFromTheEnvironment(t *testing.T) {
	cfg := testnet.Start(t)
	testnet.Setenv(t, cfg)
	d, err := New(testnet.Named(t, cfg, "dir-1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, nil) }()
	var out strings.Builder
	for _, args := range []string{"put dir-1 colour green", "get dir-1 colour", "delete dir-1 colour", "get dir-1 colour", "members dir-1"} {
		if err := run(testnet.Context(t), strings.Fields(args), &out); err != nil {
			fmt.Fprintln(&out, err)
		}
	}
	want := "green\ndir-1 says: there is no such key (404)\n{\"instance\":\"" + d.view.instance + "\",\"members\":[\"dir-1\"]}\n\n"
	if out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := run(t.Context(), []string{"put", "dir-1"}, nil); err != errUsage {
		t.Error(err)
	}
	testnet.Setenv(t, overlay.Config{})
	if err := run(t.Context(), []string{"member"}, nil); err == nil || !strings.Contains(err.Error(), "set WEFT_SECRET") {
		t.Error(err)
	}
}

// How even the shares are, how many keys move, and what a member costs that does
// nothing. With WEFT_DOCS=1 -v it prints the table of README.md.
func TestFigures(t *testing.T) {
	keys := 10_000
	if os.Getenv("WEFT_DOCS") != "" {
		keys = 100_000
	}
	for _, n := range []int{3, 10, 30} {
		members := make([]string, n)
		for i := range members {
			members[i] = fmt.Sprintf("dir-%d", i+1)
		}
		shares, moved := make(map[string]int), 0
		for i := range keys {
			key := fmt.Sprint(i)
			owner := rank(members, key)[0]
			shares[owner]++
			if now := rank(append(slices.Clone(members), "dir-new"), key)[0]; now != owner {
				if moved++; now != "dir-new" {
					t.Fatalf("%s moved from %s to %s, and neither is new", key, owner, now)
				}
			}
		}
		largest := 0
		for _, share := range shares {
			largest = max(largest, share)
		}
		t.Logf("%d members: the largest share is %.2f times the mean; a new member takes %.1f %% of the keys, and should %.1f %%",
			n, float64(largest*n)/float64(keys), 100*float64(moved)/float64(keys), 100/float64(n+1))
		if float64(largest*n)/float64(keys) > 1.3 || float64(moved*(n+1))/float64(keys) > 1.3 {
			t.Error("that is too much")
		}
	}
	for _, n := range []int{3, 10, 30} {
		if n > 3 && os.Getenv("WEFT_DOCS") == "" {
			break
		}
		inCluster(t, n, func(t *testing.T, c *cluster) {
			time.Sleep(time.Minute)
			before := c.Traffic("dir-2")
			time.Sleep(10 * time.Minute)
			after := c.Traffic("dir-2")
			t.Logf("%d members: %d bytes a second are sent by each, which does nothing else", n, (after.BytesSent-before.BytesSent)/600)
		})
	}
}
