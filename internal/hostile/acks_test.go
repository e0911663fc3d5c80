package hostile

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// generous are the windows of somebody who wants to have as much as there is.
var generous = wire.Params{MaxData: wire.MaxVarint, MaxStream: wire.MaxVarint, MaxStreams: 100}

// A member downloads and acknowledges what it likes: packets that were never sent,
// those that it has not got yet, so that it is sent more, and all but the first ones,
// so that everything after them has to be kept.
func TestAcknowledgementsThatAreLies(t *testing.T) {
	for name, test := range map[string]struct {
		lie  func(t *talk, largest uint64) // about the packets up to the largest that came
		ends bool
		may  bool // end, if it has gone too far
	}{
		"of packets that were never sent": {ends: true, lie: func(t *talk, largest uint64) {
			t.say(wire.AppendAck(nil, []wire.AckRange{{Low: 0, High: largest + 1_000_000}}, 0))
		}},
		"of the last packet number": {ends: true, lie: func(t *talk, _ uint64) {
			t.say(wire.AppendAck(nil, []wire.AckRange{{Low: wire.MaxVarint, High: wire.MaxVarint}}, 0))
		}},
		"of what is on its way": {may: true, lie: func(t *talk, largest uint64) {
			t.say(wire.AppendAck(nil, []wire.AckRange{{Low: 0, High: largest + 1}}, 0))
		}},
		"of all up to the latest, whether they came or not": {ends: true, lie: func(t *talk, largest uint64) {
			t.say(wire.AppendAck(nil, []wire.AckRange{{Low: 0, High: largest}}, 0))
		}},
		"again and again": {lie: func(t *talk, largest uint64) {
			for range 20 {
				t.say(wire.AppendAck(nil, []wire.AckRange{{Low: largest, High: largest}}, time.Hour))
			}
		}},
		"of every other packet": {may: true, lie: func(t *talk, largest uint64) {
			var all []wire.AckRange
			for n := largest; n > 2 && len(all) < 100; n -= 2 {
				all = append(all, wire.AckRange{Low: n, High: n})
			}
			if all != nil {
				t.say(wire.AppendAck(nil, all, 0))
			}
		}},
		"of all but the first": {},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				victim := w.node("victim", small(), r)
				w.net.SetPair("victim", "relay", simnet.Impairment{Delay: latency})
				w.serve(victim, pour)
				b := w.bystanders(r).befriend(w, victim, r)
				const window = 64*streamWindow + 2*maxStreamWindow
				onTheWay := 0 // in the relay
				if test.lie != nil {
					onTheWay = link.DefaultQueueBytes
				}
				b.withstand(assault{
					play: func(ctx context.Context) {
						t := w.rogue("mallory", r).dial(victim.ID(), generous)
						var largest, got atomic.Uint64
						t.listen(func(fr *wire.Frame) {
							t.reply = nil
							largest.Store(t.largest[wire.SpaceApp])
							if fr.Type == wire.TypeStream {
								got.Add(uint64(len(fr.Data)))
							}
						})
						t.spare(func(fr *wire.Frame) bool {
							return test.lie != nil || fr.Type == wire.TypeStream && fr.Off == 0
						})
						t.say(openFrame(nil, 0))
						time.Sleep(10 * latency)
						for ctx.Err() == nil && t.alive() {
							if test.lie != nil {
								test.lie(t, largest.Load())
							}
							time.Sleep(latency)
						}
						if test.ends {
							if code := t.ended(); code != session.CodeProtocol {
								w.Errorf("the session has ended with %#x: %s", code, t.why.Data)
							}
						} else if !t.alive() && !test.may {
							w.Errorf("the session has ended: %s", t.why.Data)
						}
						w.Logf("%d KiB came", got.Load()>>10)
					},
					may: []cost{
						{"MaxStreamWindow", 1, window + window/8},
						{"QueueBytes of a link", 1, onTheWay},
						{"sendQueue of a stream", 1, 1 << 20},
						{"the attacker's own node", 1, perNode + perLink + perSimulatedConn},
					},
				})
			})
		})
	}
}

