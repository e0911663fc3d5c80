package hostile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// A town is a backbone of two honest relays and one that went bad, and a node at
// the first that the bad one is after.
type town struct {
	*world
	one, two, evil *host
	dirs           [2]*gossip.Directory // of the honest ones
	victim         *host
	near           bystanders // at both honest relays, and a friend of the victim's
	network        [32]byte
}

// settle is how long it takes until all know each other, and nodes have chosen
// their spare relays.
const settle = 45 * time.Second

// inTown runs a test in a town. The directories of honest relays hold so many
// nodes, or the default for zero.
func inTown(t *testing.T, records int, f func(w *town)) {
	t.Helper()
	inWorld(t, func(w *world) {
		o := &town{world: w}
		for i := range o.dirs {
			o.dirs[i] = gossip.NewDirectory(gossip.DirectoryConfig{MaxRecords: records})
		}
		o.one = w.relay("one", &relay.Server{Directory: o.dirs[0]})
		o.two = w.relay("two", &relay.Server{Directory: o.dirs[1], Peers: []string{o.one.addr}})
		o.evil = w.relay("evil", &relay.Server{Directory: gossip.NewDirectory(gossip.DirectoryConfig{}), Peers: []string{o.one.addr, o.two.addr}})
		o.network = o.one.RelayHost().Credentials.Network().ID()
		w.net.SetPair("one", "two", simnet.Impairment{Delay: latency})
		w.net.SetPair("two", "one", simnet.Impairment{Delay: latency})
		o.victim = w.node("victim", overlay.Config{}, o.one)
		a, b := w.node("alice", overlay.Config{}, o.one), w.node("bob", overlay.Config{}, o.two)
		friend := w.node("friend", overlay.Config{}, o.two)
		time.Sleep(settle)
		o.near = bystanders{w.newPair(a, b, 0), w.newPair(friend, o.victim, share)}
		f(o)
	})
}

// at checks where the honest relays believe a node to be.
func (o *town) at(id identity.NodeID, want *host) {
	o.Helper()
	for i, d := range o.dirs {
		if got, ok := d.RelayOf(id); !ok || got != want.ID() {
			o.Errorf("relay %d has the node at %v (%v), want %v", i, got, ok, want.ID())
		}
	}
}

// record returns the version of a node that is known.
func (o *town) record(id identity.NodeID) gossip.Record {
	o.Helper()
	rec, err := o.dirs[0].Lookup(identity.Target{ID: id})
	if err != nil {
		o.Fatal(err)
	}
	return rec
}

// A relay forges what others say of themselves: that a node is attached to it, or
// has left, in all versions up to the highest. Nobody believes it.
func TestARelayForgesRecords(t *testing.T) {
	inTown(t, 0, func(o *town) {
		known, evil := o.record(o.victim.ID()), o.evil.RelayHost().Credentials.Key()
		forged := o.one.Stats().Backbone.Forged + o.two.Stats().Backbone.Forged
		n := 0
		o.near.withstand(assault{play: func(ctx context.Context) {
			for _, epoch := range []uint64{known.Epoch, known.Epoch + 1, math.MaxInt64, math.MaxUint64} {
				for _, at := range []*host{o.evil, o.one, o.two} {
					c := claim{key: o.victim.Key(), relay: at.ID(), epoch: epoch, seq: math.MaxUint64}.sign(o.network, evil)
					o.evil.transport.Broadcast(c.append(items()))
					c = c.depart(o.network, evil)
					o.evil.transport.Broadcast(c.append(items()))
					n += 2
				}
			}
			<-ctx.Done()
		}})
		o.at(o.victim.ID(), o.one)
		if got := o.one.Stats().Backbone.Forged + o.two.Stats().Backbone.Forged - forged; got != uint64(2*n) {
			o.Errorf("%d forged records were counted, of %d at two relays", got, n)
		}
		again, err := o.near[1].from.Dial(o.Context(), o.victim.ID().String()+":1")
		if !errors.Is(err, overlay.ErrRefused) { // it is there, and nobody listens
			o.Errorf("a dial: %v, %v", again, err)
		}
	})
}

