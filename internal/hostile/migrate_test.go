package hostile

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/direct"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/internal/udp"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// A mover is on the direct path of two nodes and has a socket elsewhere, from which
// its copies are there before what it has copied.
type mover struct {
	*raider
	conn     *natnet.Conn
	addr     netip.AddrPort
	from, to *host
	got      atomic.Int64 // bytes that came to the socket
	passes   atomic.Bool  // what comes from one node goes to the other
}

// mover makes one between two nodes.
func (w *world) mover(from, to *host) *mover {
	w.Helper()
	m := &mover{raider: w.raider("elsewhere"), from: from, to: to}
	var err error
	if m.conn, err = m.host.ListenPacket(udpPort); err != nil {
		w.Fatal(err)
	}
	m.addr = netip.AddrPortFrom(m.host.Addrs()[0], udpPort)
	w.wg.Go(func() {
		b := make([]byte, 2048)
		for {
			n, src, err := m.conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			m.got.Add(int64(n))
			if m.passes.Load() {
				dst := w.udpOf(from.name)
				if src == dst {
					dst = w.udpOf(to.name)
				}
				m.send(b[:n], dst)
			}
		}
	})
	return m
}

// send sends from the mover's own address.
func (m *mover) send(b []byte, to netip.AddrPort) { m.forge(b, m.addr, to) }

// copies has f called with each frame that one node sends the other on their path.
// It returns what becomes of the frame itself.
func (m *mover) copies(f func(*frame.Frame) []*frame.Frame) {
	var p *onPath
	if f != nil {
		p = &onPath{up: f}
	}
	m.w.onDirect(m.from, m.to, p)
}

// becomesStraight checks that a pair's ends send straight to each other before long.
func (p *pair) becomesStraight() {
	p.w.Helper()
	for began := time.Now(); ; time.Sleep(time.Second) {
		here, _ := overlay.PathOf(p.talk)
		there, _ := overlay.PathOf(p.far)
		if here == "udp "+p.w.udpOf(p.to.name).String() && there == "udp "+p.w.udpOf(p.from.name).String() {
			return
		}
		if time.Since(began) > patience {
			p.w.Errorf("%s: after %v the paths are %s and %s", p.name, patience, here, there)
			return
		}
		p.roundTrips()
	}
}

// Somebody on the direct path of two nodes sends what one of them says from other
// addresses, sooner than it comes itself: from his own, where he answers nothing, and
// from those of third parties. What comes later is dropped as a copy, so that the path
// seems dead and the nodes use their relay, as if he had let nothing pass (RFC 9000
// section 9.3.3). Who is there is asked a few times, and nothing else goes there; once
// it is over, the path is in use again.
func TestPacketsComeFromElsewhere(t *testing.T) {
	const (
		// asked are the challenges that a session sends to addresses from which
		// something came, in ten seconds, and challenge is the size of each.
		asked, challenge = 32 * 3, 100
	)
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		w.place("victim", "friend", "admin")
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).nearby(w, r).befriend(w, victim, r)
		attacked := w.attackable(victim, r)
		calm := attacked.measure()
		m, others := w.mover(attacked.from, victim), w.sink("third parties", 200)
		n := 0
		b.withstand(assault{play: func(ctx context.Context) {
			for name, source := range map[string]func() netip.AddrPort{
				"the attacker's":         func() netip.AddrPort { return m.addr },
				"those of third parties": func() netip.AddrPort { return others.ends[n%len(others.ends)].AddrPort },
			} {
				m.copies(func(f *frame.Frame) []*frame.Frame {
					n++
					m.forge(f.Bytes(), source(), w.udpOf("victim"))
					return []*frame.Frame{f}
				})
				if busy := attacked.measure(); busy.throughput < calm.throughput*(1-worse) || busy.latency > 5*latency {
					w.Errorf("copies from addresses like %s: %v, without them %v", name, busy, calm)
				}
				m.copies(nil)
				attacked.becomesStraight()
			}
		}})
		if s := victim.RelayHost().Endpoint.Session(attacked.from.ID()); s == nil || s.Err() != nil {
			w.Error("the session has ended")
		}
		var got int64
		for _, e := range others.ends {
			got += e.bytes.Load()
		}
		if most := int64(2 * asked * challenge); n < 50 || got == 0 || got > most || m.got.Load() == 0 || m.got.Load() > most {
			w.Errorf("of %d copies, %d bytes came to the attacker, %d to third parties", n, m.got.Load(), got)
		}
		w.Logf("of %d copies, %d bytes came to the attacker, %d to third parties", n, m.got.Load(), got)
	})
}

