package gossip

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// The simulation runs the cores of a few relays on a network that loses, delays,
// reorders and repeats messages, falls into parts, and has liars on it, all by a
// seed and without a clock.

var simNetwork = [32]byte{7}

type sim struct {
	t      testing.TB
	rng    *rand.Rand
	now    time.Time
	events events
	seq    int
	relays []*simRelay
	nodes  []*simNode
	loss   float64
	sent   int      // bytes
	heard  [][]byte // messages that somebody took down, for replays
}

type simRelay struct {
	*core
	sim   *sim
	skew  time.Duration
	part  int  // only relays of one part reach each other
	down  bool // crashed
	liar  bool
	epoch int // of its life: events of a former one are void
}

type simNode struct {
	key   *identity.Key
	peer  identity.Peer
	epoch uint64
	seq   uint64
	at    *simRelay // where it is attached; nil: nowhere
}

type simEvent struct {
	at  time.Time
	seq int
	f   func()
}

type events []simEvent

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(simEvent)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newSim(t testing.TB, seed uint64, relays, nodes int) *sim {
	s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_000_000_000, 0)}
	for range relays {
		r := &simRelay{sim: s, skew: time.Duration(s.rng.Int64N(int64(time.Hour))) - 30*time.Minute}
		key, err := identity.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		r.core = &core{key: key}
		s.relays = append(s.relays, r)
		r.start()
	}
	for range nodes {
		s.newNode()
	}
	s.topology()
	return s
}

// newNode makes a node that is not attached yet.
func (s *sim) newNode() *simNode {
	key, err := identity.GenerateKey()
	if err != nil {
		s.t.Fatal(err)
	}
	n := &simNode{
		key: key, epoch: uint64(s.rng.Int64N(1 << 40)),
		peer: identity.Peer{ID: key.ID(), Key: key.Public(), Names: []string{fmt.Sprint("n", len(s.nodes)%100)}},
	}
	s.nodes = append(s.nodes, n)
	return n
}

// after calls f later.
func (s *sim) after(d time.Duration, f func()) {
	s.seq++
	heap.Push(&s.events, simEvent{s.now.Add(d), s.seq, f})
}

// run lets time pass.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for len(s.events) > 0 && !s.events[0].at.After(end) {
		e := heap.Pop(&s.events).(simEvent)
		s.now = e.at
		e.f()
	}
	s.now = end
}

// clock is the time as the relay sees it.
func (r *simRelay) clock() time.Time { return r.sim.now.Add(r.skew) }

// start begins a life of the relay, with an empty directory.
func (r *simRelay) start() {
	r.epoch++
	dir := NewDirectory(DirectoryConfig{})
	dir.now = r.clock
	r.core = &core{
		key: r.core.key, network: simNetwork, dir: dir, grace: DefaultGrace,
		maxRelays: DefaultMaxRelays, maxPerRelay: DefaultMaxRecordsPerRelay,
		nonce:   func() uint64 { return r.sim.rng.Uint64() | 1 },
		leaf:    func() ([]byte, error) { k := r.key.Public(); return k[:], nil },
		certify: certifyKey,
	}
	if err := r.init([]string{"192.0.2.1:9"}, r.clock()); err != nil {
		r.sim.t.Fatal(err)
	}
	r.down = false
	r.later(0, r.ticks)
	r.later(DefaultGrace, r.digests)
}

// certifyKey takes a key for a certificate with the relay's role and all names
// that nodes have here.
func certifyKey(der []byte) (identity.Peer, error) {
	if len(der) != len(identity.PublicKey{}) {
		return identity.Peer{}, identity.ErrBadCertificate
	}
	p := identity.Peer{Key: identity.PublicKey(der), Roles: []string{identity.RoleRelay}}
	for i := range 100 {
		p.Names = append(p.Names, fmt.Sprint("n", i))
	}
	return p, nil
}

// later calls f unless the relay has crashed meanwhile.
func (r *simRelay) later(d time.Duration, f func()) {
	life := r.epoch
	r.sim.after(d, func() {
		if r.epoch == life && !r.down {
			f()
			r.flush()
		}
	})
}

func (r *simRelay) ticks() {
	if !r.clock().Before(r.next()) {
		r.tick(r.clock())
	}
	r.later(200*time.Millisecond, r.ticks)
}

func (r *simRelay) digests() {
	r.out = append(r.out, output{digest: true, message: makeDigest(r.self, r.relaySum(), r.dir)})
	r.later(digestInterval, r.digests)
}

