package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/relayhost"
	"github.com/weftnet/weft/listener"
)

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("relay: server closed")

// The defaults of [Server].
const (
	DefaultMaxLinks           = 16384
	DefaultMaxLinksPerAddress = 256
	DefaultMaxPrefaces        = 1024
	DefaultMaxMeshLinks       = 2 * gossip.DefaultMaxRelays
	DefaultMaxMeshClaims      = gossip.DefaultMaxRelays
	DefaultMaxHTTP            = 1024
	DefaultMaxLearnedPeers    = 64
	DefaultPrefaceTimeout     = 5 * time.Second
	DefaultHandshakeTimeout   = 10 * time.Second

	DefaultRequestsPerSecond      = control.RequestsPerSecond
	DefaultRegistrationsPerSecond = 1

	DefaultRequestsPerSecondPerAddress      = 1000
	DefaultRegistrationsPerSecondPerAddress = 64
	DefaultSTUNPerAddress                   = 512
)

// A Host is a node that can be a relay: an overlay.Node.
type Host interface{ RelayHost() relayhost.Parts }

// A Server makes its Host a relay. Its fields must not be changed once Serve
// was called. Multiple goroutines may invoke its methods simultaneously.
//
// The gossip with other relays runs over weaveworks/mesh, which cannot be
// stopped: after Close of a Server that has met another relay, five goroutines
// and one loopback socket of mesh's remain until the process ends.
type Server struct {
	// Host is the node that becomes a relay. Required.
	Host Host
	// Name and Version are what nodes are told about the relay, for people to
	// read. Name may be empty; Version, too.
	Name, Version string
	// Directory is where attached nodes are listed. Nil: one with the default
	// limits.
	Directory *gossip.Directory

	// Others are servers of other networks, on nodes of their own, whose links
	// come in on this server's listeners: the first bytes of a link name its
	// network. Nothing else is shared but the pages over HTTP. Each is shut down
	// or closed by itself, this one last. Empty: none.
	Others []*Server

	// Addrs are where nodes and other relays reach this relay, best first, at most
	// 4: what the nodes of other relays are told, so that they have another relay
	// to go to. Empty: a relay that has this one among its Peers tells that
	// address, and others tell nothing.
	Addrs []string
	// Peers are the addresses of other relays, as overlay.Config.Relays has them.
	// The relay keeps a link to each, and forwards to the nodes that are attached
	// there. It suffices if one of two relays knows the other's address; one that
	// leads to this relay itself does no harm, so that all relays can have the
	// same list. Empty: none but those that dial this one.
	Peers []string
	// MaxLearnedPeers is how many relays this one dials that it knows from the
	// backbone alone, at the addresses that they give as their own; of two relays
	// the one with the smaller ID dials. Frames to relays without a link go through
	// the gossip, which is slower. The limit bounds what relays that lie about
	// their addresses make this one dial, and suffices for 65 relays that all have
	// links to each other. Zero: 64. Negative: none.
	MaxLearnedPeers int

	// Allow decides which nodes the relay serves: others are told that it does not
	// as soon as they have proven who they are, and their links are closed, counted
	// and, now and then, logged. Relays of the backbone
	// are served in any case, but not in an open network, where everybody can claim
	// to be one. It must not block. Nil: all members of the network.
	Allow *listener.Rule

	// MaxLinks is how many links of nodes are accepted; further diallers are told that
	// the relay is busy. Zero: 16384. Negative: no limit.
	MaxLinks int
	// MaxLinksPerAddress is how many of them may come from one IPv4 address or
	// one IPv6 /64 network, so that one attacker does not take all of
	// MaxLinks. It is large because a company or a mobile network may have all
	// its nodes behind one address. Zero: 256. Negative: no limit, for a relay
	// behind a proxy that hides the addresses.
	MaxLinksPerAddress int
	// MaxPrefaces is how many conns may be in their first bytes at one time, a
	// round trip for each that is honest. Further ones are closed at once, without
	// a word: nothing is known about them yet, and nothing shall be spent on them. But
	// the oldest gives way if it has said too little for half a second.
	// Zero: 1024. Negative: no limit.
	MaxPrefaces int
	// MaxPrefacesPerAddress is how many of them may come from one address, of
	// which MaxLinksPerAddress says what it is, so that one attacker does not keep
	// others out. It is as large as that by default, so that all nodes of an
	// address may come back in the same moment after the relay was away. Zero: a
	// quarter of MaxPrefaces, thus 256. Negative: no limit.
	MaxPrefacesPerAddress int
	// MaxMeshLinks is how many links from other relays there may be, apart from
	// MaxLinks, so that a relay whose nodes, or attackers, have taken all of that
	// still has its backbone. A quarter of them may come from one address, unless
	// MaxLinksPerAddress is negative. Zero: 512, two for each relay that a backbone
	// may have, as while a new link takes the place of one that has died. Negative:
	// no limit.
	MaxMeshLinks int
	// MaxMeshClaims is how many links may say in their first bytes that they come
	// from another relay without having proven it, which takes two round trips, and
	// HandshakeTimeout at most. It is apart from MaxMeshLinks, so that those who lie
	// keep nobody away who has proven it, and a quarter may come from one address,
	// as of MaxMeshLinks. Zero: 256, so that all relays of the largest backbone may
	// come back in the same moment. Negative: no limit.
	MaxMeshClaims int
	// PrefaceTimeout is how long a dialler has for its first bytes. Zero: 5 s.
	PrefaceTimeout time.Duration
	// HandshakeTimeout is how long a link may be without a session that proves
	// who is at its other end. Zero: 10 s.
	HandshakeTimeout time.Duration

	// Handler serves the pages on the relay's port that are not the relay's own:
	// /healthz, /readyz, /metrics and /link. Close waits for it; the contexts of
	// its requests end before. Nil: there are no others.
	Handler http.Handler
	// MaxHTTP is how many HTTP conns may be open; WebSockets count as links, and
	// until they are links as HTTP. Further ones are answered with status 503.
	// Zero: 1024. Negative: no limit.
	MaxHTTP int
	// MaxHTTPPerAddress is how many of them may come from one address, so that one
	// attacker does not keep others out. It suffices for all nodes of an address
	// that come back over WebSockets in the same moment. Zero: a quarter of
	// MaxHTTP, thus 256. Negative: no limit.
	MaxHTTPPerAddress int
	// Metrics serves /metrics, to MetricsFrom: package metrics makes such a handler of
	// the server, for Prometheus. Close waits for it. Nil: status 404, which says so.
	Metrics http.Handler
	// MetricsFrom are the addresses that may read /metrics. Nil: loopback
	// addresses.
	MetricsFrom []netip.Prefix
	// Proxies are the addresses of web servers in front of the relay. What they
	// say in X-Forwarded-For is believed, and limits for one address do not
	// count for them. Nil: none.
	Proxies []netip.Prefix

	// RequestsPerSecond is how many requests of one node are answered each
	// second, look-ups mostly, and twice as many at once; a node that asks faster
	// waits, so that it costs only itself. Zero: 50. Negative: no limit.
	RequestsPerSecond int
	// RegistrationsPerSecond is the same for registrations, 20 times as many at
	// once. It is small because each is told to the whole backbone, and a node
	// registers when it comes and when its addresses change. Zero: 1. Negative: no
	// limit.
	RegistrationsPerSecond int
	// RequestsPerSecondPerAddress is how many requests other than registrations are
	// answered each second for all nodes of one address together, and twice as many
	// at once, so that somebody with many nodes costs as little as one with some. A
	// request waits up to two seconds for its turn; then it is refused, and the node
	// asks again later. The default is what twenty nodes may ask at most, and leaves
	// 256 nodes of one address, MaxLinksPerAddress, seven each when they come back at
	// once. It does not hold for links of Proxies that do not say for whom they are,
	// nor if MaxLinksPerAddress is negative. Zero: 1000. Negative: no limit.
	RequestsPerSecondPerAddress int
	// RegistrationsPerSecondPerAddress is the same for registrations, 20 times as
	// many at once: all relays check the signature of each, some 70 microseconds.
	// The default costs each less than a hundredth of a core, and leaves 256 nodes of
	// one address five each when they come back at once. Zero: 64. Negative: no
	// limit.
	RegistrationsPerSecondPerAddress int
	// STUNPerAddress is how many STUN requests of one address are answered on each
	// socket in 10 s; others are not answered, which is how STUN tells to ask again
	// later. The sender of a request can be forged: it is how many answers, no longer
	// than the request but for 44 bytes that every client gets, somebody can have
	// sent to an address.
	// The default is twice what 256 nodes of one address ask when all begin at once;
	// to keep their mappings they ask up to 256. Zero: 512. Negative: no limit.
	STUNPerAddress int

	// BytesPerSecond and PacketsPerSecond limit what is forwarded for each
	// node. What is beyond is dropped, and the node is told. Zero: no limit.
	BytesPerSecond, PacketsPerSecond int

	start   sync.Once
	running *relay // set by start

	mu        sync.Mutex
	closed    bool                   // Shutdown or Close was called
	listeners map[io.Closer]struct{} // and packet conns
}

