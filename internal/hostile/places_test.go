package hostile

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
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

// A relay serves its nodes well, but swallows what they say to each other. They are
// told so, in bounded time, and nothing that is wrong is read; conns of others, who
// are at another relay, go on.
func TestARelaySwallowsFrames(t *testing.T) {
	inWorld(t, func(w *world) {
		evil, good := w.relay("evil", &relay.Server{}), w.relay("good", &relay.Server{})
		victim, friend := w.node("victim", overlay.Config{}, evil), w.node("friend", overlay.Config{}, evil)
		p := w.newPair(friend, victim, share)
		b := w.bystanders(good)
		swallow := func(f *frame.Frame) []*frame.Frame {
			for _, end := range []*host{victim, friend} {
				for _, far := range []*host{victim, friend} {
					if f.Src() == end.ID() && f.Dst() == far.ID() {
						return nil
					}
				}
			}
			return []*frame.Frame{f}
		}
		b.withstand(assault{play: func(ctx context.Context) {
			w.onPath(victim, evil, &onPath{up: swallow, down: swallow})
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