// flush sends what the core has to send.
func (r *simRelay) flush() {
	out := r.out
	r.out, r.changes = nil, nil
	for _, o := range out {
		peers := r.sim.reach(r)
		switch {
		case o.broadcast:
			for _, to := range peers {
				r.sim.send(to, o.message, func() { to.onBroadcast(o.message, to.clock()) })
			}
		case o.digest:
			r.sim.rng.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
			for _, to := range peers[:min(2, len(peers))] {
				r.sim.send(to, o.message, func() { to.onDigest(o.message, to.clock()) })
			}
		default:
			found := false
			for _, to := range peers {
				if NameOf(to.self) == o.to {
					found = true
					r.sim.send(to, o.message, func() { to.onUnicast(NameOf(r.self), o.message, to.clock()) })
				}
			}
			if !found {
				r.unsent(o.to, r.clock())
			}
		}
	}
}

// reach returns whom a relay reaches.
func (s *sim) reach(r *simRelay) []*simRelay {
	var list []*simRelay
	for _, o := range s.relays {
		if o != r && !o.down && !r.down && o.part == r.part {
			list = append(list, o)
		}
	}
	return list
}

// send delivers a message once, later, twice or never.
func (s *sim) send(to *simRelay, msg []byte, deliver func()) {
	s.sent += len(msg)
	if len(s.heard) < 1000 {
		s.heard = append(s.heard, msg)
	}
	if s.rng.Float64() < s.loss {
		return
	}
	to.later(time.Duration(s.rng.Int64N(int64(200*time.Millisecond))), deliver)
	if s.rng.Float64() < s.loss {
		to.later(time.Duration(s.rng.Int64N(int64(20*time.Second))), deliver)
	}
}

// topology tells all relays whom they reach, as late as mesh does.
func (s *sim) topology() {
	for _, r := range s.relays {
		r.later(time.Duration(s.rng.Int64N(int64(2*time.Second))), func() {
			var names []Name
			for _, o := range s.reach(r) {
				names = append(names, NameOf(o.self))
			}
			r.onPeers(names, r.clock())
		})
	}
}

// attach lets a node register at a relay.
func (s *sim) attach(n *simNode, r *simRelay) {
	n.seq++
	a := Attachment{Relay: r.self, Names: n.peer.Names, Epoch: n.epoch, Seq: n.seq}
	sd := &signed{Record: Record{ID: n.peer.ID, Key: n.peer.Key, Attachment: a}, certificate: slices.Clone(n.peer.Key[:])}
	copy(sd.signature[:], sd.statement(simNetwork).Sign(n.key))
	if err := r.dir.Attach(n.peer, r.self); err != nil {
		s.t.Fatal(err)
	}
	if _, _, err := r.dir.register(sd, DefaultMaxRecordsPerRelay); err != nil {
		s.t.Fatalf("register: %v", err)
	}
	r.broadcast(appendNode([]byte{kindItems}, sd))
	r.flush()
	n.at = r
}

// detach lets a relay lose a node's link.
func (s *sim) detach(n *simNode, r *simRelay) {
	if r.down {
		return
	}
	if sd := r.dir.withdraw(n.peer.ID, r.self); sd != nil {
		sd.depart(simNetwork, r.key, n.seq%2 == 0)
		if _, err := r.dir.merge(sd, departed, false, 1); err != nil {
			s.t.Fatal(err)
		}
		r.broadcast(appendNode([]byte{kindItems}, sd))
		r.flush()
	}
	if n.at == r {
		n.at = nil
	}
}

// step does something by chance.
func (s *sim) step() {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	r := s.relays[s.rng.IntN(len(s.relays))]
	switch p := s.rng.IntN(100); {
	case p < 50 && !r.down && !r.liar:
		old := n.at
		s.attach(n, r)
		if old != nil && old != r {
			s.after(time.Duration(s.rng.Int64N(int64(5*time.Second))), func() {
				if n.at != old {
					s.detach(n, old)
				}
			})
		}
	case p < 70 && n.at != nil:
		s.detach(n, n.at)
	case p < 76:
		for _, o := range s.relays {
			o.part = s.rng.IntN(2)
		}
		s.topology()
		if s.rng.IntN(4) == 0 {
			s.run(time.Duration(s.rng.Int64N(int64(15 * time.Minute)))) // longer than anything is remembered
		}
	case p < 86:
		s.heal()
	case p < 89:
		s.crash(r)
	case p < 100:
		s.mischief()
	}
}

func (s *sim) heal() {
	for _, o := range s.relays {
		o.part = 0
	}
	s.topology()
}

// crash ends a relay's life; it comes back without its memory.
func (s *sim) crash(r *simRelay) {
	if r.down {
		return
	}
	r.down = true
	for _, n := range s.nodes {
		if n.at == r {
			n.at = nil
		}
	}
	s.topology()
	life := r.epoch
	s.after(time.Duration(s.rng.Int64N(int64(time.Minute))), func() {
		if r.epoch == life {
			r.start()
			s.topology()
		}
	})
}

