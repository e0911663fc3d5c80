package hostile

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// tampered returns a copy of a frame whose packet tamper has changed.
func tampered(f *frame.Frame, tamper func(packet []byte) []byte) *frame.Frame {
	p := append([]byte(nil), f.Packet()...)
	return addressed(f.Src(), f.Dst(), tamper(p))
}

// A way is one direction of a path on which a relay works.
type way struct {
	mu    sync.Mutex
	over  bool
	n     int // packets so far
	rng   *rand.Rand
	late  []*frame.Frame
	dates []time.Time
}

// end ends the work and returns how many packets there were.
func (w *way) end() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	release(w.late)
	w.late = nil
	return w.n
}

// of does work to frames until the way's end.
func (w *way) of(work func(*way, *frame.Frame) []*frame.Frame) func(*frame.Frame) []*frame.Frame {
	return func(f *frame.Frame) []*frame.Frame {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.over {
			return []*frame.Frame{f}
		}
		w.n++
		return work(w, f)
	}
}

// works are what a relay may do with packets and not stop them: what it returns goes
// on in the place of a frame.
var works = map[string]func(w *way, f *frame.Frame) []*frame.Frame{
	"each with a byte flipped goes ahead of the right one": func(w *way, f *frame.Frame) []*frame.Frame {
		bad := tampered(f, func(p []byte) []byte {
			p[w.n%len(p)] ^= byte(1 + w.rng.IntN(255))
			return p
		})
		return []*frame.Frame{bad, f}
	},
	"one in eight has a byte flipped": func(w *way, f *frame.Frame) []*frame.Frame {
		if w.n%8 == 0 {
			f.Packet()[w.rng.IntN(len(f.Packet()))] ^= 0x10
		}
		return []*frame.Frame{f}
	},
	"each is cut short, or longer, ahead of the right one": func(w *way, f *frame.Frame) []*frame.Frame {
		bad := tampered(f, func(p []byte) []byte {
			if w.n%2 == 0 {
				return append(p, p...)[:min(2*len(p), frame.MaxPacket)]
			}
			return p[:w.n%len(p)]
		})
		return []*frame.Frame{bad, f}
	},
	"each comes three times, and in another order": func(w *way, f *frame.Frame) []*frame.Frame {
		w.late = append(w.late, f.Clone(), f.Clone())
		w.rng.Shuffle(len(w.late), func(i, j int) { w.late[i], w.late[j] = w.late[j], w.late[i] })
		if len(w.late) < 8 {
			return []*frame.Frame{f}
		}
		out := append(w.late, f)
		w.late = nil
		return out
	},
	"each comes again a second later": func(w *way, f *frame.Frame) []*frame.Frame {
		w.late, w.dates = append(w.late, f.Clone()), append(w.dates, time.Now())
		out := []*frame.Frame{f}
		for len(w.late) > 0 && time.Since(w.dates[0]) > time.Second {
			out = append(out, w.late[0])
			w.late, w.dates = w.late[1:], w.dates[1:]
		}
		return out
	},
	"each has a companion of the relay's making": func(w *way, f *frame.Frame) []*frame.Frame {
		h, err := wire.Peek(f.Packet())
		if err != nil {
			return []*frame.Frame{f}
		}
		made := tampered(f, func(p []byte) []byte {
			switch w.n % 4 {
			case 0: // a close, as if it were in the clear
				return wire.AppendClose(wire.AppendShort(nil, wire.Header{Space: wire.SpaceApp, Dst: h.Dst, Number: uint32(w.n)}), 0, "")
			case 1: // a stateless reset with a token that is not the peer's
				return wire.AppendReset(nil, h.Dst, [16]byte{byte(w.n)})
			case 2: // an end of the handshake
				b := wire.AppendLong(nil, wire.Header{Space: wire.SpaceInitial, Dst: h.Dst, Src: 1}, 30)
				return append(b, make([]byte, 30)...)
			}
			for i := wire.ShortHeaderLen; i < len(p); i++ {
				p[i] = byte(w.rng.Uint32())
			}
			return p
		})
		return []*frame.Frame{made, f}
	},
}

