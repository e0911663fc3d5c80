package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/uplink"
)

// inLab runs a test in a bubble with a lab.
func inLab(t *testing.T, f func(t *testing.T, l *lab)) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		f(t, l)
		l.close()
		time.Sleep(time.Minute) // timers of conns that ended
	})
}

// Two nodes on one relay, of which the second echoes.
type trio struct {
	relay *hosted
	a, b  *node
}

func newTrio(t *testing.T, l *lab, s *Server) *trio {
	p := &trio{
		relay: l.relay("relay", newKey(t, "", "relay"), s),
		a:     l.node("a", newKey(t, "", "a")),
		b:     l.node("b", newKey(t, "", "b")),
	}
	p.b.parts.Hooks.Watch(&echoer{l})
	for _, n := range []*node{p.a, p.b} {
		l.attach(n, p.relay.addr)
		l.ready(n)
	}
	return p
}

func (p *trio) close(l *lab) {
	p.a.close()
	p.b.close()
	l.stop(p.relay)
}

func TestNodesFindAndReachEachOther(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{Name: "lab relay", Version: "v0"})
		defer p.close(l)

		records, err := p.a.up.Lookup(t.Context(), identity.Target{Name: "b"})
		if err != nil || len(records) != 1 || records[0].ID != p.b.id() {
			t.Fatalf("lookup: %+v, %v", records, err)
		}
		stream, err := l.open(p.a, records[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		l.roundTrip(stream, "hello")
		_ = stream.Close()

		status, _ := p.a.up.Home()
		if status.Relay.ID != p.relay.id() || status.RelayName != "lab relay" || status.RelayVersion != "v0" {
			t.Errorf("the node knows of its relay: %+v", status)
		}
		if want := p.a.parts.Switch.Ports()[0].Link().LocalAddr().String(); status.ObservedAddr != want {
			t.Errorf("observed address %q, want %q", status.ObservedAddr, want)
		}
		if s := p.relay.Stats(); s.Links != 2 || s.Nodes != 2 || s.Accepted != 2 || s.Directory.Attached != 3 || s.Forwarded == 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestARelayIsANodeThatCanBeFoundAndReached(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		defer p.close(l)
		p.relay.parts.Hooks.Watch(&echoer{l})
		records, err := p.a.up.Lookup(t.Context(), identity.Target{Name: "relay"})
		if err != nil || len(records) != 1 || records[0].ID != p.relay.id() {
			t.Errorf("lookup: %+v, %v", records, err)
		}
	})
}

func TestUnknownNodesAreRefusedAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		defer p.close(l)
		if _, err := p.a.up.Lookup(t.Context(), identity.Target{Name: "nobody"}); !errors.Is(err, control.ErrNotFound) {
			t.Errorf("lookup: %v", err)
		}
		began := time.Now()
		_, err := l.open(p.a, 12345)
		if _, ok := errors.AsType[*session.UnreachableError](err); !ok {
			t.Errorf("dial: %v", err)
		}
		if took := time.Since(began); took != 2*delay {
			t.Errorf("took %v, want one round trip", took)
		}
	})
}

func TestStreamsSurviveARestartOfTheRelay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		defer func() { p.close(l) }()
		stream, err := l.open(p.a, p.b.id())
		if err != nil {
			t.Fatal(err)
		}
		l.roundTrip(stream, "before")
		l.kill(p.relay)
		time.Sleep(3 * time.Second)
		if _, up := p.a.up.Home(); up {
			t.Error("the uplink is up without its relay")
		}
		p.relay = l.relay("relay", p.relay.parts.Credentials, &Server{})
		l.ready(p.a)
		l.ready(p.b)
		l.roundTrip(stream, "after")
		if records, err := p.a.up.Lookup(t.Context(), identity.Target{Name: "b"}); err != nil || len(records) != 1 {
			t.Errorf("lookup: %+v, %v", records, err)
		}
		_ = stream.Close()
	})
}

func TestSessionWithTheRelayMovesToANewLink(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		defer p.close(l)
		stream, err := l.open(p.a, p.b.id())
		if err != nil {
			t.Fatal(err)
		}
		before := p.a.parts.Endpoint.Session(p.relay.id())
		l.net.Kill("a") // the links only: like a NAT that forgets
		time.Sleep(delay)
		l.ready(p.a)
		l.roundTrip(stream, "after")
		if after := p.a.parts.Endpoint.Session(p.relay.id()); after != before {
			t.Error("there is another session with the relay")
		}
		if s := p.relay.Stats(); s.Links != 2 || s.Nodes != 2 || s.Accepted != 3 {
			t.Errorf("stats %+v", s)
		}
		_ = stream.Close()
	})
}

