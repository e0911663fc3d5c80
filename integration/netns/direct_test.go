//go:build linux

package netns

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// steady is how many bytes a second a stream carries each way where it is there
// to be looked at.
const steady = "400000"

// runs is how often each pair of NATs is tried.
func runs() int {
	if os.Getenv("WEFT_BIG") == "1" {
		return 20
	}
	return 1
}

// A trial is a stream from one site to the other.
type trial struct {
	*lab
	a, b  *node // a began
	begun report
}

// tried lets the node on one host begin a stream to the one on another.
func (l *lab) tried(a, b *host) *trial {
	l.t.Helper()
	l.startRelays()
	tr := &trial{lab: l, a: l.node(a), b: l.node(b)}
	tr.a.ready()
	tr.b.ready()
	tr.a.tell("begin", tr.b.id, steady)
	tr.begun = tr.a.await("path")
	return tr
}

func (r report) direct() bool { return strings.HasPrefix(r.Path, "udp ") }

// becomesDirect waits until the stream takes a direct path and returns how long
// it did not; false if it does not until ctx ends.
func (tr *trial) becomesDirect(ctx context.Context) (time.Duration, bool) {
	tr.t.Helper()
	r := tr.begun
	for !r.direct() {
		var ok bool
		if r, ok = tr.a.hear(ctx, "path"); !ok {
			return 0, false
		}
	}
	return time.Duration(r.At-tr.begun.At) * time.Millisecond, true
}

// awaitDirect waits until the stream takes a direct path.
func (tr *trial) awaitDirect() {
	tr.t.Helper()
	took, ok := tr.becomesDirect(tr.ctx)
	if !ok {
		tr.t.Fatalf("the stream did not become direct: %v", context.Cause(tr.ctx))
	}
	tr.t.Logf("direct after %v", took)
}

// goesOn waits until both ends have received a second's worth more.
func (tr *trial) goesOn() {
	tr.t.Helper()
	for _, n := range []*node{tr.a, tr.b} {
		for enough := n.progress().Received + 400_000; n.progress().Received < enough; {
			time.Sleep(watchInterval)
		}
	}
}

// progress is how far the node's stream is.
func (n *node) progress() report {
	n.t.Helper()
	n.tell("progress")
	return n.await("progress")
}

// end ends the stream, which must be whole.
func (tr *trial) end() (a, b report) {
	tr.t.Helper()
	tr.a.tell("end")
	a, b = tr.a.await("ended"), tr.b.await("ended")
	if a.Sent != b.Received || b.Sent != a.Received || a.Sent == 0 || b.Sent == 0 {
		tr.t.Errorf("one end says %+v, the other %+v", a, b)
	}
	tr.t.Logf("ended on %s, after %d others: %d bytes sent, %d received, longest wait for a block %d ms", a.Path, tr.a.paths-1, a.Sent, a.Received, a.Gap)
	return a, b
}

// A cell is a pair of NATs.
type cell struct {
	family family
	a, b   natKind

	mu      sync.Mutex
	streams int
	took    []time.Duration // until each of those that became direct did
	why     string          // one of the others did not
}

// settle is how long a stream that cannot become direct is watched.
const settle = 5 * time.Second

func TestStreamsThroughEachPairOfNATs(t *testing.T) {
	t.Parallel()
	need(t)
	var cells []*cell
	t.Cleanup(func() { t.Logf("%s", table(cells)) })
	for _, f := range []family{ipv4, ipv6} {
		kinds := natsOfIPv4
		if f == ipv6 {
			kinds = natsOfIPv6
		}
		for i, a := range kinds {
			for _, b := range kinds[i:] {
				c := &cell{family: f, a: a, b: b}
				cells = append(cells, c)
				for run := range runs() {
					t.Run(fmt.Sprintf("%s/%s+%s/%d", f, a, b, run), func(t *testing.T) {
						t.Parallel()
						c.try(t, run%2 == 1)
					})
				}
			}
		}
	}
}

