package relay

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/identity"
)

const (
	// learnedMinBackoff and learnedMaxBackoff are the pauses between dials of a
	// learned address, whose failure costs little, since frames go through the
	// gossip meanwhile.
	learnedMinBackoff = time.Second
	learnedMaxBackoff = 5 * time.Minute
	// learnedPause is how soon after another a relay's word, such as new
	// addresses, makes this one dial it at once: a relay that changes its record
	// all the time is dialled no more often.
	learnedPause = 30 * time.Second
	// learnedJitter is how long the first dial waits at most, so that not all
	// relays dial a new one in the same moment.
	learnedJitter = time.Second
	// gossipLinks is how many links carry the gossip before those to learned
	// relays need not, too. A few keep it in one piece; with all links of a full
	// mesh of 30 relays, it took 0.9 s until all of them knew 99 of 100 nodes, and
	// less than 0.3 s so.
	gossipLinks = 4
)

// A learner keeps links to the relays that are known from the backbone. One
// goroutine owns it.
type learner struct {
	relay *relay
	limit int
	known map[identity.NodeID]*acquaintance
	begun int64 // streams of the gossip, in this turn
}

// An acquaintance is a relay that is being dialled, or was lately.
type acquaintance struct {
	peer      *peer // nil: not any more
	cancel    context.CancelFunc
	reachable bool
	talks     bool      // the link carries the gossip when it is up
	due       bool      // something has changed, for which it shall be dialled at once
	hurried   time.Time // when it last was
}

// learn keeps links to other relays that the backbone knows until the relay
// ends.
func (r *relay) learn(limit int) {
	l := &learner{relay: r, limit: limit, known: make(map[identity.NodeID]*acquaintance)}
	timer := time.NewTimer(l.turn(time.Now(), r.backbone.Relays()))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.relearn:
		case <-r.ctx.Done():
			return // and with it the peers' contexts
		}
		timer.Reset(l.turn(time.Now(), r.backbone.Relays()))
	}
}

// turn begins and ends what all, the other relays, asks for. It returns when to
// look again at the latest.
func (l *learner) turn(now time.Time, all []gossip.RelayInfo) time.Duration {
	l.forget(now, all)
	l.begun = 0
	next, skipped := learnedPause, 0
	for _, info := range l.ring(all) {
		a := l.known[info.ID]
		switch {
		case a != nil && a.peer != nil:
			a.due = a.peer.follow(info.Addrs) || a.due || info.Reachable && !a.reachable
			a.reachable = info.Reachable
			l.converse(a)
			if !a.due {
				continue
			}
		case !info.Reachable || !l.fit(info) || l.relay.trunkTo(info.ID) != nil:
			continue
		case l.running() >= l.limit:
			skipped++
			continue
		}
		if a != nil {
			if rest := learnedPause - now.Sub(a.hurried); rest > 0 {
				next = min(next, rest)
				continue
			}
		}
		l.dial(now, info)
	}
	l.relay.stats.learnedSkipped.Store(uint64(skipped))
	return next
}

// fit reports whether a relay is one for this one to dial: of two relays the one
// with the smaller ID dials, unless the other cannot be dialled.
func (l *learner) fit(info gossip.RelayInfo) bool {
	return len(info.Addrs) > 0 && !info.Leaving && !info.NameClash && (l.relay.self < info.ID || l.relay.addressless)
}

// ring returns the relays in the order of their IDs from this one's own on, so
// that not all that have a choice choose the same ones.
func (l *learner) ring(all []gossip.RelayInfo) []gossip.RelayInfo {
	i, _ := slices.BinarySearchFunc(all, l.relay.self, func(info gossip.RelayInfo, id identity.NodeID) int {
		if info.ID < id {
			return -1
		}
		return 1
	})
	return append(slices.Clone(all[i:]), all[:i]...)
}

// running is how many relays are dialled.
func (l *learner) running() (n int) {
	for _, a := range l.known {
		if a.peer != nil {
			n++
		}
	}
	return n
}

// dial makes a relay be dialled now.
func (l *learner) dial(now time.Time, info gossip.RelayInfo) {
	a := l.known[info.ID]
	if a == nil {
		a = new(acquaintance)
		l.known[info.ID] = a
	}
	a.due, a.hurried, a.reachable = false, now, info.Reachable
	if a.peer != nil {
		a.peer.dialNow()
		return
	}
	ctx, cancel := context.WithCancel(l.relay.ctx)
	p := newLearnedPeer(l.relay, info)
	if !l.relay.spawn(func() { p.run(ctx) }) {
		cancel()
		return
	}
	a.peer, a.cancel = p, cancel
	l.relay.setLearned(info.ID, p)
	p.log.Debug("another relay of the backbone can be dialled")
}

// converse has the gossip use the link to a relay if it has few others, or does
// not reach the relay by those.
func (l *learner) converse(a *acquaintance) {
	if a.talks || !a.peer.state().Up || a.reachable && l.relay.conversing.Load()+l.begun >= gossipLinks {
		return
	}
	a.talks = true
	l.begun++
	close(a.peer.talk)
}

// forget stops dialling relays that have left the backbone.
func (l *learner) forget(now time.Time, all []gossip.RelayInfo) {
	for id, a := range l.known {
		stays := slices.ContainsFunc(all, func(info gossip.RelayInfo) bool { return info.ID == id && !info.NameClash })
		switch {
		case a.peer != nil && !stays:
			a.cancel()
			a.peer, a.talks = nil, false
			l.relay.setLearned(id, nil)
		case a.peer == nil && now.Sub(a.hurried) >= learnedPause:
			delete(l.known, id)
		}
	}
}

// lookAround makes the learner look at the other relays.
func (r *relay) lookAround() {
	select {
	case r.relearn <- struct{}{}:
	default:
	}
}

// setLearned makes p known as the learned peer for the relay id; nil is none.
func (r *relay) setLearned(id identity.NodeID, p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p == nil {
		delete(r.learned, id)
		return
	}
	r.learned[id] = p
}

// newLearnedPeer returns a peer that links to a relay and to nobody else who is
// at its addresses.
func newLearnedPeer(r *relay, info gossip.RelayInfo) *peer {
	p := newPeer(r, info.Addrs...)
	p.want = info.ID
	p.log = p.log.WithField("learned", info.ID.String())
	p.status.ID, p.status.Learned = info.ID, true
	return p
}

// follow takes the newest addresses of a relay, and reports whether they are
// others than before. None do not count.
func (p *peer) follow(addrs []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(addrs) == 0 || slices.Equal(p.addrs, addrs) {
		return false
	}
	p.addrs, p.next = addrs, 0
	return true
}

// dialNow ends a pause between two dials.
func (p *peer) dialNow() {
	select {
	case p.hurry <- struct{}{}:
	default:
	}
}

// wanted returns a *standbyError while a learned relay has another link. It
// waits a moment before it looks.
func (p *peer) wanted(ctx context.Context) error {
	if p.want == 0 {
		return nil
	}
	t := time.NewTimer(rand.N(learnedJitter))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if port := p.relay.trunkTo(p.want); port != nil {
		return &standbyError{why: "another link leads to the same relay", until: port.Done(), limit: standbyPause}
	}
	return nil
}
