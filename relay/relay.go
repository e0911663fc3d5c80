package relay

import (
	"cmp"
	"context"
	"maps"
	"slices"
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
	"github.com/weftnet/weft/listener"
	"golang.org/x/time/rate"
)

// A relay is a Server at work.
type relay struct {
	relayhost.Parts
	name, version    string
	self             identity.NodeID
	network          link.NetworkTag
	allow            *listener.Rule
	prefaceTimeout   time.Duration
	handshakeTimeout time.Duration
	directory        *gossip.Directory
	backbone         *gossip.Backbone // nil: the relay works alone
	epoch            uint64           // of the relay's own record
	newRelays        chan struct{}    // capacity 1: the nodes must be told
	relearn          chan struct{}    // capacity 1: other relays, or links to them, than before
	conversing       atomic.Int64     // streams of the gossip
	addressless      bool             // no relay can dial this one
	requests         int              // of one node each second; negative: no limit
	registrations    int              // the same
	rates            *addressRates    // of what the nodes of each address ask
	stunPerAddress   int              // answers in a stunWindow; negative: no limit
	links            *admission       // of nodes, and conns in their first bytes
	mesh             *admission       // of other relays
	log              logrus.FieldLogger
	refusals         *rate.Limiter // of log entries about links that were refused
	throttled        *rate.Limiter // of log entries about nodes that send too much
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
	learned  map[identity.NodeID]*peer   // of relays known from the backbone
	overs    map[identity.NodeID]over    // of nodes whose links have ended

	peers  []*peer  // of Server.Peers
	others []*relay // of Server.Others
}

type counters struct {
	accepted, unproven, conflicts               atomic.Uint64
	refusedAddress, refusedBusy, refusedNetwork atomic.Uint64
	refusedPreface, refusedMesh, badDatagrams   atomic.Uint64
	refusedMeshBusy, refusedMeshRole            atomic.Uint64
	acceptErrors, controlMalformed, notAllowed  atomic.Uint64
	learnedDials, learnedWrong, learnedSkipped  atomic.Uint64
	limitedRequests, limitedRegistrations       atomic.Uint64
}

// newRelay makes the server's node forward.
func newRelay(s *Server) *relay {
	parts := s.Host.RelayHost()
	ctx, cancel := context.WithCancel(context.Background())
	r := &relay{
		Parts: parts,
		name:  s.Name, version: s.Version,
		self:             parts.Credentials.Key().ID(),
		allow:            s.Allow,
		network:          link.TagOf(parts.Credentials.Network().ID()),
		prefaceTimeout:   cmp.Or(s.PrefaceTimeout, DefaultPrefaceTimeout),
		handshakeTimeout: cmp.Or(s.HandshakeTimeout, DefaultHandshakeTimeout),
		directory:        s.Directory,
		epoch:            uint64(time.Now().UnixNano()),
		newRelays:        make(chan struct{}, 1),
		relearn:          make(chan struct{}, 1),
		addressless:      len(s.Addrs) == 0,
		requests:         cmp.Or(s.RequestsPerSecond, DefaultRequestsPerSecond),
		registrations:    cmp.Or(s.RegistrationsPerSecond, DefaultRegistrationsPerSecond),
		rates: newAddressRates(
			cmp.Or(s.RegistrationsPerSecondPerAddress, DefaultRegistrationsPerSecondPerAddress),
			cmp.Or(s.RequestsPerSecondPerAddress, DefaultRequestsPerSecondPerAddress),
		),
		stunPerAddress: cmp.Or(s.STUNPerAddress, DefaultSTUNPerAddress),
		links: newAdmission(
			cmp.Or(s.MaxLinks, DefaultMaxLinks),
			cmp.Or(s.MaxLinksPerAddress, DefaultMaxLinksPerAddress),
			cmp.Or(s.MaxPrefaces, DefaultMaxPrefaces),
			share(s.MaxPrefacesPerAddress, cmp.Or(s.MaxPrefaces, DefaultMaxPrefaces), DefaultMaxPrefaces),
		),
		mesh: newAdmission(
			cmp.Or(s.MaxMeshLinks, DefaultMaxMeshLinks),
			s.meshShare(s.MaxMeshLinks, DefaultMaxMeshLinks),
			cmp.Or(s.MaxMeshClaims, DefaultMaxMeshClaims),
			s.meshShare(s.MaxMeshClaims, DefaultMaxMeshClaims),
		),
		log:       parts.Logger,
		refusals:  rate.NewLimiter(refusalsPerSecond, refusalBurst),
		throttled: rate.NewLimiter(refusalsPerSecond, refusalBurst),
		ctx:       ctx, cancel: cancel,
		members:  make(map[*switchboard.Port]*member),
		nodes:    make(map[identity.NodeID]*member),
		consoles: make(map[*session.Session]*console),
		trunks:   make(map[identity.NodeID][]trunk),
		learned:  make(map[identity.NodeID]*peer),
		overs:    make(map[identity.NodeID]over),
	}
	r.links.shared, r.mesh.shared = s.Proxies, s.Proxies
	r.web = newWeb(r, s)
	if r.directory == nil {
		r.directory = gossip.NewDirectory(gossip.DirectoryConfig{})
	}
	if err := r.Credentials.TakeRole(identity.RoleRelay); err != nil {
		r.log.WithError(err).Warn("other relays will not take this one for a relay")
	}
	r.startBackbone(s)
	r.begin(s)
	return r
}

// begin makes the node a relay.
func (r *relay) begin(s *Server) {
	for _, other := range s.Others {
		r.others = append(r.others, other.relay())
	}
	r.Hooks.Watch(r)
	for _, sess := range r.Endpoint.Sessions() {
		r.Established(sess)
	}
	r.Switch.SetForwarding(&switchboard.Forwarding{
		Limits: switchboard.Limits{
			BytesPerSecond: s.BytesPerSecond, PacketsPerSecond: s.PacketsPerSecond,
		},
		NextHop: r.nextHop, Elsewhere: r.elsewhere,
		OnThrottled: r.throttler(s),
	})
	r.spawn(r.stayListed)
	r.spawn(r.tellRevoked)
	if r.backbone != nil {
		r.spawn(r.tellRelays)
		if limit := cmp.Or(s.MaxLearnedPeers, DefaultMaxLearnedPeers); limit > 0 {
			r.spawn(func() { r.learn(limit) })
		}
	}
	for _, addr := range s.Peers {
		p := newPeer(r, addr)
		close(p.talk)
		r.peers = append(r.peers, p)
		r.spawn(func() { p.run(r.ctx) })
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
	r.mu.Unlock()
	for _, c := range r.allConsoles() {
		c.push(m)
	}
}

// allConsoles returns the consoles of all sessions.
func (r *relay) allConsoles() []*console {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.consoles))
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
		if r.backbone != nil {
			_ = r.backbone.Close() // while the others can be told
		}
		r.cancel()
		r.directory.Detach(r.self, r.self)
	}
	r.wg.Wait()
}