// Somebody on the direct path of two nodes lets nothing pass but what he sends himself
// from his own address, in both directions, and so becomes a path of theirs. He learns
// and changes nothing, and when he falls silent, they go on without him.
func TestSomebodyBecomesThePath(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		w.place("victim", "friend", "admin")
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).nearby(w, r).befriend(w, victim, r)
		attacked := w.attackable(victim, r)
		m := w.mover(attacked.from, victim)
		b.withstand(assault{play: func(ctx context.Context) {
			m.passes.Store(true)
			take := func(to string) func(*frame.Frame) []*frame.Frame {
				return func(f *frame.Frame) []*frame.Frame {
					m.send(f.Bytes(), w.udpOf(to))
					f.Release()
					return nil
				}
			}
			w.onDirect(attacked.from, victim, &onPath{up: take("victim")})
			w.onDirect(victim, attacked.from, &onPath{up: take("admin")})
			attacked.transfer(5 * time.Second)
			attacked.roundTrips()
			passed := m.got.Load()
			m.passes.Store(false) // and nothing on the path itself passes, either
			began := time.Now()
			attacked.roundTrips()
			if took := time.Since(began); took > 10*time.Second {
				w.Errorf("it took %v until the nodes went on without the attacker", took)
			}
			w.Logf("%d bytes passed the attacker, and the nodes were without him after %v", passed, time.Since(began))
			w.onDirect(attacked.from, victim, nil)
			w.onDirect(victim, attacked.from, nil)
			attacked.becomesStraight()
			if passed < share {
				w.Errorf("only %d bytes took the attacker's path", passed)
			}
		}})
		if s := victim.RelayHost().Endpoint.Session(attacked.from.ID()); s == nil || s.Err() != nil {
			w.Error("the session has ended")
		}
	})
}

// Members say all the time that they are at addresses of a third party, ever new ones,
// and send packets as if from there. The third party gets the challenges of a few
// rounds, and few for what seems to come from it.
func TestMembersHaveAThirdPartyAsked(t *testing.T) {
	const (
		members   = 3
		rounds    = 2 * 7 // of challenges to what was told, in two searches
		later     = 5     // challenges a second after that
		found     = 32    // addresses that are asked in 10 s because something came from there
		tries     = 3     // challenges to each
		challenge = 100   // bytes, with all heads
	)
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		w.place("victim", "friend")
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).nearby(w, r).befriend(w, victim, r)
		m, third := w.raider("elsewhere"), w.sink("third party", 1)
		at := func(n int) netip.AddrPort { return netip.AddrPortFrom(third.ends[0].Addr(), uint16(1+n%60000)) }
		var talks []*talk
		for i := range members {
			talks = append(talks, w.rogue(fmt.Sprint("mallory-", i), r).dial(victim.ID(), wire.Params{}))
		}
		told, began := 0, time.Now()
		b.withstand(assault{
			play: func(ctx context.Context) {
				for ; ctx.Err() == nil; time.Sleep(5 * latency) {
					for _, t := range talks {
						told++
						msg := direct.Message{Round: uint32(told)}
						for range direct.MaxCandidates {
							told++
							msg.Candidates = append(msg.Candidates, direct.Candidate{Kind: direct.Host, Addr: at(told)})
						}
						t.say(wire.AppendCandidates(nil, uint64(told), msg.Append(nil)))
						t.r.redirect(func(f *frame.Frame) { m.forge(f.Bytes(), at(told), w.udpOf("victim")) })
						t.say([]byte{wire.TypePing})
						t.r.redirect(nil)
					}
				}
			},
			may: []cost{
				{"udp.Config.MaxHeard", udp.DefaultMaxHeard, perFlow},
				{"the attackers' own nodes", members, perNode + perLink + perSimulatedConn},
			},
		})
		took := time.Since(began).Seconds()
		_, down := third.host.LinkCounters()
		most := members * (rounds*direct.MaxCandidates + int(later*took) + found*tries*int(1+took/10))
		if int(down.Sent) > most || down.Sent == 0 || int(down.BytesSent) > most*challenge {
			w.Errorf("the third party got %d datagrams with %d bytes, not %d", down.Sent, down.BytesSent, most)
		}
		w.Logf("%d addresses were told, and %d datagrams with %d bytes came there, of %d", told, down.Sent, down.BytesSent, most)
		for _, t := range talks {
			if !t.alive() {
				w.Errorf("a session has ended: %s", t.why.Data)
			}
		}
	})
}