func TestNodesMoveToTheOtherRelayWhenOneDies(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		one := l.relay("one", newKey(t, ""), &Server{})
		two := l.relay("two", newKey(t, ""), &Server{})
		a, b := l.node("a", newKey(t, "", "a")), l.node("b", newKey(t, "", "b"))
		b.parts.Hooks.Watch(&echoer{l})
		for _, n := range []*node{a, b} {
			l.attach(n, one.addr, two.addr)
			l.ready(n)
		}
		time.Sleep(time.Second) // until both uplinks are up
		stream, err := l.open(a, b.id())
		if err != nil {
			t.Fatal(err)
		}
		l.roundTrip(stream, "before")
		l.kill(one)
		l.roundTrip(stream, "after")
		if home, up := a.up.Home(); !up || home.Relay.ID != two.id() {
			t.Errorf("home is %+v", home)
		}
		_ = stream.Close()
		a.close()
		b.close()
		l.stop(two)
	})
}

func TestLinksBeyondTheLimitsAreRefused(t *testing.T) {
	tests := []struct {
		name                         string
		maxLinks, maxLinksPerAddress int
	}{
		{"in all", 2, 0},
		{"from one address", 0, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				r := l.relay("relay", newKey(t, ""), &Server{MaxLinks: tt.maxLinks, MaxLinksPerAddress: tt.maxLinksPerAddress})
				var nodes []*node
				for range 3 {
					n := l.node("host", newKey(t, ""))
					l.attach(n, r.addr)
					nodes = append(nodes, n)
					time.Sleep(20 * delay)
				}
				if status := nodes[2].up.Status()[0]; status.Phase == uplink.PhaseUp || status.Err == nil {
					t.Errorf("third node: %+v", status)
				}
				if s := r.Stats(); s.Links != 2 || s.RefusedBusy == 0 {
					t.Errorf("stats %+v", s)
				}
				nodes[0].close()
				l.ready(nodes[2])
				for _, n := range nodes[1:] {
					n.close()
				}
				l.stop(r)
			})
		})
	}
}

func TestOtherNetworksAreTurnedAway(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		r := l.relay("relay", newKey(t, "one"), &Server{})
		n := l.node("a", newKey(t, "two"))
		l.attach(n, r.addr)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := n.up.WaitReady(ctx)
		if none, ok := errors.AsType[*uplink.NoRelayError](err); !ok || none.Relays[0].Err == nil {
			t.Errorf("got %v", err)
		}
		if s := r.Stats(); s.RefusedNetwork == 0 || s.Accepted != 0 {
			t.Errorf("stats %+v", s)
		}
		n.close()
		l.stop(r)
	})
}

// dialRaw connects to a relay and says hello, without a node behind it.
func (l *lab) dialRaw(host string, r *hosted, hello link.Hello) link.FrameConn {
	l.t.Helper()
	fc, err := l.net.Dialer(host, hello)(l.t.Context(), r.addr)
	if err != nil {
		l.t.Fatal(err)
	}
	return fc
}

func TestLinksThatNobodyProvesToHoldAreClosed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		r := l.relay("relay", newKey(t, ""), &Server{HandshakeTimeout: 5 * time.Second})
		hello := link.Hello{Network: link.TagOf(r.parts.Credentials.Network().ID()), Node: 77}
		fc := l.dialRaw("stranger", r, hello)
		began := time.Now()
		for {
			f, err := fc.ReadFrame()
			if err != nil {
				break
			}
			if f.Type() == frame.TypePing { // alive, but nobody
				f.SetType(frame.TypePong)
				_ = fc.WriteFrames([]*frame.Frame{f})
			}
			f.Release()
		}
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("closed after %v", took)
		}
		if s := r.Stats(); s.Unproven != 1 || s.Links != 0 || s.Nodes != 0 {
			t.Errorf("stats %+v", s)
		}
		_ = fc.Close()
		l.stop(r)
	})
}

func TestAStrangerIsNotForwardedFor(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		hello := link.Hello{Network: link.TagOf(p.relay.parts.Credentials.Network().ID()), Node: 77}
		fc := l.dialRaw("stranger", p.relay, hello)
		f := frame.New(100)
		f.SetSrc(77)
		f.SetDst(p.b.id())
		before := p.relay.Stats().Forwarded
		if err := fc.WriteFrames([]*frame.Frame{f}); err != nil {
			t.Fatal(err)
		}
		f.Release()
		answer, err := fc.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := frame.ParseNotice(answer.Packet()); err != nil || n.Code != frame.NoticeDenied {
			t.Errorf("got %+v, %v", n, err)
		}
		answer.Release()
		if after := p.relay.Stats().Forwarded; after != before {
			t.Errorf("%d frames were forwarded", after-before)
		}
		_ = fc.Close()
		p.close(l)
	})
}

