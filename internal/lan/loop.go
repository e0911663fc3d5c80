package lan

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/times"
)

// An owner is the goroutine that has all state of a LAN.
type owner struct {
	*LAN

	tags  []nameTag
	links map[linkKey]*linkState
	table table

	packet   []byte // this node's records
	farewell []byte // the same, with a TTL of zero

	announceLeft int
	announceAt   time.Time // zero: not
	announceGap  time.Duration
	askAt        time.Time // zero: not
	askGap       time.Duration
	asked        time.Time
}

func newOwner(l *LAN) *owner {
	o := &owner{LAN: l, table: table{}, links: map[linkKey]*linkState{}}
	for _, name := range l.cfg.Names[:min(len(l.cfg.Names), identity.MaxNames)] {
		o.tags = append(o.tags, l.seal.nameTag(name))
	}
	return o
}

// run is the goroutine.
func (o *owner) run() {
	defer o.closeConns()
	o.begin(time.Now())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		next := o.due(now)
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(0, next.Sub(now)))
		}
		select {
		case m := <-o.inbox:
			o.handle(time.Now(), m)
		case <-o.relink:
			o.begin(time.Now())
		case <-o.ask:
			o.askSoon(time.Now(), minDelay)
			o.askGap = minGap
		case <-timer.C:
		case <-o.ctx.Done():
			o.sayGoodbye()
			return
		}
	}
}

// begin starts announcing and asking anew, on the links that there are now.
func (o *owner) begin(now time.Time) {
	o.look()
	delay := startDelay()
	o.announceLeft, o.announceAt, o.announceGap = announcements, now.Add(delay), minGap
	o.askGap = minGap
	o.askSoon(now, delay)
}

// look sees what links there are, and reports whether they have changed.
func (o *owner) look() (changed bool) {
	before := own(o.links)
	links := map[linkKey]*linkState{}
	for i, c := range o.cfg.Conns {
		found, err := c.Links()
		if err != nil {
			o.cfg.Logger.WithError(err).Debug("cannot list the LAN's interfaces; those known before are kept")
			for k, s := range o.links {
				if k.conn == i {
					links[k] = s
				}
			}
			continue
		}
		for _, l := range found[:min(len(found), maxLinks)] {
			k := linkKey{i, l.Index}
			s := o.links[k]
			if s == nil {
				s = &linkState{}
			}
			l.Addrs = slices.DeleteFunc(l.Addrs, func(p netip.Prefix) bool {
				return o.cfg.Addr.IsValid() && p.Addr().WithZone("") != o.cfg.Addr.WithZone("")
			})
			if len(l.Addrs) == 0 {
				continue
			}
			changed = changed || !slices.Equal(s.link.Addrs, l.Addrs)
			s.link = l
			links[k] = s
		}
	}
	changed = changed || len(links) != len(o.links)
	o.links = links
	if addrs := own(links); o.packet == nil || !slices.Equal(addrs, before) {
		o.write(addrs)
	}
	return changed
}

// write makes the packets with this node's records.
func (o *owner) write(addrs []netip.Addr) {
	sealed := o.seal.seal(claim{id: o.cfg.Self, port: o.cfg.Port, addrs: addrs, names: o.tags}, o.instance)
	var err1, err2 error
	o.packet, err1 = records(o.instance, o.cfg.Port, sealed, ttl)
	o.farewell, err2 = records(o.instance, o.cfg.Port, sealed, 0)
	if err := errors.Join(err1, err2); err != nil { // all names are short
		o.cfg.Logger.WithError(err).Error("cannot announce this node on the LAN; please report this")
	}
}

// startDelay keeps nodes apart that begin at once (RFC 6762 section 5.2).
func startDelay() time.Duration { return minDelay + rand.N(maxDelay-minDelay) }

// askSoon has a query sent after a delay, or later if there was one just now.
func (o *owner) askSoon(now time.Time, delay time.Duration) {
	at := now.Add(delay)
	if !o.asked.IsZero() && at.Before(o.asked.Add(minGap)) {
		at = o.asked.Add(minGap)
	}
	o.askAt = times.Earliest(o.askAt, at)
}

// due does what is due, and returns when to come next.
func (o *owner) due(now time.Time) (next time.Time) {
	gone, ask, next := o.table.expire(now)
	o.publish(gone...)
	if ask {
		o.askSoon(now, 0)
	}
	if !o.announceAt.IsZero() && !now.Before(o.announceAt) {
		o.announce(now)
	}
	for k, s := range o.links {
		if s.due(now) {
			o.send(k, o.packet)
		}
		next = times.Earliest(next, times.Earliest(s.answer, s.doubt))
	}
	if !o.askAt.IsZero() && !now.Before(o.askAt) {
		o.sendQuery(now)
	}
	return times.Earliest(times.Earliest(next, o.announceAt), o.askAt)
}

// announce sends the records on all links, unasked.
func (o *owner) announce(now time.Time) {
	for _, s := range o.links {
		s.schedule(now)
	}
	o.announceLeft--
	o.announceAt = time.Time{}
	if o.announceLeft > 0 {
		o.announceAt = now.Add(o.announceGap)
		o.announceGap *= 2
	}
}

