package overlaytest

import (
	"net"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// A Relay is a relay of a [Lab]. Its host can be cut, killed and restarted like
// any other; it keeps its address and its key then.
type Relay struct {
	lab  *Lab
	name string
	addr string
}

// Relay starts a relay on a host of its own. Nodes that are started later have a
// link to it. A lab has no gossip between relays: nodes meet at those that they
// have in common.
func (l *Lab) Relay(host string) *Relay {
	l.t.Helper()
	r := &Relay{lab: l, name: host, addr: net.JoinHostPort(host, relayPort)}
	h := l.add(host, overlay.Config{}, r)
	l.mu.Lock()
	l.relays = append(l.relays, r.addr)
	l.mu.Unlock()
	l.boot(h)
	return r
}

// Restart kills what runs on a host, if it still does, and starts it anew with
// the same config and the same key. It returns the new node and does not wait
// for it; see [Lab.WaitReady].
func (l *Lab) Restart(host string) *overlay.Node {
	l.t.Helper()
	return l.boot(l.host(host))
}

// Addr returns the relay's address as overlay.Config.Relays takes it.
func (r *Relay) Addr() string { return r.addr }

// Node returns the node that the relay runs on, nil while it is dead.
func (r *Relay) Node() *overlay.Node {
	if p := r.lab.host(r.name).process(); p != nil {
		return p.node
	}
	return nil
}

// Server returns the relay itself, nil while it is dead.
func (r *Relay) Server() *relay.Server {
	if p := r.lab.host(r.name).process(); p != nil {
		return p.server
	}
	return nil
}
