// Package relayhost is the seam between a node and the relay that it hosts:
// the [Parts] of the node that a relay works with, and the [Hooks] by which the
// relay learns who has proven to be at the other end of a link.
package relayhost

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/statuspage"
	"github.com/weftnet/weft/internal/switchboard"
)

// Parts are what a relay needs of the node that it runs on. All are required,
// but Dial only by a relay that has peers, and Page by one that shows its page.
type Parts struct {
	Switch      *switchboard.Switch
	Endpoint    *session.Endpoint
	Credentials *identity.Credentials
	Hooks       *Hooks
	Dial        link.Dial // reaches other relays, as the node reaches its own, with link.FlagMesh
	Logger      logrus.FieldLogger
	Page        statuspage.Source // about the node
}

// ErrLater is returned by a Watcher that says something to the node before it ends
// the link.
var ErrLater = errors.New("relayhost: the link ends soon")

// A Watcher is told what an endpoint finds out about its peers. Its methods are
// called from the sessions' goroutines and must not block.
type Watcher interface {
	// Bound is called when peer has proven to be at the other end of port,
	// before the switch is told. An error, with which the link then ends, says
	// that the node must not be there. With [ErrLater] the link stays as it is,
	// bound to nobody, and the watcher ends it soon.
	Bound(peer identity.Peer, port *switchboard.Port) error
	// Established is called with each new session, after its Bound.
	Established(s *session.Session)
}

// Hooks binds the ports of a switch to the nodes that an endpoint's sessions
// have proven to be there. The zero value lacks its switch; use [NewHooks].
// Multiple goroutines may invoke methods on Hooks simultaneously.
type Hooks struct {
	bind func(*switchboard.Port, identity.NodeID)

	mu       sync.RWMutex
	watchers map[Watcher]struct{}
}

// NewHooks returns hooks that bind ports of s.
func NewHooks(s *switchboard.Switch) *Hooks {
	return &Hooks{bind: s.Bind, watchers: make(map[Watcher]struct{})}
}

// OnBind is the endpoint's [session.Config.OnBind].
func (h *Hooks) OnBind(peer identity.Peer, path session.Path) {
	port, ok := path.(*switchboard.Port)
	if !ok {
		return // a route: nothing new about who is where
	}
	for _, w := range h.snapshot() {
		if err := w.Bound(peer, port); err != nil {
			if !errors.Is(err, ErrLater) {
				port.CloseWithError(err)
			}
			return
		}
	}
	h.bind(port, peer.ID)
}

// OnSession is the endpoint's [session.Config.OnSession].
func (h *Hooks) OnSession(s *session.Session) {
	for _, w := range h.snapshot() {
		w.Established(s)
	}
}

// Watch has w, which must be comparable, told from now on, until Unwatch.
func (h *Hooks) Watch(w Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
}

// Unwatch undoes Watch. A call of w that has begun may still be running.
func (h *Hooks) Unwatch(w Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

func (h *Hooks) snapshot() []Watcher {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Collect(maps.Keys(h.watchers))
}
