package relay

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/relayhost"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
	"golang.org/x/time/rate"
)

// A relay is a Server at work.
type relay struct {
	relayhost.Parts
	name, version    string
	self             identity.NodeID
	network          link.NetworkTag
	prefaceTimeout   time.Duration
	handshakeTimeout time.Duration
	directory        *gossip.Directory
	links            *admission
	log              logrus.FieldLogger
	refusals         *rate.Limiter // of log entries about links that were refused
	stats            counters
	web              *web
	stun             stunCounters

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	leaving  *control.GoingAway // what nodes are told from Shutdown on
	members  map[*switchboard.Port]*member
	nodes    map[identity.NodeID]*member // by who has proven to be there
	consoles map[*session.Session]*console
	trunks   map[identity.NodeID][]trunk // links to other relays, oldest first

	peers []*peer // of Server.Peers
}

type counters struct {
	accepted, unproven, conflicts               atomic.Uint64
	refusedAddress, refusedBusy, refusedNetwork atomic.Uint64
	refusedPreface, refusedMesh                 atomic.Uint64
	acceptErrors, controlMalformed              atomic.Uint64
}

// newRelay makes the server's node forward.
func newRelay(s *Server) *relay {
	parts := s.Host.RelayHost()
	ctx, cancel := context.WithCancel(context.Background())
	r := &relay{
		Parts: parts,
		name:  s.Name, version: s.Version,
		self:             parts.Credentials.Key().ID(),
		network:          link.TagOf(parts.Credentials.Network().ID()),
		prefaceTimeout:   cmp.Or(s.PrefaceTimeout, DefaultPrefaceTimeout),
		handshakeTimeout: cmp.Or(s.HandshakeTimeout, DefaultHandshakeTimeout),
		directory:        s.Directory,
		links: newAdmission(
			cmp.Or(s.MaxLinks, DefaultMaxLinks),
			cmp.Or(s.MaxLinksPerAddress, DefaultMaxLinksPerAddress),
			cmp.Or(s.MaxPrefaces, DefaultMaxPrefaces),
		),
		log:      parts.Logger,
		refusals: rate.NewLimiter(refusalsPerSecond, refusalBurst),
		ctx:      ctx, cancel: cancel,
		members:  make(map[*switchboard.Port]*member),
		nodes:    make(map[identity.NodeID]*member),
		consoles: make(map[*session.Session]*console),
		trunks:   make(map[identity.NodeID][]trunk),
	}
	r.links.shared = s.Proxies
	r.web = newWeb(r, s)
	if r.directory == nil {
		r.directory = gossip.NewDirectory(gossip.DirectoryConfig{})
	}
	if err := r.Credentials.TakeRole(identity.RoleRelay); err != nil {
		r.log.WithError(err).Warn("other relays will not take this one for a relay")
	}
	r.listSelf()
	r.Hooks.Watch(r)
	for _, sess := range r.Endpoint.Sessions() {
		r.Established(sess)
	}
	r.Switch.SetForwarding(&switchboard.Forwarding{
		Limits: switchboard.Limits{
			BytesPerSecond: s.BytesPerSecond, PacketsPerSecond: s.PacketsPerSecond,
		},
		NextHop: r.nextHop,
	})
	for _, addr := range s.Peers {
		p := newPeer(r, addr)
		r.peers = append(r.peers, p)
		r.spawn(func() { p.run(ctx) })
	}
	return r
}

// listSelf makes the relay's own node known in its directory.
func (r *relay) listSelf() {
	key := r.Credentials.Key().Public()
	self := identity.Peer{ID: key.ID(), Key: key, Names: r.Credentials.Names()}
	err := r.directory.Put(self, gossip.Attachment{Relay: r.self, Names: self.Names, Epoch: uint64(time.Now().UnixNano())})
	if err != nil {
		r.log.WithError(err).Warn("the relay itself cannot be looked up")
	}
}

// spawn starts a goroutine that close waits for, unless it is too late.
func (r *relay) spawn(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.wg.Go(f)
	}
	return !r.closed
}

// announce tells all nodes, and those that open a control stream later, that
// the relay goes away.
func (r *relay) announce(m *control.GoingAway) {
	r.mu.Lock()
	r.leaving = m
	open := make([]*console, 0, len(r.consoles))
	for _, c := range r.consoles {
		open = append(open, c)
	}
	r.mu.Unlock()
	for _, c := range open {
		c.push(m)
	}
}

// close ends all links and waits for the relay's goroutines.
func (r *relay) close() {
	r.mu.Lock()
	first := !r.closed
	r.closed = true
	r.mu.Unlock()
	if first {
		r.Switch.SetForwarding(nil)
		r.Hooks.Unwatch(r)
		r.cancel()
		r.directory.Detach(r.self, r.self)
	}
	r.wg.Wait()
}
