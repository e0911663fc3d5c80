package session

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/udp"
)

// A flow is a path, although neither package knows the other.
var _ Path = (*udp.Flow)(nil)

// udpEnd is an endpoint with a socket of its own on loopback.
type udpEnd struct {
	e        *Endpoint
	s        *udp.Socket
	peer     netip.AddrPort // of the dialler
	sessions chan *Session
	bound    sync.Map // the flows that peers have proven to be on
}

func newUDPEnd(t testing.TB) *udpEnd {
	t.Helper()
	u := &udpEnd{sessions: make(chan *Session, 4)}
	e, err := NewEndpoint(Config{
		Credentials: credentials(t),
		Layer:       "native",
		Route:       func(identity.NodeID) Path { return u.s.Flow(u.peer) },
		OnSession:   func(s *Session) { u.sessions <- s },
		OnBind: func(peer identity.Peer, via Path) {
			fl := via.(*udp.Flow)
			fl.Validated()
			u.bound.Store(fl, peer.ID)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	u.e = e
	u.s, err = udp.Open(t.Context(), udp.Config{
		Addr:    netip.MustParseAddrPort("127.0.0.1:0"),
		Self:    e.self,
		OnFrame: func(fl *udp.Flow, f *frame.Frame) { e.Receive(f, fl) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.Close()
		_ = u.s.Close()
	})
	return u
}

func TestSessionRunsOverSocketsWithoutARelay(t *testing.T) {
	a, b := newUDPEnd(t), newUDPEnd(t)
	a.peer = b.s.LocalAddr()
	there, err := a.e.Dial(t.Context(), identity.Target{ID: b.e.self})
	if err != nil {
		t.Fatal(err)
	}
	back := <-b.sessions
	x, y := open(t, there, back)
	transfer(t, x, y, 4<<20, 1)
	if id, ok := a.bound.Load(a.s.Flow(b.s.LocalAddr())); !ok || id != b.e.self {
		t.Errorf("the flow to the peer is bound to %v, want %v", id, b.e.self)
	}
	for _, u := range []*udpEnd{a, b} {
		if c := u.s.Counters(); c.DroppedQueue+c.DroppedUnvalidated+c.DroppedMalformed+c.DroppedFailed > 0 {
			t.Errorf("the socket dropped: %+v", c)
		}
	}
	t.Logf("%+v\n%+v", there.Stats(), a.s.Counters())
}