// Serve accepts conns from ln, which it closes, until the end of Shutdown or
// until Close; the error then is [ErrServerClosed]. A conn's first bytes say
// whether it is a link or HTTP. With a listener of crypto/tls, nodes need no web
// server in between for wss://. Errors of ln that pass, such as too many open
// files, are waited out.
func (s *Server) Serve(ln net.Listener) error {
	r := s.relay()
	if !s.track(ln) {
		_ = ln.Close()
		return ErrServerClosed
	}
	defer s.untrack(ln)
	var pause acceptPause
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			pause.reset()
			if !r.spawn(func() { r.serveConn(conn) }) {
				_ = conn.Close()
			}
		case s.isClosed():
			return ErrServerClosed
		case !temporary(err):
			return err
		default:
			r.stats.acceptErrors.Add(1)
			r.log.WithError(err).Warn("cannot accept links; trying again")
			if !pause.wait(r.ctx) {
				return ErrServerClosed
			}
		}
	}
}

// ServeLink serves one link that did not come from a net.Listener. It returns
// when the link has ended.
func (s *Server) ServeLink(c link.PrefaceConn) {
	r := s.relay()
	ended := make(chan struct{})
	if !r.spawn(func() { defer close(ended); r.serveLink(c) }) {
		_ = c.Close()
		return
	}
	<-ended
}