func TestSilentDiallersAreClosed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		r := l.relay("relay", newKey(t, ""), &Server{PrefaceTimeout: 2 * time.Second, MaxPrefacesPerAddress: 3})
		began := time.Now()
		for i := range 5 {
			conn, err := l.net.Dial(t.Context(), "stranger", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			if i < 3 {
				defer conn.Close()
				continue
			}
			if _, err := conn.ReadFrame(); err == nil { // beyond the share of one address
				t.Error("got a frame")
			}
			_ = conn.Close()
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("conns beyond the limit were closed after %v only", took)
		}
		n := l.node("a", newKey(t, ""))
		l.attach(n, r.addr)
		l.ready(n)
		if took := time.Since(began); took > time.Second {
			t.Errorf("an honest node got in after %v only", took)
		}
		time.Sleep(3 * time.Second)
		if s := r.Stats(); s.RefusedAddress != 2 || s.RefusedPreface != 3 || s.Prefaces != 0 {
			t.Errorf("stats %+v", s)
		}
		n.close()
		l.stop(r)
	})
}

func TestShutdownLetsNodesLeave(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		one := l.relay("one", newKey(t, ""), &Server{})
		a := l.node("a", newKey(t, ""))
		l.attach(a, one.addr, "two:9999") // which is not there yet
		l.ready(a)
		done := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			done <- one.Shutdown(ctx)
		}()
		time.Sleep(5 * time.Second)
		if status, up := a.up.Home(); !up || !status.GoingAway {
			t.Errorf("the only relay was left: %+v", status)
		}
		two := l.relay("two", newKey(t, ""), &Server{})
		a.up.Kick()
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if status, up := a.up.Home(); !up || status.Relay.ID != two.id() {
			t.Errorf("home is %+v", status)
		}
		if s := one.Stats(); s.Links != 0 || s.Directory.Attached != 0 {
			t.Errorf("stats %+v", s)
		}
		a.close()
		l.stop(one)
		l.stop(two)
	})
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := p.relay.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if s := p.relay.Stats(); s.Links != 0 {
			t.Errorf("stats %+v", s)
		}
		p.close(l)
	})
}

func TestANodeThatTakesAnothersNameIsRefused(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		r := l.relay("relay", newKey(t, ""), &Server{})
		n := l.node("a", newKey(t, "", "a"))
		c := n.parts.Credentials
		n.up = uplink.New(uplink.Config{
			Relays:       []string{r.addr},
			Dial:         l.net.Dialer("a", link.Hello{Network: link.TagOf(c.Network().ID()), Node: n.id()}),
			Registration: func() control.Register { return control.Register{Names: []string{"bank"}} },
		}, n.parts.Switch, n.parts.Endpoint)
		time.Sleep(time.Second)
		failed, ok := errors.AsType[*control.Failed](n.up.Status()[0].Err)
		if !ok || failed.Code != control.FailureNotAllowed {
			t.Errorf("status %+v", n.up.Status()[0])
		}
		if s := r.Stats(); s.Directory.Invalid == 0 {
			t.Errorf("stats %+v", s)
		}
		n.close()
		l.stop(r)
	})
}

func TestManyNodesAttachAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		r := l.relay("relay", newKey(t, ""), &Server{})
		const n = 20
		var nodes []*node
		for i := range n {
			nodes = append(nodes, l.node(fmt.Sprintf("host%d", i), newKey(t, "", fmt.Sprintf("n%d", i))))
			l.attach(nodes[i], r.addr)
		}
		for i, n := range nodes {
			l.ready(n)
			n.parts.Hooks.Watch(&echoer{l})
			records, err := nodes[0].up.Lookup(t.Context(), identity.Target{Name: fmt.Sprintf("n%d", i)})
			if err != nil || len(records) != 1 || records[0].ID != n.id() {
				t.Errorf("node %d: %+v, %v", i, records, err)
			}
		}
		for _, n := range nodes {
			n.close()
		}
		time.Sleep(time.Second)
		if s := r.Stats(); s.Links != 0 || s.Nodes != 0 || s.Directory.Attached != 1 || s.Directory.Detached != n {
			t.Errorf("stats %+v", s)
		}
		l.stop(r)
	})
}

func TestNodesThatAskDuringAShutdownAreToldToo(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.relay.Shutdown(ctx) }()
		time.Sleep(time.Second)
		told := make(chan control.Message, 1)
		client := control.NewClient(openControl(t, p.a, p.relay.id()), func(m control.Message) { told <- m })
		if m, ok := (<-told).(*control.GoingAway); !ok || m.Grace() != 0 {
			t.Errorf("told %+v", m)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v", err)
		}
		_ = client.Close()
		p.close(l)
	})
}