// A member asks for as much as there is, on many conns, and grants no credit for it,
// or one byte at a time.
func TestWindowsThatStayShut(t *testing.T) {
	for name, step := range map[string]uint64{"for ever": 0, "but for a byte at a time": 1} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				victim := w.node("victim", small(), r)
				w.serve(victim, pour)
				b := w.bystanders(r).befriend(w, victim, r)
				const conns = 16
				b.withstand(assault{
					play: func(ctx context.Context) {
						t := w.rogue("mallory", r).dial(victim.ID(), wire.Params{MaxStream: step, MaxStreams: 1})
						var got atomic.Uint64
						t.listen(func(fr *wire.Frame) {
							if fr.Type == wire.TypeStream {
								got.Add(uint64(len(fr.Data)))
							}
						})
						var p []byte
						for n := range uint64(conns) {
							p = openFrame(p, n)
						}
						t.say(p)
						granted := uint64(0)
						for ctx.Err() == nil {
							time.Sleep(latency)
							granted += step
							p = wire.AppendValues([]byte{wire.TypePing}, wire.TypeMaxData, conns*granted)
							for n := range uint64(conns) {
								p = wire.AppendValues(p, wire.TypeMaxStreamData, n<<1, granted)
							}
							t.say(p)
						}
						if !t.alive() || got.Load() > conns*granted || step > 0 && got.Load() == 0 {
							w.Errorf("%d bytes came where %d were asked for: %s", got.Load(), conns*granted, t.why.Data)
						}
					},
					may: []cost{
						{"sendQueue of a stream", conns, 5 << 18}, // with what the pool's buffers have room for
						{"the attacker's own node", 1, perNode + perLink + perSimulatedConn},
					},
				})
			})
		})
	}
}

// A member sends as many questions as it can: pings of links and of sessions, and
// challenges of paths. Each has one answer at most.
func TestFloodsOfQuestions(t *testing.T) {
	for name, ask := range map[string]func(r *rogue, t *talk){
		"pings of the link": func(r *rogue, _ *talk) {
			f := frame.New(8)
			f.SetType(frame.TypePing)
			_ = r.link.Send(f)
		},
		"pings of the session":         func(_ *rogue, t *talk) { t.say([]byte{wire.TypePing, wire.TypeImmediateAck}) },
		"pings of the relay's session": func(r *rogue, _ *talk) { r.relay.say([]byte{wire.TypePing, wire.TypeImmediateAck}) },
		"challenges": func(_ *rogue, t *talk) {
			var p []byte
			for i := range uint64(3) {
				p = wire.AppendPath(p, wire.TypePathChallenge, i)
			}
			t.say(p)
		},
		"first packets of nobody": func(r *rogue, t *talk) {
			b := wire.AppendLong(nil, wire.Header{Space: wire.SpaceInitial, Dst: t.orig + 1, Src: 1}, 1200)
			t.send(append(b, make([]byte, 1200)...))
		},
		"packets of sessions that are not": func(r *rogue, t *talk) {
			t.send(append(wire.AppendShort(nil, wire.Header{Space: wire.SpaceApp, Dst: t.remote + 1}), make([]byte, 30)...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				victim := w.node("victim", overlay.Config{}, r)
				b := w.bystanders(r).befriend(w, victim, r)
				b.withstand(assault{
					play: func(ctx context.Context) {
						m := w.rogue("mallory", r)
						t := m.dial(victim.ID(), wire.Params{})
						time.Sleep(4 * latency)
						before := m.link.Counters()
						for ctx.Err() == nil {
							ask(m, t)
							ask(m, t)
							time.Sleep(latency)
						}
						time.Sleep(10 * latency)
						after := m.link.Counters()
						if in, out := after.BytesIn-before.BytesIn, after.BytesOut-before.BytesOut; in > 2*out || !t.alive() {
							w.Errorf("%d bytes came back for %d; %s", in, out, t.why.Data)
						}
						w.Logf("%+v %v", after, m.link.Err())
					},
					may: []cost{{"the attacker's own node", 1, perNode + perLink + perSimulatedConn}},
				})
			})
		})
	}
}
