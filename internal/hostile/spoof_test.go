package hostile

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/direct"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// amplification is how many times what came from an address a node may send there
// before somebody has answered from it (RFC 9000 section 8.1).
const amplification = 3

// A forgery is an attack with the addresses of a third party.
type forgery struct {
	*world
	*raider
	victim  *host
	mallory *rogue // a member
	talk    *talk  // with the victim
	target  *sink
	told    *end // an address that the member has told as its own
}

// send sends a datagram to a host as if it came from an end of the third party's.
func (f *forgery) send(b []byte, from *end, to string) {
	from.forged.Add(int64(len(b)))
	f.forge(b, from.AddrPort, f.udpOf(to))
}

// open sends the first packets of a session that goes no further, in the name of a
// node of which there is none.
func (f *forgery) open(from *end) {
	id := identity.NodeID(rand.Uint64())
	f.mallory.redirect(func(fr *frame.Frame) {
		fr.SetSrc(id)
		f.send(fr.Bytes(), from, "victim")
	})
	f.mallory.begin(f.victim.ID(), wire.Params{}, true)
	f.mallory.redirect(nil)
}

// tell has the member say that an address of the third party is its own.
func (f *forgery) tell(at *end) {
	m := direct.Message{Round: 1, Candidates: []direct.Candidate{{Kind: direct.Host, Addr: at.AddrPort}}}
	f.talk.say(wire.AppendCandidates(nil, 1, m.Append(nil)))
	time.Sleep(time.Second) // until it has been asked
	f.told = at
}

// stun returns a binding request with attributes.
func stun(attributes ...[]byte) []byte {
	b := make([]byte, 20)
	for _, a := range attributes {
		b = append(b, a...)
	}
	binary.BigEndian.PutUint16(b, 1)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	binary.BigEndian.PutUint32(b[4:], 0x2112a442)
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	return b
}

// forgeries are what a node or a relay may be made to answer.
var forgeries = []struct {
	name string
	play func(f *forgery, from *end) // sends one
}{
	{"first packets", (*forgery).open},
	{"first packets, of an address that a member has told", (*forgery).open},
	{"packets of sessions that are not", func(f *forgery, from *end) {
		p := wire.AppendShort(nil, wire.Header{Space: wire.SpaceApp, Dst: rand.Uint64()})
		fr := addressed(f.mallory.creds.Key().ID(), f.victim.ID(), append(p, make([]byte, 30)...))
		f.send(fr.Bytes(), from, "victim")
		fr.Release()
	}},
	{"packets of a member's session", func(f *forgery, from *end) {
		f.mallory.redirect(func(fr *frame.Frame) { f.send(fr.Bytes(), from, "victim") })
		f.talk.say([]byte{wire.TypePing, wire.TypeImmediateAck}, wire.AppendPath(nil, wire.TypePathChallenge, rand.Uint64()))
		f.mallory.redirect(nil)
	}},
	{"STUN requests to the node", func(f *forgery, from *end) { f.send(stun(), from, "victim") }},
	{"STUN requests to the relay", func(f *forgery, from *end) { f.send(stun(), from, "relay") }},
	{"STUN requests to the relay, for an answer from its other port", func(f *forgery, from *end) {
		f.send(stun([]byte{0, 3, 0, 4, 0, 0, 0, 2}), from, "relay")
	}},
	{"STUN requests to the relay, with what it does not know", func(f *forgery, from *end) {
		f.send(stun([]byte{0, 5, 0, 0}, []byte{0, 6, 0, 0}, []byte{0, 7, 0, 0}), from, "relay")
	}},
}

// Somebody sends datagrams with the addresses of a third party, to a node's socket and
// to a relay's STUN. Each address gets three times as much at most.
func TestForgedSourcesAreNoAmplifiers(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		w.place("relay", "victim", "friend")
		w.answerSTUN(r)
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).nearby(w, r).befriend(w, victim, r)
		f := &forgery{
			world: w, raider: w.raider("elsewhere"), victim: victim,
			mallory: w.rogue("mallory", r), target: w.sink("third party", len(forgeries)),
		}
		f.talk = f.mallory.dial(victim.ID(), wire.Params{})
		f.tell(f.target.ends[1])
		asked := f.told.bytes.Load()
		rounds := 0
		b.withstand(assault{
			play: func(ctx context.Context) {
				// So slowly that the handshakes are within the limits: all are answered.
				for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
					for i, forgery := range forgeries {
						forgery.play(f, f.target.ends[i])
					}
					rounds++
				}
			},
			may: []cost{
				{"MaxHandshakesPerAddress", session.DefaultMaxHandshakesPerAddress, perHandshake},
				{"the attacker's own handshakes", session.DefaultMaxHandshakesPerAddress, perHandshake},
				{"the attacker's own node", 1, perNode + perLink + perSimulatedConn},
			},
		})
		time.Sleep(relay.DefaultHandshakeTimeout) // until nothing is sent again
		if asked == 0 || rounds < 20 {
			w.Errorf("%d bytes asked who is at an address that was told; there were %d rounds", asked, rounds)
		}
		f.told.bytes.Add(-asked)
		for i, forgery := range forgeries {
			sent, got := f.target.ends[i].forged.Load(), f.target.ends[i].bytes.Load()
			if got > amplification*sent {
				w.Errorf("%s: %d bytes were sent, and the third party got %d", forgery.name, sent, got)
			}
			w.Logf("%s: %.2f for one of %d bytes", forgery.name, float64(got)/float64(sent), sent)
		}
	})
}