// A relay works on the packets of two nodes, in both directions. The bytes that
// arrive are those that were sent, the session stays, and whatever was changed,
// repeated or made up is dropped and counted.
func TestARelayWorksOnPackets(t *testing.T) {
	for name, work := range works {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				victim, friend := w.node("victim", overlay.Config{}, r), w.node("friend", overlay.Config{}, r)
				attacked := w.newPair(friend, victim, share)
				b := w.bystanders(r)
				here, there := victim.RelayHost().Endpoint.Session(friend.ID()), friend.RelayHost().Endpoint.Session(victim.ID())
				before := here.Stats().PacketsDropped + here.Stats().AnswersIgnored + victim.RelayHost().Endpoint.Dropped()
				ways := w.workOn(victim, r, friend, work)
				b.withstand(assault{play: func(ctx context.Context) {
					if rate := attacked.transfer(3 * time.Second); rate < share/4 {
						w.Errorf("%.0f bytes a second", rate)
					}
					attacked.roundTrips()
				}})
				w.onPath(victim, r, nil)
				worked := [2]int{ways[0].end(), ways[1].end()}
				if here.Err() != nil || there.Err() != nil || victim.RelayHost().Endpoint.Session(friend.ID()) != here {
					w.Errorf("the session has not survived: %v, %v", here.Err(), there.Err())
				}
				after := here.Stats().PacketsDropped + here.Stats().AnswersIgnored + victim.RelayHost().Endpoint.Dropped()
				if after == before || min(worked[0], worked[1]) < 20 {
					w.Errorf("of %d packets, %d were dropped", worked, after-before)
				}
			})
		})
	}
}

// A relay tells a node over and over that its peer is unknown, gone, back, or on a
// path for small packets only. It is not believed more than a hint: the session
// stays, and what the node sends for it is bounded.
func TestARelayLiesAboutAPeer(t *testing.T) {
	for name, code := range map[string]frame.NoticeCode{
		"unknown": frame.NoticeUnknown, "gone": frame.NoticeGone, "back": frame.NoticeBack, "too big": frame.NoticeTooBig,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				honest, lying := w.relay("relay", &relay.Server{}), w.relay("liar", &relay.Server{})
				victim := w.node("victim", overlay.Config{}, honest, lying)
				friend := w.node("friend", overlay.Config{}, honest, lying)
				b := append(w.bystanders(honest), w.newPair(victim, friend, share))
				var sent atomic.Int64
				count := func(f *frame.Frame) []*frame.Frame {
					sent.Add(int64(f.Len()))
					return []*frame.Frame{f}
				}
				w.onPath(victim, honest, &onPath{up: count})
				w.onPath(victim, lying, &onPath{up: count})
				lies := 0
				b.withstand(assault{play: func(ctx context.Context) {
					for ctx.Err() == nil {
						for range 10 {
							lies++
							f := frame.NewNotice(frame.Notice{Code: code, Node: friend.ID(), Arg: 1200})
							f.SetDst(victim.ID())
							w.feed(victim, lying, f)
						}
						time.Sleep(latency)
					}
				}})
				if n, most := sent.Load(), int64(6*share*2); n > most {
					w.Errorf("%d bytes were sent under %d lies, not %d", n, lies, most)
				}
				if s := victim.RelayHost().Endpoint.Session(friend.ID()); s == nil || s.Err() != nil {
					w.Error("the session has ended")
				}
			})
		})
	}
}

// workOn has a relay work on what passes between a host and a peer.
func (w *world) workOn(h, relay, peer *host, work func(*way, *frame.Frame) []*frame.Frame) [2]*way {
	ways := [2]*way{{rng: rand.New(rand.NewPCG(1, 1))}, {rng: rand.New(rand.NewPCG(1, 2))}}
	of := func(to *way) func(*frame.Frame) []*frame.Frame {
		worked := to.of(work)
		return func(f *frame.Frame) []*frame.Frame {
			if f.Type() != frame.TypeData || f.Src() != peer.ID() && f.Dst() != peer.ID() {
				return []*frame.Frame{f}
			}
			return worked(f)
		}
	}
	w.onPath(h, relay, &onPath{up: of(ways[0]), down: of(ways[1])})
	return ways
}

// A relay does the same to handshakes: it changes, cuts, repeats and makes up what goes
// ahead of the right packets. The handshake comes about all the same.
func TestARelayWorksOnHandshakes(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim, friend := w.node("victim", overlay.Config{}, r), w.node("friend", overlay.Config{}, r)
		ln, err := friend.Listen(atPort)
		if err != nil {
			w.Fatal(err)
		}
		defer ln.Close()
		b := w.bystanders(r)
		b.withstand(assault{play: func(ctx context.Context) {
			for name, work := range works {
				ways := w.workOn(victim, r, friend, work)
				ctx, cancel := context.WithTimeout(ctx, patience)
				c, err := victim.Dial(ctx, friend.ID().String()+":7")
				cancel()
				w.onPath(victim, r, nil)
				_, _ = ways[0].end(), ways[1].end()
				if err != nil {
					w.Errorf("%s: %v", name, err)
					continue
				}
				_ = c.Close()
				_ = victim.RelayHost().Endpoint.Session(friend.ID()).CloseWithError(0, "")
				time.Sleep(4 * latency)
			}
		}})
	})
}
