package gossip

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"golang.org/x/time/rate"
)

// Times and rates of the gossip.
const (
	tickEvery    = time.Second
	refreshEvery = time.Minute      // a relay signs its record anew this often
	heardAfter   = 5 * time.Minute  // and counts as gone without that, whatever the transport says
	forgetAfter  = 10 * time.Minute // a relay that has gone is forgotten
	pullTimeout  = 2 * time.Second  // an answer is waited for
	pullTries    = 5
	unsentPause  = 200 * time.Millisecond

	// The neighbours are told the digest when much may be new: this long after
	// an answer brought something, and after others came or went, whose
	// broadcasts do not reach all until all know of the change.
	tellAfterNews  = 50 * time.Millisecond
	tellAfterPeers = 2 * time.Second
	maxPenalty     = 10 * time.Minute // who lied is not asked for a while
	minPenalty     = time.Minute

	pullBytesPerSecond = 8 << 20 // is asked of one relay, and answered to one
	pullBurst          = 4 << 20
	refutesPerSecond   = 1000 // departures of nodes that others take for attached here
)

// An output is a message to be sent: to all, if broadcast is set; a digest to
// neighbours, if digest is set.
type output struct {
	broadcast, digest bool
	to                Name
	message           []byte
}

// A core is what a relay's gossip knows and does, without I/O, goroutines and
// clock: messages and the time go in, messages and changes come out. Only the
// directory is shared with others.
type core struct {
	self    identity.NodeID
	key     *identity.Key
	network [32]byte
	dir     *Directory
	// certify verifies a node's certificates.
	certify func(chain []byte) (identity.Peer, error)
	// leaf returns this relay's own.
	leaf func() ([]byte, error)

	// revoked are the network's revocations. Nil: there are none.
	revoked    *identity.Revocations
	revokedSum uint64 // of them, as of the last change or tick

	grace         time.Duration
	maxRelays     int
	maxPerRelay   int
	own           relayRecord
	refresh       time.Time // when own is signed anew
	ticked        time.Time // last
	tell          time.Time // when the neighbours are told the digest; zero when there is no reason
	relays        map[identity.NodeID]*relayState
	names         map[Name]identity.NodeID // of relays; the first that came keeps the name
	reachable     map[Name]bool            // according to the transport
	pulling       *puller                  // nil when nothing is asked for
	waiting       map[identity.NodeID]*digest
	penalties     map[identity.NodeID]*penalty
	serving       map[identity.NodeID]*rate.Limiter // what is answered, by who asks; 0 are unknown ones
	refutes       *rate.Limiter
	nonce         func() uint64
	stats         Stats
	out           []output
	changes       []Change
	relaysChanged bool
}

// A relayState is a relay of which there is a record.
type relayState struct {
	relayRecord
	peer    identity.Peer // as its certificate says
	since   time.Time     // when it was first heard of
	heard   time.Time     // when its record came
	gone    time.Time     // when it was lost; zero while it can be reached
	clash   bool          // another relay has its name
	expired bool          // its records do not count any more
	told    bool          // of the clash

	toldRevoked int // revocations that it was told in answers, one after the other
}

// A penalty keeps a relay that lied from being asked.
type penalty struct {
	until time.Time
	next  time.Duration
}

// init completes a core of which the first fields are set.
func (c *core) init(addrs []string, now time.Time) error {
	c.self = c.key.ID()
	c.relays = make(map[identity.NodeID]*relayState)
	c.names = map[Name]identity.NodeID{NameOf(c.self): c.self}
	c.reachable = make(map[Name]bool)
	c.waiting = make(map[identity.NodeID]*digest)
	c.penalties = make(map[identity.NodeID]*penalty)
	c.serving = make(map[identity.NodeID]*rate.Limiter)
	c.refutes = rate.NewLimiter(refutesPerSecond, refutesPerSecond)
	c.ticked = now
	c.own = relayRecord{addrs: addrs, epoch: uint64(now.UnixNano())}
	return c.renew(now)
}

// renew signs the own record anew.
func (c *core) renew(now time.Time) error {
	leaf, err := c.leaf()
	if err != nil {
		return err
	}
	c.own.certificate = leaf
	c.own.seq++
	c.own.sign(c.network, c.key)
	c.refresh = now.Add(refreshEvery)
	return nil
}

// announce broadcasts the own record.
func (c *core) announce() {
	c.broadcast(appendRelay([]byte{kindItems}, &c.own))
}

// leave tells the others that this relay shuts down.
func (c *core) leave(now time.Time) {
	c.own.leaving = true
	if c.renew(now) == nil {
		c.announce()
	}
}

func (c *core) broadcast(msg []byte)     { c.out = append(c.out, output{broadcast: true, message: msg}) }
func (c *core) send(to Name, msg []byte) { c.out = append(c.out, output{to: to, message: msg}) }
func (c *core) changed(ch Change)        { c.changes = append(c.changes, ch) }
func (c *core) relayOf(name Name) (identity.NodeID, bool) {
	id, ok := c.names[name]
	return id, ok && id != c.self
}

