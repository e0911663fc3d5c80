package gossip

import (
	"time"

	"github.com/weftnet/weft/internal/identity"
	"golang.org/x/time/rate"
)

// A puller asks one relay for what a digest says it has and this relay has not:
// first for relays, then for the records in the buckets that differ, a piece at
// a time.
// There is one at a time; one request is under way.
type puller struct {
	from    identity.NodeID
	digest  *digest
	relays  bool            // the relays are asked for
	buckets []int           // which differ, in ascending order, and are still to be asked for
	lo, hi  identity.NodeID // of the present request
	nonce   uint64          // of the present request; 0: it is still to be made
	due     time.Time       // when to make it, or to make it again
	tries   int
	news    bool // an answer brought something new
}

// makeDigest says what a relay knows.
func makeDigest(self identity.NodeID, relaySum uint64, dir *Directory) []byte {
	d := &digest{from: self, relays: relaySum, sums: dir.digest()}
	return d.append(make([]byte, 0, digestLen))
}

// relaySum identifies the relays that can be reached, this one included, and
// what is revoked.
func (c *core) relaySum() uint64 {
	sum := c.own.hash() + c.revokedSum
	for _, r := range c.relays {
		if r.gone.IsZero() {
			sum += r.hash()
		}
	}
	return sum
}

// onDigest takes what makeDigest returned on another relay.
func (c *core) onDigest(msg []byte, now time.Time) {
	r := &reader{b: msg}
	if r.byte() != kindDigest {
		return
	}
	d := readDigest(r)
	if d == nil || d.from == 0 {
		c.stats.Malformed++
		return
	}
	if d.from == c.self || !c.differs(d) {
		return
	}
	if p := c.penalties[d.from]; p != nil && now.Before(p.until) {
		return
	}
	if len(c.waiting) >= c.maxRelays && c.waiting[d.from] == nil {
		return
	}
	c.waiting[d.from] = d
	c.nextPull(now)
}

// differs reports whether there is something to ask for.
func (c *core) differs(d *digest) bool {
	return d.relays != c.relaySum() || *d.sums != *c.dir.digest()
}

// nextPull begins with the next relay whose digest waits.
func (c *core) nextPull(now time.Time) {
	for id, d := range c.waiting {
		if c.pulling != nil {
			return
		}
		delete(c.waiting, id)
		if c.differs(d) {
			c.pulling = &puller{from: id, digest: d, relays: d.relays != c.relaySum(), due: now}
			c.stats.Pulls++
			c.ask(now)
		}
	}
}

// ask makes the present request, or the next one if there is none.
func (c *core) ask(now time.Time) {
	p := c.pulling
	if p.relays {
		p.nonce = c.nonce()
		msg := appendNonce(kindAsk, p.nonce)
		c.request(appendRelay(msg, &c.own), now)
		return
	}
	if p.digest != nil {
		if c.relays[p.from] == nil {
			c.endPull(now) // not a relay, as far as one knows: it has nothing to say
			return
		}
		own := c.dir.digest()
		for i := range own {
			if own[i] != p.digest.sums[i] {
				p.buckets = append(p.buckets, i)
			}
		}
		p.digest = nil
		p.lo = 0
	}
	if len(p.buckets) == 0 {
		c.endPull(now)
		return
	}
	first, last := p.buckets[0], p.buckets[len(p.buckets)-1]
	q := &pull{lo: max(p.lo, identity.NodeID(first)<<(64-bucketBits)), nonce: c.nonce()}
	for _, b := range p.buckets {
		q.buckets.add(b)
	}
	hi := identity.NodeID(last+1)<<(64-bucketBits) - 1 // wraps to the last ID after the last bucket
	q.briefs, q.hi = c.dir.briefs(q.lo, hi, &q.buckets, maxBriefs)
	p.lo, p.hi, p.nonce = q.lo, q.hi, q.nonce
	c.request(q.append(nil), now)
}

// request sends a request and sets the time for its answer.
func (c *core) request(msg []byte, now time.Time) {
	c.pulling.tries++
	c.pulling.due = now.Add(pullTimeout)
	c.stats.PullBytes += uint64(len(msg))
	c.send(NameOf(c.pulling.from), msg)
}

// pullTick asks again, or for the next range when its time has come.
func (c *core) pullTick(now time.Time) {
	p := c.pulling
	if p == nil || now.Before(p.due) {
		return
	}
	if p.tries >= pullTries {
		c.stats.PullTimeouts++
		c.endPull(now)
		return
	}
	c.ask(now)
}

// onAnswer takes an answer, if it is one to the present request.
func (c *core) onAnswer(a *answer, malformed bool, size int, now time.Time) {
	p := c.pulling
	if p == nil || p.nonce == 0 || a.nonce != p.nonce {
		c.stats.Unasked++
		return
	}
	c.stats.PulledBytes += uint64(size)
	p.nonce, p.tries = 0, 0
	before := c.relaySum() + c.stats.Merged
	revoked := c.revokedSum
	bad := c.take(a.nodes, a.relays, a.revoked, now)
	p.news = p.news || c.relaySum()+c.stats.Merged != before
	if bad > 0 || malformed || !p.relays && a.upto < p.lo {
		c.punish(p.from, now)
		c.endPull(now)
		return
	}
	if p.relays {
		p.relays = c.revokedSum != revoked && len(a.revoked) >= maxToldRevocations // there may be more
	} else {
		p.advance(min(a.upto, p.hi))
	}
	p.due = now.Add(time.Duration(size) * time.Second / pullBytesPerSecond)
	if !now.Before(p.due) {
		c.ask(now)
	}
}

