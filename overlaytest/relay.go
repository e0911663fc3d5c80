package overlaytest

import (
	"net"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// A Relay is a relay of a [Lab]. Its host can be cut, killed and restarted like
// any other; it keeps its address and its key then.
type Relay struct {
	lab  *Lab
	name string
	addr string

	peers []string // addresses
}

// A relayHost is the node of a relay, whose gossip the lab carries.
type relayHost struct {
	*overlay.Node
	transport gossip.Transport
}

// GossipTransport is for relay.Server.
func (h relayHost) GossipTransport() gossip.Transport { return h.transport }

// Relay starts a relay on a host of its own. Nodes that are started later know
// it. The relay keeps a link to each of its peers, which form a backbone with it
// and with their own peers: nodes of one reach those of the others. Nodes of
// relays that are not connected so do not meet. Relays that learn of each other
// have no link for that, unless [Config].LinkRelays is set. What relays tell each other
// travels in memory, at once; what they forward takes the simulated links
// between their hosts, or the gossip's way where there is none.
func (l *Lab) Relay(host string, peers ...*Relay) *Relay {
	l.t.Helper()
	r := &Relay{lab: l, name: host, addr: net.JoinHostPort(host, relayPort)}
	for _, p := range peers {
		r.peers = append(r.peers, p.addr)
	}
	h := l.add(host, overlay.Config{}, r)
	if h.udp != nil {
		l.t.Fatalf("overlaytest: host %q was placed; relays need no place, they are always on the internet", host)
	}
	h.udp = l.settle(host, nil)
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
