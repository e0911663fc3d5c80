package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// Somebody with one invite starts many nodes at one address, each with a key and an
// ID of its own. They get the places of one address, and others who come later get
// theirs at once.
func TestSybilsOfOneAddress(t *testing.T) {
	const sybils, perAddress = 20, 5
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{MaxLinksPerAddress: perAddress})
		b := w.bystanders(r)
		known := r.Stats()
		b.withstand(assault{
			play: func(ctx context.Context) {
				for range sybils {
					w.start("mallory", overlay.Config{Relays: []string{r.addr}})
				}
				time.Sleep(leadIn / 2)
				began := time.Now()
				w.node("kv-1", overlay.Config{}, r)
				if took := time.Since(began); took > 2*time.Second {
					w.Errorf("an honest node waited %v", took)
				}
				<-ctx.Done()
			},
			may: []cost{
				{"MaxLinksPerAddress, and an honest node", perAddress + 1, perLink + perSimulatedConn + perSession},
				{"the sybils' own nodes, and an honest one", sybils + 1, perNode},
			},
		})
		s := r.Stats()
		if got, want := s.Nodes, known.Nodes+perAddress+1; got != want || s.Links != known.Links+perAddress+1 || s.RefusedBusy == 0 {
			w.Errorf("%d nodes, want %d: %+v", got, want, s)
		}
		if got := s.Directory.Attached - known.Directory.Attached; got != perAddress+1 {
			w.Errorf("%d nodes are listed", got)
		}
	})
}

// Attackers with many addresses take all places that a relay has. Who was there
// stays, as does the link with another relay; who comes goes to that one.
func TestAttackersTakeAllPlaces(t *testing.T) {
	const places, attackers = 8, 20
	inWorld(t, func(w *world) {
		full := w.relay("full", &relay.Server{MaxLinks: places})
		other := w.relay("other", &relay.Server{Peers: []string{full.addr}})
		b := w.bystanders(full)
		b.withstand(assault{
			play: func(ctx context.Context) {
				for i := range attackers {
					w.start(fmt.Sprintf("attacker-%d", i), overlay.Config{Relays: []string{full.addr}})
				}
				<-ctx.Done()
			},
			may: []cost{
				{"MaxLinks", places, perLink + perSimulatedConn + perSession},
				{"the attackers' own nodes", attackers, perNode},
				{"links to the other relay, of which they learn", attackers, perLink + perSimulatedConn + perSession},
			},
		})
		if s := full.Stats(); s.Links != places || s.RefusedBusy == 0 {
			w.Errorf("the places are not taken: %+v", s)
		}
		late := w.node("kv-1", overlay.Config{}, full, other)
		if home := late.Status().Relays; home[0].Up || !home[1].Home {
			w.Errorf("a newcomer has the relays %+v", home)
		}
		time.Sleep(time.Second)
		if c, err := late.Dial(w.Context(), b[0].from.ID().String()+":1"); !errors.Is(err, overlay.ErrRefused) {
			w.Errorf("a newcomer dials a node of the full relay: %v, %v", c, err) // nobody listens
		}
	})
}

// swallow makes a relay swallow what two nodes say to each other; to itself they
// may speak.
func (w *world) swallow(evil, a, b *host) {
	drop := func(f *frame.Frame) []*frame.Frame {
		if src, dst := f.Src(), f.Dst(); src == a.ID() && dst == b.ID() || src == b.ID() && dst == a.ID() {
			return nil
		}
		return []*frame.Frame{f}
	}
	for _, h := range []*host{a, b} {
		w.onPath(h, evil, &onPath{up: drop, down: drop})
	}
}

// A relay serves its nodes well, but swallows what they say to each other. If it is
// the only one, their conns fail in bounded time, and nothing that is wrong is read.
func TestTheOnlyRelaySwallowsFrames(t *testing.T) {
	inWorld(t, func(w *world) {
		evil, good := w.relay("evil", &relay.Server{}), w.relay("good", &relay.Server{})
		victim, friend := w.node("victim", overlay.Config{}, evil), w.node("friend", overlay.Config{}, evil)
		p := w.newPair(friend, victim, share)
		b := w.bystanders(good)
		b.withstand(assault{play: func(ctx context.Context) {
			w.swallow(evil, victim, friend)
			_ = p.talk.SetDeadline(time.Time{})
			_, _ = p.talk.Write([]byte(confidence))
			began := time.Now()
			if _, err := p.talk.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrPeerLost) {
				w.Errorf("read: %v", err)
			}
			if took := time.Since(began); took > 70*time.Second {
				w.Errorf("the conn failed after %v", took)
			}
		}})
	})
}

// Nodes that have another relay, too, notice that nothing comes back, and go on over
// that one: within five seconds, with the same conns, whoever speaks and whichever
// of the two is home.
func TestARelaySwallowsFrames(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		speaker, listener    time.Duration // latency between these and the bad relay; that to the good one is 10 ms
		speakersAt, othersAt string
	}{
		{"both are at home there", latency / 2, latency / 2, "evil", "evil"},
		{"the speaker is", latency / 2, 2 * latency, "evil", "good"},
		{"the listener is", 2 * latency, latency / 2, "good", "evil"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				evil := w.relay("evil", &relay.Server{})
				good := w.relay("good", &relay.Server{Peers: []string{evil.addr}})
				for name, delay := range map[string]time.Duration{"friend": tt.speaker, "victim": tt.listener} {
					w.net.SetPair(name, "evil", simnet.Impairment{Delay: delay, Rate: bandwidth, Backpressure: true})
					w.net.SetPair("evil", name, simnet.Impairment{Delay: delay, Rate: bandwidth, Backpressure: true})
				}
				victim, friend := w.node("victim", overlay.Config{}, evil, good), w.node("friend", overlay.Config{}, evil, good)
				b := w.bystanders(good)
				time.Sleep(settle)
				if at, other := homeOf(friend), homeOf(victim); at != tt.speakersAt+":9999" || other != tt.othersAt+":9999" {
					w.Fatalf("the homes are %s and %s", at, other)
				}
				w.swallow(evil, victim, friend)
				dialled := time.Now()
				if c, err := friend.Dial(w.Context(), victim.ID().String()+":1"); !errors.Is(err, overlay.ErrRefused) {
					w.Errorf("a dial: %v, %v", c, err) // nobody listens
				}
				if took := time.Since(dialled); took > 6*time.Second {
					w.Errorf("a dial took %v", took)
				}
				w.onPath(victim, evil, nil)
				w.onPath(friend, evil, nil)
				p := w.newPair(friend, victim, share)
				w.swallow(evil, victim, friend)
				_ = p.bulk.SetDeadline(time.Now().Add(patience))
				_ = p.sink.SetDeadline(time.Now().Add(patience))
				began := time.Now()
				if _, err := p.bulk.Write(content(p.sent)); err != nil {
					w.Fatal(err)
				}
				if _, err := io.ReadFull(p.sink, make([]byte, chunk)); err != nil {
					w.Fatal(err)
				}
				p.sent += chunk
				p.roundTrips()
				if took := time.Since(began); took > 5*time.Second+2*trips*2*latency {
					w.Errorf("%d bytes and %d round trips took %v", chunk, trips, took)
				}
				append(b, p).withstand(assault{play: func(ctx context.Context) { <-ctx.Done() }})
			})
		})
	}
}

// homeOf returns the address of a node's home relay.
func homeOf(h *host) string {
	for _, r := range h.Status().Relays {
		if r.Home {
			return r.Addr
		}
	}
	return ""
}
