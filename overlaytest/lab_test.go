package overlaytest

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
)

// links is how many ends of links are open on a host.
func (h *host) links() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// inLab runs a test in a bubble, in a lab with one relay, "relay".
func inLab(t *testing.T, cfg Config, f func(t *testing.T, l *Lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := New(t, cfg)
		l.Relay("relay")
		f(t, l)
	})
}

// echo serves a port that sends back what it gets.
func echo(t *testing.T, n *overlay.Node, port uint16) {
	t.Helper()
	ln, err := n.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// dial dials and closes the conn when the test ends.
func dial(t *testing.T, n *overlay.Node, addr string) net.Conn {
	t.Helper()
	c, err := n.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// roundTrip sends a few bytes to an echo, and returns how long they took.
func roundTrip(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	if err := c.SetDeadline(began.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	const hello = "hello"
	if _, err := io.WriteString(c, hello); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(hello))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != hello {
		t.Fatalf("echo was %q, %v", b, err)
	}
	return time.Since(began)
}

func TestLatencyIsExact(t *testing.T) {
	inLab(t, Config{Link: Impairment{Latency: 20 * time.Millisecond}}, func(t *testing.T, l *Lab) {
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		echo(t, b, 7)
		c := dial(t, a, "b:7")
		if d := roundTrip(t, c); d != 80*time.Millisecond {
			t.Errorf("a round trip over the relay took %v, want 80 ms", d)
		}
		l.ImpairOneWay("relay", "b", Impairment{Latency: 120 * time.Millisecond})
		if d := roundTrip(t, c); d != 180*time.Millisecond {
			t.Errorf("a round trip with 100 ms more one way took %v, want 180 ms", d)
		}
		l.ImpairAll(Impairment{Latency: time.Millisecond})
		time.Sleep(time.Second)
		if d := roundTrip(t, c); d != 4*time.Millisecond {
			t.Errorf("a round trip after ImpairAll took %v, want 4 ms", d)
		}
	})
}

func TestBandwidthIsABound(t *testing.T) {
	inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		x, y := connect(t, a, b)
		l.Impair("a", "relay", Impairment{Latency: latency, Bandwidth: 100_000})
		began := time.Now()
		f := newFlow()
		go f.pace(x, 10_000, 0, 1_000_000, nil)
		f.take(y)
		if err := f.complete(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d < 10*time.Second || d > 13*time.Second {
			t.Errorf("1 MB over a link of 100 KB/s took %v, want 10 s and some overhead", d)
		}
	})
}

func TestARestartedHostIsWhoItWas(t *testing.T) {
	inLab(t, Config{}, func(t *testing.T, l *Lab) {
		r := l.Relay("relay-2")
		a := l.Node("a", overlay.Config{})
		id := r.Node().ID()
		for _, host := range []string{"a", "relay-2"} {
			l.Kill(host)
			l.Kill(host) // changes nothing
		}
		if r.Node() != nil || r.Server() != nil {
			t.Error("a relay that was killed has a node and a server")
		}
		again := l.Restart("a")
		if l.Restart("relay-2"); r.Node() == nil || r.Server() == nil || r.Node().ID() != id || r.Addr() != "relay-2:9999" {
			t.Errorf("the relay is %v at %s, want %v at relay-2:9999", r.Node(), r.Addr(), id)
		}
		l.WaitReady("a", "relay-2")
		if again == a || again.ID() != a.ID() || again.Name() != "a" {
			t.Errorf("the restarted node is %v, want a new one with the ID %v", again.ID(), a.ID())
		}
		if n := len(again.Status().Relays); n != 2 {
			t.Errorf("the node has %d relays, want those of the lab", n)
		}
	})
}

func TestKillTellsTheNeighboursUnlessTheHostIsCut(t *testing.T) {
	for _, cut := range []bool{false, true} {
		inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
			r := l.Relay("other")
			a := l.Node("a", overlay.Config{Relays: []string{r.Addr()}})
			if cut {
				l.Cut("other")
			}
			l.Kill("other")
			time.Sleep(time.Second)
			synctest.Wait()
			if up := relayIsUp(a); up != cut {
				t.Errorf("cut %v: a second after the relay was killed the node thinks that it is up: %v", cut, up)
			}
		})
	}
}

