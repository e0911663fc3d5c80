package session

import (
	"net/netip"
	"testing"

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