// onPeers takes which names the transport can reach.
func (c *core) onPeers(all []Name, now time.Time) {
	reachable := make(map[Name]bool, len(all))
	isNew := false
	for _, n := range all {
		reachable[n] = true
		isNew = isNew || !c.reachable[n]
	}
	if len(reachable) != len(c.reachable) || isNew {
		c.tellAt(now.Add(tellAfterPeers))
	}
	c.reachable = reachable
	c.look(now)
	if isNew && c.renew(now) == nil { // anew: what was passed on once is not again
		c.announce()
	}
}

// look compares the relays that are known with those that can be reached.
func (c *core) look(now time.Time) {
	for id, r := range c.relays {
		away := !c.reachable[NameOf(id)] || r.clash || now.Sub(r.heard) > heardAfter
		switch {
		case away && r.gone.IsZero():
			r.gone, c.relaysChanged = now, true
		case !away && !r.gone.IsZero():
			r.gone, c.relaysChanged = time.Time{}, true
		}
		switch {
		case r.leaving && !r.expired, away && !r.expired && now.Sub(r.gone) >= c.grace:
			r.expired = true
			c.dir.turn(id, live, expired, c.changed)
		case !away && r.expired && !r.leaving:
			r.expired = false
			c.dir.turn(id, expired, live, c.changed)
		}
		if !r.gone.IsZero() && now.Sub(r.gone) >= c.grace+forgetAfter {
			c.forget(id)
		}
	}
}

func (c *core) forget(id identity.NodeID) {
	delete(c.relays, id)
	delete(c.serving, id)
	delete(c.waiting, id)
	if c.names[NameOf(id)] == id {
		delete(c.names, NameOf(id))
	}
}

// tick does what is due. It is to be called once a second, and sooner if next
// says so.
func (c *core) tick(now time.Time) {
	c.ticked = now
	c.dir.expire()
	c.sumRevoked()
	c.look(now)
	if !now.Before(c.refresh) && !c.own.leaving {
		if err := c.renew(now); err != nil {
			c.stats.RenewErrors++
			c.refresh = now.Add(time.Second)
		}
		c.announce()
	}
	for id, p := range c.penalties {
		if now.Sub(p.until) > maxPenalty {
			delete(c.penalties, id)
		}
	}
	c.pullTick(now)
	if !c.tell.IsZero() && !now.Before(c.tell) {
		c.tell = time.Time{}
		c.out = append(c.out, output{digest: true, message: makeDigest(c.self, c.relaySum(), c.dir)})
	}
}

// tellAt makes the neighbours be told the digest, unless they are to be sooner.
func (c *core) tellAt(t time.Time) {
	if c.tell.IsZero() || t.Before(c.tell) {
		c.tell = t
	}
}

// onBroadcast takes the items of a broadcast.
func (c *core) onBroadcast(msg []byte, now time.Time) {
	r := &reader{b: msg}
	if r.byte() != kindItems {
		return
	}
	nodes, relays, revoked := readItems(r)
	if r.err != nil {
		c.stats.Malformed++
	}
	c.take(nodes, relays, revoked, now)
}

// onUnicast takes a message that another relay sent to this one alone.
func (c *core) onUnicast(from Name, msg []byte, now time.Time) {
	r := &reader{b: msg}
	switch r.byte() {
	case kindAsk:
		c.onAsk(from, r, now)
	case kindPull:
		if p := readPull(r); p != nil {
			c.onPull(from, p, now)
		}
	case kindAnswer:
		if a := readAnswer(r); a != nil {
			c.onAnswer(a, r.err != nil, len(msg), now)
		}
	}
	if r.err != nil {
		c.stats.Malformed++
	}
}

// take merges records, and returns how many of them nobody honest has sent.
func (c *core) take(nodes []*signed, relays []*relayRecord, revoked [][]byte, now time.Time) (bad int) {
	c.takeRevocations(revoked, now) // first, since they decide on the others
	for _, r := range relays {
		if isLie(c.takeRelay(r, now)) {
			bad++
		}
	}
	for _, s := range nodes {
		if isLie(c.takeNode(s, now)) {
			bad++
		}
	}
	return bad
}

// isLie reports whether err refuses what an honest relay, which checks all that
// it passes on, does not send. Clocks differ, so what has expired is no lie;
// nor is what was revoked, of which it may not have heard, nor what is certified
// with a former secret, which it may still accept.
func isLie(err error) bool {
	return errors.Is(err, ErrSignature) || errors.Is(err, ErrNotCertified) &&
		!errors.Is(err, identity.ErrExpired) && !errors.Is(err, identity.ErrRevoked) && !errors.Is(err, identity.ErrNotMember)
}

