package hostile

import (
	"context"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// Who has not proven anything begins handshakes and never ends them. In each, he
// sends as much as he can that has to be kept: handshake bytes with gaps between
// them, or packets for which there are no keys yet.
func TestHalfOpenSessionsAreFilled(t *testing.T) {
	const handshakes = 24
	for name, test := range map[string]struct {
		fill func(t *talk)
		ends bool // what is too much ends the handshake
	}{
		"with packets that come too early": {fill: func(t *talk) {
			for i := range uint32(64) {
				t.sayLater(i, 60_000)
				t.sayLater(i, 1400)
			}
		}},
		"with handshake bytes with gaps between them": {ends: true, fill: func(t *talk) {
			for off := uint64(5000); off < 9000; off += 400 {
				var p []byte
				for i := range uint64(200) {
					p = wire.AppendCrypto(p, off+2*i, []byte{1})
				}
				t.sayIn(wire.SpaceInitial, p)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				_, token := tokens()
				r := w.relayWith("relay", &relay.Server{}, overlay.Config{
					Invite: token, MaxHandshakesPerAddress: handshakes, MaxHandshakesPerNode: handshakes,
				})
				victim := w.node("victim", overlay.Config{}, r)
				b := w.bystanders(r).befriend(w, victim, r)
				begun := 0
				b.withstand(assault{
					play: func(ctx context.Context) {
						a := w.attacker("mallory", r)
						for range handshakes + 10 {
							t := a.begin(r.ID(), wire.Params{}, true)
							time.Sleep(5 * latency) // it has to learn the relay's session ID
							begun = max(begun, r.Stats().Handshakes.Unfinished)
							test.fill(t)
						}
						<-ctx.Done()
					},
					may: []cost{
						{"MaxHandshakesPerAddress", handshakes, perHandshake},
						{"the attacker's own handshakes", handshakes + 10, perHandshake},
						{"the attacker's own node", 1, perNode + perLink + perSimulatedConn},
					},
				})
				if (begun > handshakes/2) == test.ends {
					w.Errorf("%d handshakes of %d were unfinished at once", begun, handshakes)
				}
				time.Sleep(relay.DefaultHandshakeTimeout)
				if n := r.Stats().Handshakes.Unfinished; n != 0 {
					w.Errorf("%d handshakes are left", n)
				}
			})
		})
	}
}

// sayLater sends a packet of random bytes in the session's last space, before there
// are keys.
func (t *talk) sayLater(number uint32, size int) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	p := wire.AppendShort(nil, wire.Header{Space: wire.SpaceApp, Dst: t.remote, Number: number})
	t.send(append(p, make([]byte, size)...))
}

// A member sends packets to a node as fast as its own link goes: garbage, datagrams of
// a session for a port on which nobody listens, and datagrams that nobody reads. The
// relay forwards what its limit for a node allows.
func TestAMemberFloodsANode(t *testing.T) {
	const limit = bandwidth / 2
	const datagrams = 2 << 20 // what a packet conn keeps that nobody reads
	for name, junk := range map[string]func(t *talk, b []byte){
		"with garbage":                 func(t *talk, b []byte) { t.send(b) },
		"with datagrams for a port":    func(t *talk, b []byte) { t.say(wire.AppendDatagram(nil, append([]byte{0, atPort, 0, 1}, b...))) },
		"with datagrams for no port":   func(t *talk, b []byte) { t.say(wire.AppendDatagram(nil, append([]byte{0, 99, 0, 1}, b...))) },
		"with datagrams for no reader": func(t *talk, b []byte) { t.say(wire.AppendDatagram(nil, append([]byte{0, 0, 0, 1}, b...))) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{BytesPerSecond: limit})
				victim := w.node("victim", overlay.Config{}, r)
				pc, err := victim.ListenPacket(atPort)
				if err != nil {
					w.Fatal(err)
				}
				defer pc.Close()
				alice, bob := w.node("alice", overlay.Config{}, r), w.node("bob", overlay.Config{}, r)
				b := bystanders{w.newPair(alice, bob, share/2)}.befriend(w, victim, r)
				b.withstand(assault{
					play: func(ctx context.Context) {
						m := w.rogue("mallory", r)
						t := m.dial(victim.ID(), wire.Params{})
						for ctx.Err() == nil {
							for range 10 {
								junk(t, make([]byte, 1100))
							}
							time.Sleep(5 * time.Millisecond)
						}
						if !m.link.Up() || !t.alive() {
							w.Errorf("the link: %v; the session: %s", m.link.Err(), t.why.Data)
						}
					},
					may: []cost{
						{"packets that nobody reads", 1, datagrams},
						{"the attacker's own node", 1, perNode + perLink + perSimulatedConn},
					},
				})
				if s := r.Stats(); s.Throttled < 1000 {
					w.Errorf("%d frames were throttled", s.Throttled)
				}
			})
		})
	}
}

// A member makes one session after the other with a node, each with a conn that keeps
// it from being idle. So many are kept as one has who dials and is dialled.
func TestAMemberMakesManySessions(t *testing.T) {
	const sessions, kept = 60, 8
	for name, instance := range map[string]uint64{"as if it restarted": 0, "at once": 42} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				victim := w.node("victim", overlay.Config{}, r)
				w.serve(victim, nil)
				b := w.bystanders(r).befriend(w, victim, r)
				before, most := len(victim.RelayHost().Endpoint.Sessions()), 0
				b.withstand(assault{
					play: func(context.Context) {
						m := w.rogue("mallory", r)
						for range sessions {
							m.dial(victim.ID(), wire.Params{Instance: instance, MaxStreams: 9}).say(openFrame(nil, 0))
							time.Sleep(150 * time.Millisecond) // MaxHandshakesPerNode is 8 each second
							most = max(most, len(victim.RelayHost().Endpoint.Sessions())-before)
						}
					},
					may: []cost{
						{"sessions of a peer", kept, perSession},
						{"the attacker's own sessions", sessions, perSession},
						{"the attacker's own node", 1, perNode + perLink + perSimulatedConn},
					},
				})
				if most > kept+1 { // the oldest may be just ending
					w.Errorf("the victim had %d sessions with one peer", most)
				}
			})
		})
	}
}