// advance drops what has been answered.
func (p *puller) advance(upto identity.NodeID) {
	p.lo = upto + 1
	for len(p.buckets) > 0 && (upto == lastID || bucketOf(p.lo) > p.buckets[0]) {
		p.buckets = p.buckets[1:]
	}
}

func (c *core) endPull(now time.Time) {
	if c.pulling.news {
		c.tellAt(now.Add(tellAfterNews))
	}
	c.pulling = nil
	c.nextPull(now)
}

// punish keeps a relay from being asked for a while, each time longer.
func (c *core) punish(id identity.NodeID, now time.Time) {
	c.stats.Liars++
	p := c.penalties[id]
	if p == nil {
		if len(c.penalties) >= c.maxRelays {
			return
		}
		p = &penalty{next: minPenalty}
		c.penalties[id] = p
	}
	p.until = now.Add(p.next)
	p.next = min(2*p.next, maxPenalty)
}

// onAsk answers which relays there are. Who asks need not be known, but says
// who it is.
func (c *core) onAsk(from Name, r *reader, now time.Time) {
	nonce := r.uint64()
	if r.err != nil {
		return
	}
	_, relays, _ := readItems(r)
	if len(relays) > 1 {
		relays = relays[:1]
	}
	c.take(nil, relays, nil, now)
	msg := c.appendRevocations(appendRelay(answerHead(nonce, lastID), &c.own), from)
	for _, rel := range c.known() {
		if !rel.gone.IsZero() {
			continue
		}
		if len(msg) >= softMessage {
			break // the rest comes with the next one
		}
		if NameOf(rel.id) != from {
			msg = appendRelay(msg, &rel.relayRecord)
		}
	}
	c.respond(from, msg, now)
}

// onPull answers what this relay knows of a range of nodes better than the one
// who asks. What that one knows better is asked for in turn.
func (c *core) onPull(from Name, p *pull, now time.Time) {
	id, ok := c.relayOf(from)
	if !ok || c.relays[id] == nil {
		c.stats.UnknownRelay++
		return
	}
	msg := answerHead(p.nonce, p.hi)
	theirs, behind := p.briefs, false
	for lo := p.lo; ; {
		mine, upto := c.dir.briefs(lo, p.hi, &p.buckets, maxBriefs)
		for _, m := range mine {
			if len(msg) >= softMessage {
				c.respond(from, answerUpto(msg, m.id-1), now)
				return
			}
			for len(theirs) > 0 && theirs[0].id < m.id {
				theirs, behind = theirs[1:], true
			}
			var t *brief
			if len(theirs) > 0 && theirs[0].id == m.id {
				t, theirs = &theirs[0], theirs[1:]
			}
			give, need := m.against(t)
			behind = behind || need
			if give {
				if s := c.dir.wire(m.id); s != nil {
					msg = appendNode(msg, s)
				}
			}
		}
		if upto == p.hi {
			break
		}
		lo = upto + 1
	}
	c.respond(from, msg, now)
	if behind || len(theirs) > 0 {
		c.pullBack(id, p, now)
	}
}

// against says what follows from somebody's version t, nil if there is none, of
// a node of which m is the own: give them the own record, or need theirs.
func (m *brief) against(t *brief) (give, need bool) {
	if t == nil {
		return m.state == live, false // who never knew it need not know that it has gone
	}
	if t.hash == m.hash && t.epoch == m.epoch && t.seq == m.seq {
		return false, false
	}
	older := m.epoch < t.epoch || m.epoch == t.epoch && m.seq < t.seq
	same := m.epoch == t.epoch && m.seq == t.seq
	if m.state == expired {
		return false, older
	}
	return !older, older || same
}

// unsent says that a message could not be sent: perhaps the transport needs a
// moment to find the way. The request is made again soon.
func (c *core) unsent(to Name, now time.Time) {
	if p := c.pulling; p != nil && NameOf(p.from) == to && p.nonce != 0 {
		p.due = now.Add(unsentPause)
	}
}

// next returns when tick is to be called at the latest.
func (c *core) next() time.Time {
	next := c.ticked.Add(tickEvery)
	if p := c.pulling; p != nil && p.due.Before(next) {
		next = p.due
	}
	if !c.tell.IsZero() && c.tell.Before(next) {
		next = c.tell
	}
	return next
}

// pullBack asks who asked for the same range, because it knows more.
func (c *core) pullBack(id identity.NodeID, p *pull, now time.Time) {
	if pen := c.penalties[id]; c.pulling != nil || pen != nil && now.Before(pen.until) {
		return
	}
	back := &puller{from: id, lo: p.lo, due: now}
	for b := bucketOf(p.lo); b <= bucketOf(p.hi); b++ {
		if p.buckets.has(b) {
			back.buckets = append(back.buckets, b)
		}
	}
	c.pulling = back
	c.stats.Pulls++
	c.ask(now)
}

// respond sends an answer, unless the relay has had its share of answers.
func (c *core) respond(to Name, msg []byte, now time.Time) {
	id, _ := c.relayOf(to)
	if c.relays[id] == nil {
		id = 0
	}
	l := c.serving[id]
	if l == nil {
		l = rate.NewLimiter(pullBytesPerSecond, pullBurst)
		c.serving[id] = l
	}
	if !l.AllowN(now, len(msg)) {
		c.stats.Throttled++
		return
	}
	c.stats.AnswerBytes += uint64(len(msg))
	c.send(to, msg)
}
