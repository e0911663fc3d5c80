package gossip

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

const (
	// Changes within this time are broadcast together.
	coalesce = 5 * time.Millisecond
	// maxDirty is how many changes may wait to be broadcast; the digest tells
	// of the others.
	maxDirty = 1 << 16
)

// A loop is what only the backbone's goroutine has.
type loop struct {
	*Backbone
	core          *core
	lastBroadcast time.Time
	toldRevoked   uint64 // version of the revocations that were broadcast
}

// A view is what others see of the core. It is never changed.
type view struct {
	relays    []RelayInfo
	names     map[Name]identity.NodeID // of relays that can be reached
	reachable map[identity.NodeID]bool
	relaySum  uint64
}

// run is the backbone's goroutine, which owns l.
func (b *Backbone) run(l *loop) {
	defer close(b.done)
	timer := time.NewTimer(time.Until(l.turn(time.Now())))
	defer timer.Stop()
	for {
		revoked := l.tellRevoked(time.Now())
		select {
		case <-revoked:
		case <-b.ctx.Done():
			l.broadcastDirty(time.Now())
			l.core.leave(time.Now())
			l.flush()
			return
		case <-b.inbox.wake:
		case <-b.dirty.wake:
		case <-timer.C:
		}
		timer.Reset(time.Until(l.turn(time.Now())))
	}
}

// turn does what there is to do, and returns when to do it again at the latest.
func (l *loop) turn(now time.Time) time.Time {
	for _, e := range l.inbox.take() {
		l.handle(e, now)
		l.flush()
	}
	if !now.Before(l.core.next()) {
		l.core.tick(now)
	}
	next := l.core.next()
	if due := l.lastBroadcast.Add(coalesce); now.Before(due) {
		if l.dirty.any() && due.Before(next) {
			next = due
		}
	} else if l.broadcastDirty(now) {
		l.lastBroadcast = now
	}
	l.flush()
	return next
}

// handle gives an event to the core.
func (l *loop) handle(e event, now time.Time) {
	switch e.kind {
	case gotDigest:
		l.core.onDigest(e.msg, now)
	case gotBroadcast:
		l.core.onBroadcast(e.msg, now)
	case gotUnicast:
		l.core.onUnicast(e.from, e.msg, now)
	case gotPeers:
		l.core.onPeers(e.peers, now)
	case notSent:
		l.core.unsent(e.from, now)
	}
}

// broadcastDirty broadcasts the records that have changed here.
func (l *loop) broadcastDirty(time.Time) bool {
	ids := l.dirty.take()
	msg := []byte{kindItems}
	for id := range ids {
		if s := l.dir.wire(id); s != nil {
			msg = appendNode(msg, s)
		}
		if len(msg) > softMessage {
			l.core.broadcast(msg)
			msg = []byte{kindItems}
		}
	}
	if len(msg) > 1 {
		l.core.broadcast(msg)
	}
	return len(ids) > 0
}

// flush sends what the core has to send and tells what has changed.
func (l *loop) flush() {
	c := l.core
	for _, o := range c.out {
		switch {
		case o.broadcast:
			l.broadcasts.Add(1)
			l.transport.Broadcast(o.message)
		case o.digest:
			l.transport.Gossip(o.message)
		default:
			l.out.control(o.to, o.message)
		}
	}
	c.out = nil
	if l.cfg.OnChange != nil {
		for _, ch := range c.changes {
			l.cfg.OnChange(ch)
		}
	}
	c.changes = nil
	told := c.relaysChanged
	l.show(c)
	if told && l.cfg.OnRelays != nil {
		l.cfg.OnRelays()
	}
}

// show lets others see what has become of the core.
func (b *Backbone) show(c *core) {
	b.coreStats.set(c.stats)
	old, sum := b.view.Load(), c.relaySum()
	if old != nil && !c.relaysChanged && old.relaySum == sum {
		return
	}
	c.relaysChanged = false
	v := &view{names: make(map[Name]identity.NodeID), reachable: make(map[identity.NodeID]bool), relaySum: sum}
	for _, r := range c.known() {
		info := RelayInfo{
			ID: r.id, Key: r.key, Addrs: r.addrs, Since: r.since,
			Reachable: r.gone.IsZero(), Leaving: r.leaving, NameClash: r.clash,
		}
		v.relays = append(v.relays, info)
		if info.Reachable {
			v.names[NameOf(r.id)] = r.id
			v.reachable[r.id] = true
		}
		if r.clash && !r.told {
			r.told = true
			b.log.WithField("relay", r.id.String()).Error("gossip: another relay has the same last 12 digits in its node ID; this one is not reached until one of the two has a new key")
		}
	}
	b.view.Store(v)
}

// coreStats are the core's counters as others see them.
type coreStats struct {
	mu    sync.Mutex
	stats Stats
}

func (s *coreStats) set(stats Stats) {
	s.mu.Lock()
	s.stats = stats
	s.mu.Unlock()
}

func (s *coreStats) get() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// A dirtySet holds the nodes whose records are to be broadcast.
type dirtySet struct {
	wake  chan struct{} // of capacity one
	drops atomic.Uint64

	mu  sync.Mutex
	ids map[identity.NodeID]struct{}
}

func newDirtySet() *dirtySet {
	return &dirtySet{wake: make(chan struct{}, 1), ids: make(map[identity.NodeID]struct{})}
}

func (d *dirtySet) add(id identity.NodeID) {
	d.mu.Lock()
	if len(d.ids) < maxDirty {
		d.ids[id] = struct{}{}
	} else {
		d.drops.Add(1)
	}
	d.mu.Unlock()
	wake(d.wake)
}

func (d *dirtySet) any() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ids) > 0
}

func (d *dirtySet) take() map[identity.NodeID]struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ids) == 0 {
		return nil
	}
	ids := d.ids
	d.ids = make(map[identity.NodeID]struct{})
	return ids
}

// A handler is the backbone as its transport sees it.
type handler struct{ b *Backbone }

var _ Handler = (*handler)(nil)

func (h *handler) Digest() []byte {
	return makeDigest(h.b.self, h.b.view.Load().relaySum, h.b.dir)
}

func (h *handler) OnDigest(msg []byte) { h.put(event{kind: gotDigest, msg: msg}) }
func (h *handler) OnBroadcast(from Name, msg []byte) {
	h.put(event{kind: gotBroadcast, from: from, msg: msg})
}
func (h *handler) OnPeers(all []Name) { h.put(event{kind: gotPeers, peers: all}) }

func (h *handler) OnUnicast(from Name, msg []byte) {
	if len(msg) > 0 && (msg[0] == kindDatagram || msg[0] == kindAck) {
		h.b.onDatagram(from, msg)
		return
	}
	h.put(event{kind: gotUnicast, from: from, msg: msg})
}

func (h *handler) put(e event) {
	if len(e.msg) > MaxMessage { // nobody honest sends it, and the transport may carry more
		h.b.overlong.Add(1)
		return
	}
	if !h.b.inbox.put(e) {
		h.b.inboxDrops.Add(1)
	}
}