// Shutdown refuses new links, tells all nodes that the relay is going away, and
// waits until they have left. When ctx ends first it closes their links and
// returns ctx's error. Meanwhile /readyz says that the relay is not ready. The
// node itself stays.
func (s *Server) Shutdown(ctx context.Context) error {
	r := s.relay()
	r.drain()
	r.announce(goingAway(ctx))
	err := r.links.waitEmpty(ctx)
	return errors.Join(err, s.Close())
}

// drain lets no further link in.
func (r *relay) drain() {
	r.links.drain()
	r.mesh.drain()
}

// goingAway says how long ctx leaves the nodes.
func goingAway(ctx context.Context) *control.GoingAway {
	deadline, ok := ctx.Deadline()
	if !ok {
		return &control.GoingAway{}
	}
	return &control.GoingAway{GraceMillis: uint64(max(time.Until(deadline).Milliseconds(), 0))}
}

// Close stops accepting links, closes all and waits for the server's
// goroutines. The node itself stays.
func (s *Server) Close() error {
	r := s.relay()
	s.stopAccepting()
	r.close()
	return nil
}

// stopAccepting closes the listeners and lets no link in.
func (s *Server) stopAccepting() {
	s.relay().drain()
	s.mu.Lock()
	s.closed = true
	open := s.listeners
	s.listeners = nil
	s.mu.Unlock()
	for ln := range open {
		_ = ln.Close()
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) track(ln io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.listeners == nil {
		s.listeners = make(map[io.Closer]struct{})
	}
	s.listeners[ln] = struct{}{}
	return true
}

func (s *Server) untrack(ln io.Closer) {
	s.mu.Lock()
	delete(s.listeners, ln)
	s.mu.Unlock()
	_ = ln.Close()
}

// relay returns the relay, which the first call makes.
func (s *Server) relay() *relay {
	s.start.Do(func() { s.running = newRelay(s) })
	return s.running
}