// sendQuery asks for all nodes. It is an occasion to see links that nobody told
// of, such as one whose IPv6 address comes some seconds after it is up.
func (o *owner) sendQuery(now time.Time) {
	if o.look() {
		o.announceLeft, o.announceAt, o.announceGap = announcements, now.Add(startDelay()), minGap
	}
	o.asked = now
	o.askAt = now.Add(o.askGap)
	o.askGap = min(2*o.askGap, maxQueryGap)
	// This node hears itself too, and need not answer.
	known := append([]knownAnswer{{o.instance, ttl}}, o.table.known(now)...)
	b, err := query(known)
	if err != nil {
		o.cfg.Logger.WithError(err).Error("cannot ask for nodes on the LAN; please report this")
		return
	}
	for k := range o.links {
		o.send(k, b)
	}
}

func (o *owner) send(k linkKey, b []byte) {
	if err := o.cfg.Conns[k.conn].WritePacket(b, k.index); err != nil {
		o.count.writeErrors.Add(1)
		o.cfg.Logger.WithError(err).WithField("interface", k.index).Debug("cannot multicast on the LAN")
		return
	}
	o.count.out.Add(1)
}

// sayGoodbye tells the others that this node leaves, if they may know it.
func (o *owner) sayGoodbye() {
	for k, s := range o.links {
		if !s.sent.IsZero() {
			o.send(k, o.farewell)
		}
	}
}

func (o *owner) closeConns() {
	for _, c := range o.cfg.Conns {
		_ = c.Close()
	}
}

// handle takes what a reader has parsed.
func (o *owner) handle(now time.Time, h heard) {
	o.locate(&h.pkt, h.conn)
	s := o.links[linkKey{h.conn, h.pkt.Link}]
	if s == nil {
		return // of a link that is not joined, or is gone
	}
	from := h.pkt.From.Addr()
	switch {
	case h.disowned: // RFC 6762 section 10.1
		s.schedule(now.Add(minDelay))
	case h.known:
		if s.doubtOf == from { // a packet that continues the question
			s.doubt = time.Time{}
		}
	case h.asks && h.truncated:
		s.doubt, s.doubtOf = now.Add(truncatedDelay+startDelay()), from
	case h.asks:
		s.schedule(now.Add(startDelay()))
	}
	for _, f := range h.found {
		o.learn(now, f, from)
	}
}

// learn takes a record of another node.
func (o *owner) learn(now time.Time, f found, from netip.Addr) {
	var c claim
	if r := o.table[f.instance]; r != nil && bytes.Equal(r.sealed, f.sealed) {
		c = r.claim
	} else {
		var err error
		if c, err = o.seal.open(f.sealed, f.instance); err != nil {
			o.count.sealed.Add(1)
			return
		}
		if r != nil && r.claim.id != c.id {
			o.count.sealed.Add(1) // an instance is of one node
			return
		}
	}
	switch {
	case c.id == o.cfg.Self:
		return
	case f.ttl == 0:
		o.table.goodbye(now, f.instance)
		return
	case !o.table.put(now, f, c, believed(c.addrs, o.links, from), from):
		o.count.full.Add(1)
		return
	}
	o.publish(c.id)
}

// locate completes what the kernel did not say of a packet: the link, by the
// source, and the zone of a link-local source, as a number.
func (o *owner) locate(p *Packet, conn int) {
	a := p.From.Addr()
	if p.Link == 0 {
		for k, s := range o.links {
			if k.conn == conn && slices.ContainsFunc(s.link.Addrs, func(n netip.Prefix) bool { return n.Contains(a.WithZone("")) }) {
				p.Link = k.index
				break
			}
		}
	}
	if a.Is6() && a.IsLinkLocalUnicast() {
		a = a.WithZone(strconv.Itoa(p.Link))
	}
	p.From = netip.AddrPortFrom(a, p.From.Port())
}

// publish tells readers and OnPeer what has become of nodes.
func (o *owner) publish(ids ...identity.NodeID) {
	old := o.view.Load()
	var events []Event
	peers := old.peers
	for _, id := range ids {
		before, had := peers[id]
		after, has := o.table.peer(id)
		e := Event{Peer: after}
		switch {
		case had && !has:
			e = Event{Gone, before}
		case !had && has:
			e.Kind = Found
		case had && !before.equal(after):
			e.Kind = Changed
		default:
			continue
		}
		if len(events) == 0 {
			peers = maps.Clone(peers)
		}
		if has {
			if peers == nil {
				peers = map[identity.NodeID]Peer{}
			}
			peers[id] = after
		} else {
			delete(peers, id)
		}
		events = append(events, e)
	}
	if len(events) == 0 && len(o.table) == old.records {
		return
	}
	o.view.Store(&view{peers: peers, records: len(o.table), changed: make(chan struct{})})
	close(old.changed)
	for _, e := range events {
		if o.cfg.OnPeer != nil {
			o.cfg.OnPeer(e)
		}
	}
}

func (p Peer) equal(q Peer) bool {
	return p.ID == q.ID && slices.Equal(p.Addrs, q.Addrs) && slices.Equal(p.names, q.names)
}
