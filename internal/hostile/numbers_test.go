package hostile

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// The packet numbers of two nodes come to where those in packets begin anew, and to
// their end, and so do those of a member, who goes on with the largest number there
// is, and from zero. Nothing is sealed twice with one number: the session ends before,
// and the next dial makes another.
func TestPacketNumbersAreUsedUp(t *testing.T) {
	const (
		truncated = 1 << 32                // numbers in packets
		last      = wire.MaxVarint - 1<<10 // after which a session ends
		spare     = 20                     // packets before either
	)
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).befriend(w, victim, r)
		old := w.newPair(w.node("admin", overlay.Config{}, r), victim, share)
		here, there := victim.RelayHost().Endpoint.Session(old.from.ID()), old.from.RelayHost().Endpoint.Session(victim.ID())
		age := func(to uint64) {
			time.Sleep(20 * time.Second) // nothing is on its way
			by := to - max(here.Age(0), there.Age(0))
			w.Logf("the next packets are %d and %d", here.Age(by), there.Age(by))
		}
		age(truncated - spare)
		b.withstand(assault{
			play: func(ctx context.Context) {
				old.transfer(4 * time.Second) // over where they begin anew
				if next := there.Age(0); next < truncated+spare {
					w.Errorf("the next packet is %d", next)
				}
				age(last - spare)
				_, _ = old.bulk.SetDeadline(time.Now().Add(patience)), old.sink.SetDeadline(time.Time{})
				w.wg.Go(func() { _, _ = io.Copy(io.Discard, old.sink) })
				for ; here.Err() == nil; time.Sleep(time.Second * chunk / share) {
					if _, err := old.bulk.Write(content(0)); err != nil {
						break
					}
				}
				time.Sleep(4 * latency)
				if here.Err() == nil || there.Err() == nil {
					w.Errorf("the sessions live: %v, %v", here.Err(), there.Err())
				}
				a, z := w.connect(old.from, victim)
				_, _ = a.Close(), z.Close()
				if now := victim.RelayHost().Endpoint.Session(old.from.ID()); now == nil || now == here {
					w.Error("there is no other session")
				}
				w.goBeyondNumbers(victim, r)
			},
			may: []cost{{"the attacker's own node", 1, perNode + perLink + perSimulatedConn}},
		})
	})
}

// goBeyondNumbers has a member send the largest number there is to a host, and go on
// from zero.
func (w *world) goBeyondNumbers(victim, r *host) {
	w.Helper()
	m := w.rogue("mallory", r)
	t := m.dial(victim.ID(), wire.Params{})
	t.say([]byte{wire.TypePing})
	time.Sleep(10 * latency)
	theirs := victim.RelayHost().Endpoint.Session(m.creds.Key().ID())
	const far = wire.MaxVarint - 10_000
	theirs.Age(far)
	t.age(far)
	for _, next := range []uint64{wire.MaxVarint - 8000, wire.MaxVarint - 1, wire.MaxVarint} {
		t.number(next)
		t.say([]byte{wire.TypePing, wire.TypeImmediateAck})
		time.Sleep(4 * latency)
	}
	for n := range uint32(100) { // from zero: nobody has a key for that
		t.send(append(wire.AppendShort(nil, wire.Header{Space: wire.SpaceApp, Dst: t.remote, Number: n}), make([]byte, 40)...))
	}
	time.Sleep(10 * latency)
	if st := theirs.Stats(); st.PacketsDropped < 100 {
		w.Errorf("%d packets were dropped", st.PacketsDropped)
	}
	if !t.alive() && t.why.Value != session.CodeInternal {
		w.Errorf("the member's session has ended: %#x %s", t.why.Value, t.why.Data)
	}
}

// age makes the rogue's side of a session older by so many packets.
func (t *talk) age(packets uint64) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.next[wire.SpaceApp] += packets
	t.largest[wire.SpaceApp] += packets
}

// number is that of the next packet.
func (t *talk) number(n uint64) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.next[wire.SpaceApp] = n
}