// takeRelay merges a relay's record.
func (c *core) takeRelay(r *relayRecord, now time.Time) error {
	if r.id == c.self {
		return c.takeOwn(r, now)
	}
	known := c.relays[r.id]
	if known != nil && known.key != r.key {
		c.stats.Conflicts++
		return &ConflictError{ID: r.id, Known: known.key, Refused: r.key}
	}
	if known != nil && !r.newer(&known.relayRecord) {
		return nil
	}
	if err := r.verify(c.network); err != nil {
		c.stats.Forged++
		return err
	}
	peer, err := c.certify(r.certificate)
	if err != nil || peer.Key != r.key || !peer.Has(identity.RoleRelay) {
		c.stats.NotRelays++
		return errors.Join(ErrNotCertified, err)
	}
	if known == nil {
		if known = c.addRelay(r, now); known == nil {
			return nil
		}
	} else if !slices.Equal(known.addrs, r.addrs) {
		c.relaysChanged = true
	}
	known.relayRecord, known.peer, known.heard = *r, peer, now
	c.look(now)
	return nil
}

// addRelay makes room for a new relay, nil if there is none.
func (c *core) addRelay(r *relayRecord, now time.Time) *relayState {
	if len(c.relays) >= c.maxRelays && !c.forgetRelay() {
		c.stats.RelaysFull++
		return nil
	}
	// What it has counts once it can be reached, as after any absence.
	st := &relayState{since: now, gone: now, expired: true}
	if _, taken := c.names[NameOf(r.id)]; taken {
		c.stats.NameClashes++
		st.clash = true
	} else {
		c.names[NameOf(r.id)] = r.id
	}
	c.relays[r.id] = st
	c.relaysChanged = true
	return st
}

// forgetRelay forgets the relay that has been expired for longest.
func (c *core) forgetRelay() bool {
	var oldest identity.NodeID
	for id, r := range c.relays {
		if r.expired && (oldest == 0 || r.gone.Before(c.relays[oldest].gone)) {
			oldest = id
		}
	}
	if oldest != 0 {
		c.forget(oldest)
	}
	return oldest != 0
}

// takeOwn looks at a record of this relay that others have. One that is newer
// comes from before a restart with a clock that was ahead.
func (c *core) takeOwn(r *relayRecord, now time.Time) error {
	if r.key != c.own.key || !r.newer(&c.own) {
		return nil
	}
	if err := r.verify(c.network); err != nil {
		c.stats.Forged++
		return err
	}
	if r.epoch == c.own.epoch || c.own.leaving {
		return nil // this very life: nobody else has the key
	}
	c.own.epoch = r.epoch + 1
	if c.own.epoch == 0 {
		c.own.epoch, c.own.seq = r.epoch, r.seq
	}
	if err := c.renew(now); err == nil {
		c.announce()
	}
	return nil
}

// takeNode merges a node's record.
func (c *core) takeNode(s *signed, now time.Time) error {
	relay := c.relays[s.Relay]
	if relay == nil && s.Relay != c.self {
		c.stats.UnknownRelay++
		return errUnknownRelay
	}
	if err := c.dir.stale(s); err != nil {
		if _, ok := errors.AsType[*ConflictError](err); ok {
			c.stats.Conflicts++
		} else {
			c.stats.Known++
		}
		return err
	}
	key := c.own.key
	if relay != nil {
		key = relay.key
	}
	unnamed, err := c.verify(s, key)
	if err != nil {
		c.stats.Forged++
		return err
	}
	st := live
	switch {
	case s.departed:
		st = departed
	case s.Relay == c.self && s.ID != c.self && !c.dir.bound(s.ID, c.self):
		// It was attached to this relay in a former life, or never.
		if !c.refutes.AllowN(now, 1) {
			c.stats.Refused++
			return ErrFull
		}
		s.depart(c.network, c.key, false)
		st = departed
		c.stats.Refuted++
		defer func() { c.broadcast(appendNode([]byte{kindItems}, s)) }()
	case relay != nil && relay.expired:
		st = expired
	}
	change, err := c.dir.merge(s, st, unnamed, c.maxPerRelay)
	if err != nil {
		c.stats.Refused++
		return err
	}
	c.stats.Merged++
	if change.Was != change.Relay {
		c.changed(change)
	}
	return nil
}

var errUnknownRelay = errors.New("gossip: a record of a relay that is not known")

// verify checks the signatures of a record. unnamed says that the certificate
// is right but not valid now, or revoked, so that the node is not to be found by its names.
func (c *core) verify(s *signed, relay identity.PublicKey) (unnamed bool, err error) {
	if err := s.verify(c.network); err != nil {
		return false, err
	}
	if s.departed {
		if err := s.verifyDeparture(c.network, relay); err != nil {
			return false, err
		}
	}
	if len(s.Names) == 0 {
		return false, nil
	}
	peer, err := c.certify(s.certificate)
	if errors.Is(err, identity.ErrExpired) || errors.Is(err, identity.ErrSelf) || errors.Is(err, identity.ErrRevoked) {
		return true, nil // who issued it is right
	}
	if err != nil || peer.Key != s.Key {
		return false, errors.Join(ErrNotCertified, err)
	}
	for _, name := range s.Names {
		if !slices.Contains(peer.Names, name) {
			return false, ErrNotCertified
		}
	}
	return false, nil
}

// known returns the relays in the order of their IDs.
func (c *core) known() []*relayState {
	list := make([]*relayState, 0, len(c.relays))
	for _, r := range c.relays {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *relayState) int { return cmp.Compare(a.id, b.id) })
	return list
}