func TestNodesOfALabWithASecretAreMembers(t *testing.T) {
	inLab(t, Config{Secret: "a secret of the laboratory", Network: "lab"}, func(t *testing.T, l *Lab) {
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		echo(t, b, 7)
		roundTrip(t, dial(t, a, "b:7"))
		if n := a.Status().Network; n != "lab" {
			t.Errorf("the network is %q, want lab", n)
		}
		stranger := l.Start("stranger", overlay.Config{Open: true})
		time.Sleep(time.Minute)
		if relayIsUp(stranger) {
			t.Error("a node without the secret got into the network")
		}
	})
}

func TestTrafficIsCounted(t *testing.T) {
	inLab(t, Config{}, func(t *testing.T, l *Lab) {
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		before := l.Traffic("a")
		x, y := connect(t, a, b)
		f := newFlow()
		go f.pace(x, 10_000, 0, 100_000, nil)
		f.take(y)
		after := l.Traffic("a")
		if sent := after.BytesSent - before.BytesSent; sent < 100_000 || sent > 120_000 {
			t.Errorf("a sent %d bytes, want 100000 and some overhead", sent)
		}
		if after.FramesSent == before.FramesSent || after.FramesReceived == before.FramesReceived || after.BytesReceived == before.BytesReceived {
			t.Errorf("traffic was %+v and is %+v", before, after)
		}
	})
}

// misuse is a test that is expected to fail.
type misuse struct {
	*testing.T
	said string
}

func (m *misuse) Fatalf(format string, args ...any) {
	m.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestMisuseFailsTheTestWithASentence(t *testing.T) {
	for _, test := range []struct {
		want string
		do   func(l *Lab)
	}{
		{`there is no host "nobody"`, func(l *Lab) { l.Cut("nobody") }},
		{`there is no host "nobody"`, func(l *Lab) { l.Restart("nobody") }},
		{`host "relay" is there already`, func(l *Lab) { l.Relay("relay") }},
		{`a host needs a name`, func(l *Lab) { l.Start("", overlay.Config{}) }},
		{`DialLink is set`, func(l *Lab) {
			l.Start("a", overlay.Config{DialLink: new(net.Dialer).DialContext})
		}},
		{`host "a": overlay: Config.PeerTimeout is negative`, func(l *Lab) { l.Start("a", overlay.Config{PeerTimeout: -1}) }},
		{`host "relay" was killed`, func(l *Lab) { l.Kill("relay"); l.WaitReady("relay") }},
		{`Loss is 1.5; a probability is from 0 to 1`, func(l *Lab) { l.ImpairAll(Impairment{Loss: 1.5}) }},
		{`ListenUDP is set`, func(l *Lab) {
			l.Start("a", overlay.Config{ListenUDP: func(context.Context, string) (net.PacketConn, error) { return nil, nil }})
		}},
		{`ListenLink is set`, func(l *Lab) {
			l.Start("a", overlay.Config{ListenLink: func(context.Context, string) (net.Listener, error) { return nil, nil }})
		}},
		{`there is no NAT "nowhere"`, func(l *Lab) { l.Place("a", "nowhere") }},
		{`there is no NAT "nowhere"`, func(l *Lab) { l.RebootNAT("nowhere") }},
		{`host "relay" is a relay`, func(l *Lab) { l.Place("relay", "") }},
		{`host "relay-2" was placed`, func(l *Lab) { l.Place("relay-2", ""); l.Relay("relay-2") }},
		{`place it before`, func(l *Lab) { l.Start("a", overlay.Config{}); l.Place("a", "") }},
		{`a NAT needs a name`, func(l *Lab) { l.NAT("", NAT{}) }},
		{`NAT "nat" is there already`, func(l *Lab) { l.NAT("nat", NAT{}); l.NAT("nat", NAT{}) }},
		{`there is no NATKind(99)`, func(l *Lab) { l.NAT("nat", NAT{Kind: 99}) }},
		{`make that one first`, func(l *Lab) { l.NAT("nat", NAT{Behind: "cgn"}) }},
		{`is negative`, func(l *Lab) { l.Impair("a", "b", Impairment{Jitter: -1}) }},
	} {
		t.Run(test.want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &misuse{T: t}
				l := New(m, Config{})
				l.Relay("relay")
				done := make(chan struct{})
				go func() {
					defer close(done)
					test.do(l)
				}()
				<-done
				if !strings.Contains(m.said, test.want) {
					t.Errorf("the lab said %q, want %q", m.said, test.want)
				}
			})
		})
	}
}
