package relayhost

import (
	"errors"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/switchboard"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A guard lets one node in.
type guard struct {
	only     identity.NodeID
	says     error // to others
	sessions int
}

var errGuard = errors.New("not this one")

func (g *guard) Bound(peer identity.Peer, _ *switchboard.Port) error {
	if peer.ID != g.only {
		return g.says
	}
	return nil
}

func (g *guard) Established(*session.Session) { g.sessions++ }

// attach returns a port whose other end is open.
func attach(t *testing.T, s *switchboard.Switch) *switchboard.Port {
	t.Helper()
	here, there := simnet.NewPipe(simnet.Impairment{}, simnet.Impairment{}, 1)
	t.Cleanup(func() { _ = there.Close() })
	return s.Attach(here, switchboard.PortConfig{})
}

func TestHooksBindWhatNoWatcherRefuses(t *testing.T) {
	s := switchboard.New(switchboard.Config{Self: 1, Deliver: func(f *frame.Frame, _ *switchboard.Port) { f.Release() }})
	defer s.Close()
	h := NewHooks(s)
	g := &guard{only: 7, says: errGuard}
	h.Watch(g)

	let := attach(t, s)
	h.OnBind(identity.Peer{ID: 7}, let)
	if let.ID() != 7 {
		t.Errorf("the port is bound to %v", let.ID())
	}
	refused := attach(t, s)
	h.OnBind(identity.Peer{ID: 8}, refused)
	<-refused.Done()
	if !errors.Is(refused.Err(), errGuard) || s.Port(8) != nil {
		t.Errorf("refused port: %v, %v", refused.Err(), s.Port(8))
	}
	g.says = ErrLater // the watcher ends the link itself
	later := attach(t, s)
	h.OnBind(identity.Peer{ID: 8}, later)
	if later.Err() != nil || later.ID() != 0 || s.Port(8) != nil {
		t.Errorf("a port that ends later: %v, bound to %v", later.Err(), later.ID())
	}
	h.OnBind(identity.Peer{ID: 9}, s.Route(9)) // a route says nothing about a link
	if s.Port(9) != nil {
		t.Error("a route was bound")
	}
	h.OnSession(nil)
	h.Unwatch(g)
	h.OnSession(nil)
	if g.sessions != 1 {
		t.Errorf("the watcher saw %d sessions", g.sessions)
	}
	free := attach(t, s)
	h.OnBind(identity.Peer{ID: 8}, free)
	if free.ID() != 8 {
		t.Error("the watcher is still asked")
	}
}
