package overlay

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/direct"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/udp"
)

// maxProbeFlows bounds the flows that a puncher keeps for answers: those of two
// rounds.
const maxProbeFlows = 2 * direct.MaxCandidates

// A puncher finds direct paths for one session: it runs a direct.Agent.
type puncher struct {
	d    *directPaths
	sess *session.Session
	wake chan struct{} // capacity 1

	dialling atomic.Bool // until the link that comes of it has ended

	mu     sync.Mutex
	events punchEvents
	status direct.Status

	// Owned by run.
	agent *direct.Agent
	flows map[netip.AddrPort]*udp.Flow
}

// punchEvents are what has happened since the puncher looked last. Of each kind
// only the latest counts, so that no peer can fill a queue.
type punchEvents struct {
	local   *direct.Local // new addresses of the node
	remote  []byte        // what the peer has told
	restart bool          // the network has changed
}

func newPuncher(d *directPaths, s *session.Session) *puncher {
	p := &puncher{d: d, sess: s, wake: make(chan struct{}, 1), flows: make(map[netip.AddrPort]*udp.Flow)}
	p.agent = direct.New(direct.Config{
		Client:   s.Initiator(),
		RTT:      func() time.Duration { return s.Stats().RTT },
		Announce: s.SetCandidates,
		Probe:    p.probe,
		Dial:     p.dial,
	})
	return p
}

// tell changes what the puncher is to look at. It never blocks.
func (p *puncher) tell(f func(*punchEvents)) {
	p.mu.Lock()
	f(&p.events)
	p.mu.Unlock()
	poke(p.wake)
}

// run ends with the session, or when the node begins to close.
func (p *puncher) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer p.end()
	for {
		timer.Stop()
		if next := p.turn(time.Now()); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-p.wake:
		case <-timer.C:
		case <-p.sess.Done():
			return
		case <-p.d.node.ctx.Done():
			return
		}
	}
}

// turn tells the agent what has happened and lets it act.
func (p *puncher) turn(now time.Time) time.Time {
	p.mu.Lock()
	e := p.events
	p.events = punchEvents{}
	p.mu.Unlock()
	p.agent.Connected(now, p.connected())
	p.agent.Linked(now, p.d.links.linked(p.sess.Peer().ID))
	if e.local != nil {
		p.agent.SetLocal(now, *e.local)
	}
	if e.remote != nil {
		if err := p.agent.Receive(now, e.remote); err != nil {
			p.d.node.log.WithError(err).WithField("peer", p.sess.Peer().ID.String()).Debug("candidates dropped")
		}
	}
	if e.restart {
		p.agent.Restart(now)
	}
	next := p.agent.Advance(now)
	status := p.agent.Status()
	p.mu.Lock()
	p.status = status
	p.mu.Unlock()
	return next
}

// connected reports whether there is a direct path, used or not.
func (p *puncher) connected() bool {
	for _, st := range p.sess.Paths() {
		if _, ok := st.Path.(*udp.Flow); ok && st.State == session.PathValidated {
			return true
		}
	}
	return false
}

// probe challenges the peer at an address.
func (p *puncher) probe(addr netip.AddrPort) {
	if p.d.sock == nil || !p.d.limit.Allow() {
		return
	}
	fl := p.flows[addr]
	if fl == nil {
		if len(p.flows) == maxProbeFlows {
			p.forgetFlows()
		}
		fl = p.d.sock.Flow(addr)
		p.flows[addr] = fl
	}
	p.sess.Challenge(fl)
}

// dial tries to make a link to the peer, unless it is being tried.
func (p *puncher) dial(addrs []netip.AddrPort) {
	if len(addrs) == 0 || !p.dialling.CompareAndSwap(false, true) {
		return
	}
	if !p.d.node.spawn(func() { defer p.dialling.Store(false); p.d.links.try(p.sess, addrs) }) {
		p.dialling.Store(false)
	}
}

// forgetFlows gives back the flows that were kept for answers. The session keeps
// those that it uses.
func (p *puncher) forgetFlows() {
	for addr, fl := range p.flows {
		fl.Forget()
		delete(p.flows, addr)
	}
}

func (p *puncher) end() {
	p.d.forget(p.sess)
	p.forgetFlows()
}

// snapshot is what the agent knows and does.
func (p *puncher) snapshot() direct.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}