// try transfers from one site to the other, or back.
func (c *cell) try(t *testing.T, back bool) {
	a, b := c.a, c.b
	if back {
		a, b = b, a
	}
	l := newLab(t, c.family, a, b)
	tr := l.tried(l.host(0), l.host(1))
	c.mu.Lock()
	c.streams++
	c.mu.Unlock()
	ctx, cancel := l.ctx, context.CancelFunc(func() {})
	if !punchable(a, b) {
		ctx, cancel = context.WithTimeout(l.ctx, settle)
	}
	defer cancel()
	took, ok := tr.becomesDirect(ctx)
	if ok {
		c.mu.Lock()
		c.took = append(c.took, took)
		c.mu.Unlock()
	}
	tr.goesOn()
	switch {
	case ok:
		tr.directAgain() // on a busy machine a path may be suspected for a time
	case punchable(a, b):
		t.Errorf("the stream did not become direct: %s", tr.whyNotDirect())
	default:
		why := tr.saysWhy(reason(a, b))
		c.mu.Lock()
		c.why = why
		c.mu.Unlock()
	}
	tr.end()
}

// reason is what the node at a says of why it cannot reach b.
func reason(a, b natKind) string {
	switch {
	case a == blocked:
		return "no server answers this node over UDP"
	case a == symmetric && b == symmetric:
		return "both nodes are behind NATs that give each destination another port"
	case a == symmetric || b == symmetric:
		return "gives each destination another port"
	default: // leaky, or nothing comes from b
		return "answered in"
	}
}

// saysWhy waits until the node that began says why the stream is not direct, or
// it is after all.
func (tr *trial) saysWhy(want string) (why string) {
	tr.t.Helper()
	for !strings.Contains(why, want) && !tr.a.progress().direct() {
		time.Sleep(10 * watchInterval)
		why = tr.whyNotDirect()
		if tr.ctx.Err() != nil {
			tr.t.Fatalf("the node says %q, not %q", why, want)
		}
	}
	return why
}

// whyNotDirect is what the node says that began.
func (tr *trial) whyNotDirect() string {
	tr.t.Helper()
	tr.a.tell("status")
	status := tr.a.await("status").Status
	for _, p := range status.Peers {
		if p.ID.String() == tr.b.id {
			return p.NotDirect
		}
	}
	tr.t.Fatalf("%s has no session with the other node", tr.a.name)
	return ""
}

// table is what docs/nat.md has.
func table(cells []*cell) string {
	var b strings.Builder
	fmt.Fprintln(&b, "\n| | A | B | direct | median | longest | why not |\n|---|---|---|---|---|---|---|")
	for _, c := range cells {
		slices.Sort(c.took)
		median, longest := "", ""
		if n := len(c.took); n > 0 {
			median, longest = c.took[n/2].String(), c.took[n-1].String()
		}
		if c.streams > 0 {
			fmt.Fprintf(&b, "| %s | %s | %s | %d of %d | %s | %s | %s |\n", c.family, c.a, c.b, len(c.took), c.streams, median, longest, c.why)
		}
	}
	return b.String()
}

// A node must not take its own address for the peer's.
func TestSitesWithTheSamePrivateAddresses(t *testing.T) {
	t.Parallel()
	l := newInternet(t, ipv4)
	l.twins = true
	l.addSites(portRestricted, portRestricted)
	tr := l.tried(l.host(0), l.host(1))
	tr.awaitDirect()
	tr.goesOn()
	tr.end()
}

// A NAT that is leaky becomes passable when the side behind it begins, once the
// kernel has forgotten the attempt in which it did not.
func TestTheLeakyTrapIsLeft(t *testing.T) {
	t.Parallel()
	if os.Getenv("WEFT_BIG") != "1" {
		t.Skip("it takes minutes; WEFT_BIG=1 has it")
	}
	for run := range 6 {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, ipv4, leaky, portRestricted)
			tr := l.tried(l.host(run%2), l.host(1-run%2))
			tr.awaitDirect()
			tr.goesOn()
			tr.end()
		})
	}
}