// A relay says again what a node said of itself before it moved, and that it has
// left: what the node said last holds.
func TestARelayRepeatsOldRecords(t *testing.T) {
	inTown(t, 0, func(o *town) {
		o.evil.transport.record()
		moving := o.node("kv-1", overlay.Config{}, o.one)
		time.Sleep(time.Second)
		o.at(moving.ID(), o.one)
		key := moving.RelayHost().Credentials.Key()
		moving.Close()
		time.Sleep(time.Second)
		o.node("mallory", overlay.Config{Key: key}, o.two) // another name, the same key: it has moved
		time.Sleep(time.Second)
		tape := o.evil.transport.heard()
		o.at(key.ID(), o.two)
		o.near.withstand(assault{play: func(ctx context.Context) {
			for range 10 {
				for _, msg := range tape {
					o.evil.transport.Broadcast(msg)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}})
		o.at(key.ID(), o.two)
		if len(tape) < 3 {
			o.Errorf("only %d messages were heard", len(tape))
		}
	})
}

// A relay has a node of its own, with a key of its own, say the highest version of
// itself: that is this node's own affair.
func TestTheHighestVersionIsClaimed(t *testing.T) {
	inTown(t, 0, func(o *town) {
		k, err := identity.GenerateKey()
		if err != nil {
			o.Fatal(err)
		}
		o.evil.transport.deaf.Store(true) // or it would refute the claim
		o.near.withstand(assault{play: func(context.Context) {
			c := claim{key: k.Public(), relay: o.evil.ID(), epoch: math.MaxUint64, seq: math.MaxUint64}
			o.evil.transport.Broadcast(c.sign(o.network, k).append(items()))
		}})
		o.at(k.ID(), o.evil)
		o.at(o.victim.ID(), o.one)
		late := o.node("kv-1", overlay.Config{}, o.one)
		time.Sleep(time.Second)
		o.at(late.ID(), o.one)
	})
}

// A relay invents nodes, thousands of them, with keys and signatures. The directories
// hold as many as they may, and those that are known stay.
func TestARelayInventsNodes(t *testing.T) {
	const records, invented, each = 100, 300, 1000
	inTown(t, records, func(o *town) {
		o.evil.transport.deaf.Store(true)
		o.near.withstand(assault{
			play: func(ctx context.Context) { o.invent(o.evil, invented) },
			may:  []cost{{"DirectoryConfig.MaxRecords, of two relays and the bad one", 3 * records, each}},
		})
		o.at(o.victim.ID(), o.one)
		for i, d := range o.dirs {
			if s := d.Stats(); s.Attached > records || s.Full == 0 {
				o.Errorf("relay %d: %+v", i, s)
			}
		}
	})
}

// invent broadcasts n nodes that are said to be attached at a relay.
func (o *town) invent(at *host, n int) {
	msg := items()
	for range n {
		k, err := identity.GenerateKey()
		if err != nil {
			o.Error(err)
			return
		}
		c := claim{key: k.Public(), relay: at.ID(), epoch: 1, seq: 1}
		if msg = c.sign(o.network, k).append(msg); len(msg) > 100<<10 {
			o.evil.transport.Broadcast(msg)
			msg = items()
		}
	}
	o.evil.transport.Broadcast(msg)
}

// A relay sends messages that are longer than any honest one, up to ten megabytes,
// and full of records that nobody has signed. They are dropped unread.
func TestARelaySendsHugeMessages(t *testing.T) {
	const messages = 12
	inTown(t, 0, func(o *town) {
		huge := items()
		record := claim{key: o.victim.Key(), relay: o.evil.ID(), epoch: math.MaxInt64, signature: make([]byte, 64)}.append(nil)
		for len(huge) < 10<<20-len(record) {
			huge = append(huge, record...)
		}
		before := [2]gossip.Stats{o.one.Stats().Backbone, o.two.Stats().Backbone}
		o.near.withstand(assault{play: func(context.Context) {
			for i := range messages {
				msg := huge[:len(huge)>>(i%4)]
				o.evil.transport.Broadcast(msg)
				for _, to := range []*host{o.one, o.two} {
					_ = o.evil.transport.Unicast(gossip.NameOf(to.ID()), msg)
				}
				o.evil.transport.Gossip(msg)
			}
		}})
		for i, h := range []*host{o.one, o.two} {
			s := h.Stats().Backbone
			runtime.KeepAlive(huge)
			if got := s.Malformed - before[i].Malformed; got != 3*messages || s.Forged != before[i].Forged {
				o.Errorf("%s: %d of %d messages were dropped, %d records read", h.name, got, 3*messages, s.Forged-before[i].Forged)
			}
		}
		o.at(o.victim.ID(), o.one)
	})
}

// A relay invents nodes that it says are attached to another: that one refutes them,
// everywhere.
func TestARelayInventsNodesOfAnother(t *testing.T) {
	const invented = 150
	inTown(t, 0, func(o *town) {
		known := o.dirs[1].Stats().Attached
		o.near.withstand(assault{play: func(context.Context) { o.invent(o.one, invented) }})
		time.Sleep(5 * time.Second)
		if s := o.dirs[1].Stats(); s.Attached != known {
			o.Errorf("%d nodes are attached, %d were: %+v", s.Attached, known, s)
		}
		if s := o.one.Stats().Backbone; s.Refuted < invented {
			o.Errorf("%d of %d nodes were refuted", s.Refuted, invented)
		}
	})
}

// A relay repeats all that it hears, over and over. The others say no more for it.
func TestARelayEchoesTheGossip(t *testing.T) {
	const most = 20 // messages of each honest relay in a stretch: digests, records, questions
	inTown(t, 0, func(o *town) {
		o.evil.transport.record()
		o.evil.transport.repeat(true)
		late := o.node("kv-1", overlay.Config{}, o.one) // something to tell
		one, two := o.one.transport.sent.Load(), o.two.transport.sent.Load()
		o.near.withstand(assault{play: func(ctx context.Context) {
			msg := claim{key: late.Key(), relay: o.one.ID(), epoch: 1, seq: 1, signature: make([]byte, 64)}.append(items())
			for ctx.Err() == nil {
				o.evil.transport.Transport.Broadcast(msg)
				time.Sleep(20 * time.Millisecond)
			}
		}})
		o.evil.transport.repeat(false)
		heard := len(o.evil.transport.heard())
		one, two = o.one.transport.sent.Load()-one, o.two.transport.sent.Load()-two
		if one > most || two > most || heard == 0 {
			o.Errorf("the relays sent %d and %d messages; %d were echoed", one, two, heard)
		}
		o.at(late.ID(), o.one)
	})
}

// A relay tells all the time of other addresses as its own: of services inside the
// others' hosts and clouds, and of somebody who has nothing to do with it. They are
// dialled rarely, and get the first bytes of a link.
func TestARelayLiesAboutItsAddresses(t *testing.T) {
	inWorld(t, func(w *world) {
		targets := []string{"127.0.0.1:22", "169.254.169.254:80", "third-party:443", "[::1]:25"}
		one := w.relay("one", &relay.Server{})
		two := w.relay("two", &relay.Server{Peers: []string{one.addr}})
		key := w.keyAbove(two.ID()) // of two relays the one with the smaller ID dials
		_, token := tokens()
		evil := w.relayWith("evil", &relay.Server{Peers: []string{one.addr}, Addrs: targets[:1], MaxLearnedPeers: -1},
			overlay.Config{Invite: token, Key: key})
		time.Sleep(settle)
		b := w.bystanders(two)
		w.mu.Lock()
		clear(w.dials)
		w.mu.Unlock()
		began := time.Now()
		b.withstand(assault{play: func(ctx context.Context) {
			for seq := uint64(0); ctx.Err() == nil; seq++ {
				addr := targets[seq%uint64(len(targets))]
				evil.transport.Broadcast(w.ownRecord(items(), evil, math.MaxInt64, seq, addr))
				time.Sleep(100 * time.Millisecond)
			}
		}})
		w.mu.Lock()
		defer w.mu.Unlock()
		dials := 0
		for _, addr := range targets {
			dials += w.dials[addr]
		}
		// One relay dials it: at once when it hears of a change, once in 30 s, and after pauses
		// that grow from one second.
		if most := 10; dials == 0 || dials > most {
			w.Errorf("%d dials in %v, want some, %d at most: %v", dials, time.Since(began), most, w.dials)
		}
		w.Logf("%d dials in %v", dials, time.Since(began))
	})
}

// keyAbove returns a key whose node ID is larger than another.
func (w *world) keyAbove(id identity.NodeID) *identity.Key {
	w.Helper()
	for range 1 << 20 {
		k, err := identity.GenerateKey()
		if err != nil {
			w.Fatal(err)
		}
		if k.ID() > id {
			return k
		}
	}
	w.Fatal("no key was found with a larger ID")
	return nil
}

// A member sends frames to a node of which each relay's table says that it is at
// the next one. Each frame goes round until its hops are used up, and is counted.
func TestTablesThatContradictEachOther(t *testing.T) {
	const (
		hops = 9 // between relays: eight pass on what the first has
		each = 5 // frames at a time
	)
	inTown(t, 0, func(o *town) {
		mallory := o.node("mallory", overlay.Config{}, o.one)
		ghost, err := identity.GenerateKey()
		if err != nil {
			o.Fatal(err)
		}
		relays := []*host{o.one, o.two, o.evil}
		count := func() (limited uint64) {
			for _, r := range relays {
				limited += r.RelayHost().Switch.Counters().DroppedHopLimit
			}
			return limited
		}
		contradict := func(epoch uint64) {
			for i, r := range relays {
				at := gossip.Attachment{Relay: relays[(i+1)%len(relays)].ID(), Epoch: epoch}
				if err := r.Directory.Put(identity.Peer{ID: ghost.ID(), Key: ghost.Public()}, at); err != nil {
					o.Error(err)
				}
			}
		}
		var sent, limited, passed atomic.Uint64
		watch := func(f *frame.Frame) []*frame.Frame {
			if f.Dst() == ghost.ID() {
				passed.Add(1)
			}
			return []*frame.Frame{f}
		}
		for _, link := range [][2]*host{{o.two, o.one}, {o.evil, o.one}, {o.evil, o.two}} { // who has dialled, and whom
			o.onPath(link[0], link[1], &onPath{up: watch, down: watch})
		}
		o.near.withstand(assault{play: func(ctx context.Context) {
			limited.Store(count())
			for epoch := uint64(1 << 62); ctx.Err() == nil; epoch++ {
				contradict(epoch) // they may have learnt better
				for range each {
					_ = o.send(mallory, o.one, addressed(mallory.ID(), ghost.ID(), make([]byte, 100)))
					sent.Add(1)
				}
				time.Sleep(latency)
			}
		}})
		time.Sleep(time.Second)
		stopped := count() - limited.Load()
		if n := sent.Load(); stopped < n/2 || stopped > n || passed.Load() > hops*n || passed.Load() < 2*n {
			o.Errorf("of %d frames %d were stopped, after %d hops in all", n, stopped, passed.Load())
		}
		o.Logf("of %d frames %d were stopped, after %d hops in all", sent.Load(), stopped, passed.Load())
	})
}

// A member says in its preface that it is a relay, and speaks for nodes of others and
// for those that it invents, before it proves who it is and after that. The relay
// confirms no such link: nothing is forwarded for it, and nothing goes there.
func TestALinkThatTheOtherEndDoesNotConfirm(t *testing.T) {
	inTown(t, 0, func(o *town) {
		was := o.one.RelayHost().Switch.Counters()
		known := o.one.Stats()
		var taken atomic.Int64
		o.near.withstand(assault{
			play: func(ctx context.Context) {
				for i := range 4 {
					m := o.attackerWith(fmt.Sprint("mallory-", i), o.one, overlay.Config{}, link.Hello.FromRelay)
					m.spy(func(f *frame.Frame) {
						if src := f.Src(); src != 0 && src != o.one.ID() {
							taken.Add(1)
						}
					})
					speak := func() {
						for _, src := range []identity.NodeID{o.victim.ID(), o.near[0].to.ID(), 12345} {
							for _, dst := range []identity.NodeID{o.victim.ID(), o.near[0].from.ID(), o.two.ID()} {
								_ = m.link.Send(addressed(src, dst, make([]byte, 100)))
							}
						}
					}
					speak()
					t := m.begin(o.one.ID(), wire.Params{}, false)
					for range 10 {
						speak()
						time.Sleep(latency)
					}
					speak()
					t.await(t.over)
				}
			},
			may: []cost{
				{"MaxMeshClaims", 4, perLink + perSimulatedConn + perSession},
				{"the attackers' own nodes", 4, perNode},
			},
		})
		s, now := o.one.Stats(), o.one.RelayHost().Switch.Counters()
		if taken.Load() != 0 || s.MeshLinks != known.MeshLinks || s.RefusedMeshRole-known.RefusedMeshRole != 4 {
			o.Errorf("%d frames of others came to who is no relay; %+v", taken.Load(), s)
		}
		if dropped := now.DroppedDenied + now.DroppedSource - was.DroppedDenied - was.DroppedSource; dropped < 4*9 {
			o.Errorf("%d frames were dropped: %+v", dropped, now)
		}
		o.at(o.victim.ID(), o.one)
		o.at(o.near[0].to.ID(), o.two)
	})
}
