package session

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/internal/udp"
)

// A flow is a path, although neither package knows the other.
var _ Direct = (*udp.Flow)(nil)

// udpEnd is an endpoint with a socket of its own on loopback.
type udpEnd struct {
	e        *Endpoint
	s        *udp.Socket
	peer     netip.AddrPort // of the dialler
	sessions chan *Session
}

// newUDPEnd makes an end with a socket on conn, or on the kernel's loopback.
func newUDPEnd(t testing.TB, conn udp.PacketConn) *udpEnd {
	t.Helper()
	u := &udpEnd{sessions: make(chan *Session, 4)}
	e, err := NewEndpoint(Config{
		Credentials: credentials(t),
		Layer:       "native",
		Route:       func(identity.NodeID) Path { return u.s.Flow(u.peer) },
		OnSession:   func(s *Session) { u.sessions <- s },
	})
	if err != nil {
		t.Fatal(err)
	}
	u.e = e
	u.s, err = udp.Open(t.Context(), udp.Config{
		Addr:    netip.MustParseAddrPort("127.0.0.1:0"),
		Conn:    conn,
		Self:    e.self,
		OnFrame: func(fl *udp.Flow, f *frame.Frame) { e.Receive(f, fl) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *udpEnd) close() {
	_ = u.e.Close()
	_ = u.s.Close()
}

func TestSessionRunsOverSocketsWithoutARelay(t *testing.T) {
	a, b := newUDPEnd(t, nil), newUDPEnd(t, nil)
	defer a.close()
	defer b.close()
	a.peer = b.s.LocalAddr()
	runSession(t, a, b, 4<<20)
}

// The same in a simulated network, to a host behind no NAT from one behind one.
func TestSessionRunsThroughANATWithoutARelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := natnet.New(1)
		defer n.Close()
		far := n.Host("far", natnet.HostConfig{})
		near := n.Host("near", natnet.HostConfig{NAT: n.NAT("nat", natnet.PortRestricted())})
		listen := func(h *natnet.Host) udp.PacketConn {
			c, err := h.ListenPacket(0)
			if err != nil {
				t.Fatal(err)
			}
			return udp.OneByOne(c)
		}
		a, b := newUDPEnd(t, listen(near)), newUDPEnd(t, listen(far))
		defer a.close()
		defer b.close()
		a.peer = netip.AddrPortFrom(far.Addrs()[0], b.s.LocalAddr().Port())
		runSession(t, a, b, 1<<20)
	})
}

// nowhere is a route that leads nowhere: the node has no relay.
type nowhere struct{}

func (nowhere) Send(f *frame.Frame) error { f.Release(); return nil }
func (nowhere) Ready(Waker) bool          { return false }
func (nowhere) MaxPacket() int            { return frame.MaxPacket }
func (nowhere) ID() identity.NodeID       { return 0 }
func (nowhere) String() string            { return "nowhere" }

// A dial over one flow needs no route, and a dial that waits for one gets the
// session, too.
func TestDialDirectNeedsNoRoute(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := natnet.New(1)
		defer n.Close()
		home := n.NAT("home", natnet.PortRestricted())
		var ends [2]*udpEnd
		var addrs [2]netip.AddrPort
		for i := range ends {
			h := n.Host(fmt.Sprint(i), natnet.HostConfig{NAT: home})
			c, err := h.ListenPacket(0)
			if err != nil {
				t.Fatal(err)
			}
			ends[i] = newUDPEnd(t, udp.OneByOne(c))
			defer ends[i].close()
			ends[i].e.cfg.Route = func(identity.NodeID) Path { return nowhere{} }
			addrs[i] = netip.AddrPortFrom(h.Addrs()[0], c.Port())
		}
		a, b := ends[0], ends[1]
		var waiting *Session
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			waiting, err = a.e.Dial(t.Context(), identity.Target{ID: b.e.self})
		}()
		synctest.Wait()

		dead := a.s.Flow(netip.MustParseAddrPort("10.99.0.1:1"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := a.e.DialDirect(ctx, identity.Target{ID: b.e.self}, dead); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial to nobody: %v", err)
		}
		cancel()
		dead.Forget()

		fl := a.s.Flow(addrs[1])
		there, direct := a.e.DialDirect(t.Context(), identity.Target{ID: b.e.self}, fl)
		fl.Forget()
		if direct != nil {
			t.Fatal(direct)
		}
		back := <-b.sessions
		if <-done; err != nil || waiting != there {
			t.Errorf("the dial that waited has %v, %v, want the session", waiting, err)
		}
		x, y := open(t, there, back)
		transfer(t, x, y, 1<<20, 1)
		for _, s := range []*Session{there, back} {
			if p := s.Paths(); len(p) != 2 || !p[1].Active || p[1].State != PathValidated {
				t.Errorf("paths %+v, want the flow in use", p)
			}
		}
		again, direct := a.e.DialDirect(t.Context(), identity.Target{ID: b.e.self}, fl)
		if again != there || direct != nil {
			t.Errorf("another dial has %v, %v, want the same session", again, direct)
		}
		if c := b.s.Counters(); c.DroppedUnvalidated > 0 {
			t.Errorf("the server could not answer: %+v", c)
		}
	})
}

// runSession has a dial b, and moves n bytes each way.
func runSession(t *testing.T, a, b *udpEnd, n int) {
	t.Helper()
	there, err := a.e.Dial(t.Context(), identity.Target{ID: b.e.self})
	if err != nil {
		t.Fatal(err)
	}
	back := <-b.sessions
	x, y := open(t, there, back)
	transfer(t, x, y, n, 1)
	if id := a.s.Flow(a.peer).ID(); id != b.e.self {
		t.Errorf("the flow to the peer is bound to %v, want %v", id, b.e.self)
	}
	for _, u := range []*udpEnd{a, b} {
		if c := u.s.Counters(); c.DroppedQueue+c.DroppedUnvalidated+c.DroppedMalformed+c.DroppedFailed > 0 {
			t.Errorf("the socket dropped: %+v", c)
		}
	}
	t.Logf("%+v\n%+v", there.Stats(), a.s.Counters())
}

// A node that comes back with another key at the same address is answered there,
// although it is known that another node was there before.
func TestAnotherNodeAtAKnownAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := natnet.New(1)
		defer n.Close()
		listen := func(h *natnet.Host) udp.PacketConn {
			c, err := h.ListenPacket(4000)
			if err != nil {
				t.Fatal(err)
			}
			return udp.OneByOne(c)
		}
		server, client := n.Host("server", natnet.HostConfig{}), n.Host("client", natnet.HostConfig{})
		b := newUDPEnd(t, listen(server))
		defer b.close()
		b.e.cfg.Route = func(identity.NodeID) Path { return nowhere{} }
		for range 2 {
			a := newUDPEnd(t, listen(client))
			fl := a.s.Flow(netip.AddrPortFrom(server.Addrs()[0], 4000))
			s, err := a.e.DialDirect(t.Context(), identity.Target{ID: b.e.self}, fl)
			if err != nil {
				t.Fatal(err)
			}
			<-b.sessions
			time.Sleep(time.Second)
			synctest.Wait()
			_ = a.s.Close() // it says nothing to the server
			_ = s.CloseWithError(0, "")
			a.close()
		}
	})
}
