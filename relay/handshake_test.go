package relay

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/session"
)

// A tap keeps the packets that sessions send.
type tap struct{ frames []*frame.Frame }

func (*tap) Ready(session.Waker) bool { return true }
func (*tap) MaxPacket() int           { return 1200 }
func (*tap) ID() identity.NodeID      { return 0 }
func (*tap) String() string           { return "tap" }

func (p *tap) Send(f *frame.Frame) error {
	p.frames = append(p.frames, f)
	return nil
}

// opener returns a packet that begins a session, each time another one.
func opener(t *testing.T) *frame.Frame {
	t.Helper()
	out := new(tap)
	e, err := session.NewEndpoint(session.Config{Credentials: newKey(t, "weft"), Route: func(identity.NodeID) session.Path { return out }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, _ = e.Dial(ctx, identity.Target{ID: 1})
	_ = e.Close()
	return out.frames[0]
}

// One machine opens link after link under one false ID after the other, and
// begins handshakes on each that it never ends. It fills its own share, and a
// node on another machine gets in at once.
func TestOneMachineCannotTakeAllHandshakes(t *testing.T) { synctest.Test(t, testHandshakes) }
func testHandshakes(t *testing.T) {
	const address, links = 40, 50
	l := newLab(t)
	defer l.close()
	l.session = session.Config{MaxHandshakes: 100, MaxHandshakesPerAddress: address}
	r := l.relay("a", newKey(t, "weft"), &Server{})
	defer l.stop(r)
	var openers []*frame.Frame
	for range 8 {
		openers = append(openers, opener(t))
	}
	network := link.TagOf(r.parts.Credentials.Network().ID())
	for range links {
		src := identity.NodeID(rand.Uint64())
		conn, err := l.net.Dialer("attacker", link.Hello{Network: network, Node: src})(t.Context(), "a:9999")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range openers {
			f := frame.New(len(o.Packet()))
			copy(f.Packet(), o.Packet())
			f.SetSrc(src)
			f.SetDst(r.id())
			if err := conn.WriteFrames([]*frame.Frame{f}); err != nil {
				t.Fatal(err)
			}
			f.Release()
		}
		l.wg.Go(func() { // reads, so that the link lives
			for {
				f, err := conn.ReadFrame()
				if err != nil {
					return
				}
				f.Release()
			}
		})
	}
	time.Sleep(time.Second)
	h := r.Stats().Handshakes
	if h.Unfinished != address || h.RefusedAddress == 0 || h.RefusedFull != 0 || h.RefusedNode != 0 {
		t.Errorf("counted %+v", h)
	}
	n := l.node("n", newKey(t, "weft"))
	defer n.close()
	began := time.Now()
	l.attach(n, "a:9999")
	l.ready(n)
	if took := time.Since(began); took > 12*delay {
		t.Errorf("the honest node was in after %v", took)
	}
	time.Sleep(time.Minute)
	if s := r.Stats(); s.Handshakes.Unfinished != 0 || s.Links != 1 {
		t.Errorf("after a minute there are %d links: %+v", s.Links, s.Handshakes)
	}
}