// forge tries what a liar may wish to say of a node, with all that it can sign.
func (s *sim) forge(n *simNode) {
	liar := s.relays[0]
	for _, to := range s.relays {
		known := to.dir.wire(n.peer.ID)
		if known == nil || to.liar || to.down {
			continue
		}
		for _, seq := range []uint64{known.Seq, known.Seq + 1, ^uint64(0)} {
			for _, relay := range []identity.NodeID{known.Relay, liar.self, s.relays[1].self} {
				for _, leave := range []bool{false, true} {
					w := *known
					w.Seq, w.Relay = seq, relay
					w.depart(simNetwork, liar.key, true)
					if w.departed = leave; !leave && seq == known.Seq && relay == known.Relay {
						continue // what is known, and may be true
					}
					to.onBroadcast(appendNode([]byte{kindItems}, &w), to.clock())
				}
			}
		}
		to.flush()
	}
}

// mischief is what outsiders and liars try.
func (s *sim) mischief() {
	to := s.relays[s.rng.IntN(len(s.relays))]
	if to.down || len(s.heard) == 0 {
		return
	}
	msg := slices.Clone(s.heard[s.rng.IntN(len(s.heard))]) // a replay
	switch s.rng.IntN(3) {
	case 0: // with some bytes changed
		for range 1 + s.rng.IntN(3) {
			msg[s.rng.IntN(len(msg))] ^= byte(1 + s.rng.IntN(255))
		}
	case 1: // a liar's claim that a node of another is its own, or has left
		liar := s.relays[0]
		n := s.nodes[s.rng.IntN(len(s.nodes))]
		if w := to.dir.wire(n.peer.ID); w != nil {
			if s.rng.IntN(2) == 0 {
				w.Relay = liar.self
			}
			w.Seq += uint64(s.rng.IntN(3))
			w.depart(simNetwork, liar.key, s.rng.IntN(2) == 0)
			w.departed = s.rng.IntN(2) == 0
			msg = appendNode([]byte{kindItems}, w)
		}
	}
	from := NameOf(s.relays[s.rng.IntN(len(s.relays))].self)
	to.onBroadcast(msg, to.clock())
	to.onUnicast(from, msg, to.clock())
	to.onDigest(msg, to.clock())
	to.flush()
}

// check compares what all honest relays know with what is.
func (s *sim) check(seed uint64) {
	s.t.Helper()
	wrong := 0
	for _, r := range s.relays {
		if r.liar || r.down {
			continue
		}
		for i, n := range s.nodes {
			got, _ := r.dir.RelayOf(n.peer.ID)
			var want identity.NodeID
			if n.at != nil {
				want = n.at.self
			}
			if got != want {
				wrong++
				s.t.Errorf("seed %d: relay %v has node %d (%v) at %v, want %v", seed, r.self, i, n.peer.ID, got, want)
			}
			if found := len(r.dir.Find(identity.Target{Name: n.peer.Names[0]})); want != 0 && found != 1 {
				s.t.Errorf("seed %d: %d nodes are found by the name %v", seed, found, n.peer.Names[0])
			}
		}
		if *r.dir.digest() != *s.relays[len(s.relays)-1].dir.digest() {
			s.t.Errorf("seed %d: digests differ", seed)
		}
	}
	if wrong > 0 {
		for _, r := range s.relays {
			s.t.Logf("%v: %+v", r.self, r.stats)
		}
	}
}

func seeds(n int) int {
	if v, err := strconv.Atoi(os.Getenv("WEFT_SEEDS")); err == nil {
		return v
	}
	return n
}

func TestRelaysConvergeWhateverHappens(t *testing.T) {
	for seed := range uint64(seeds(2)) {
		s := newSim(t, seed, 5, 20)
		s.relays[0].liar = true
		s.loss = 0.2
		for range 150 {
			s.step()
			s.run(time.Duration(s.rng.Int64N(int64(2 * time.Second))))
		}
		s.heal()
		s.run(time.Minute) // all relays are back
		for _, n := range s.nodes {
			s.forge(n)
		}
		if seed%2 == 1 { // one goes for ever
			s.crash(s.relays[1])
			s.relays[1].epoch++
		}
		s.loss = 0
		s.run(20 * time.Minute) // penalties have passed
		s.check(seed)
		before := s.sent
		s.run(10 * time.Minute)
		if perRelay := (s.sent - before) / len(s.relays) / 600; perRelay > 2048 {
			t.Errorf("seed %d: %d bytes a second and relay when nothing happens", seed, perRelay)
		}
		if t.Failed() {
			return
		}
	}
}
