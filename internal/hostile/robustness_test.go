package hostile

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
	"github.com/weftnet/weft/stream"
)

// lives is in the place of a code: the session goes on, or its handshake does.
const lives = -1

// A message is what a peer may say at the wrong time.
type message struct {
	name string
	b    []byte
	// handshake and session are the codes with which a session ends that hears it
	// before and after the handshake.
	handshake, session int
}

// messages are those of all types, right ones, and some that are none. Stream 0 is
// open, stream 4 is over, stream 8 was never opened, and 1 would be one of the other
// side's.
func messages() []message {
	values := func(kind uint8, v ...uint64) []byte { return wire.AppendValues(nil, kind, v...) }
	data := func(id, off uint64, fin bool) []byte {
		return append(wire.AppendStreamHeader(nil, id, off, 5, fin, true), "hello"...)
	}
	const never = session.CodeProtocol // in a handshake
	all := []message{
		{"nothing", []byte{}, session.CodeProtocol, session.CodeProtocol},
		{"padding", make([]byte, 100), lives, lives},
		{"ping", []byte{wire.TypePing}, lives, lives},
		{"immediate ack", []byte{wire.TypeImmediateAck}, lives, lives},
		{"ack", wire.AppendAck(nil, []wire.AckRange{{}}, 0), lives, lives},
		{"ack of the future", wire.AppendAck(nil, []wire.AckRange{{High: 1e6}}, 0), session.CodeProtocol, session.CodeProtocol},
		{"crypto that repeats", wire.AppendCrypto(nil, 0, []byte{1}), lives, session.CodeProtocol},
		{"crypto of later", wire.AppendCrypto(nil, 40_000, []byte{1}), lives, session.CodeProtocol},
		{"crypto of much later", wire.AppendCrypto(nil, 1<<40, []byte{1}), session.CodeProtocol, session.CodeProtocol},
		{"data", data(0, 0, false), never, lives},
		{"data of a stream that is over", data(4, 0, true), never, lives},
		{"data of a stream without an opening", data(8, 0, false), never, lives},
		{"data of the other side's stream", data(1, 0, false), never, session.CodeStreamState},
		{"data at the end of numbers", data(0, wire.MaxVarint-5, false), never, session.CodeFlowControl},
		{"data of a stream beyond the limit", data(1<<40, 0, false), never, session.CodeStreamLimit},
		{"two ends", append(data(0, 10, true), data(0, 20, true)...), never, session.CodeFinalSize},
		{"more behind the end", append(data(0, 0, true), data(0, 5, true)...), never, lives},
		{"reset", values(wire.TypeResetStream, 0, 7, 0), never, lives},
		{"reset of the other side's stream", values(wire.TypeResetStream, 1, 7, 0), never, session.CodeStreamState},
		{"reset at the end of numbers", values(wire.TypeResetStream, 0, 7, wire.MaxVarint), never, session.CodeFinalSize},
		{"stop", values(wire.TypeStopSending, 0, 7), never, lives},
		{"stop of the other side's stream", values(wire.TypeStopSending, 1, 7), never, session.CodeStreamState},
		{"max data", values(wire.TypeMaxData, wire.MaxVarint), never, lives},
		{"max data of nothing", values(wire.TypeMaxData, 0), never, lives},
		{"max stream data", values(wire.TypeMaxStreamData, 0, wire.MaxVarint), never, lives},
		{"max stream data of the other side's stream", values(wire.TypeMaxStreamData, 1, 9), never, session.CodeStreamState},
		{"max streams", values(wire.TypeMaxStreams, wire.MaxVarint), never, lives},
		{"open again", values(wire.TypeStreamOpen, 0, 9), never, lives},
		{"open what is over", values(wire.TypeStreamOpen, 4, 9), never, lives},
		{"open a stream of the other side", values(wire.TypeStreamOpen, 1, 9), never, session.CodeStreamState},
		{"open of no kind", values(wire.TypeStreamOpen, 8, wire.MaxVarint), never, lives},
		{"open of control", values(wire.TypeStreamOpen, 8, uint64(session.KindControl)), never, lives},
		{"accept one's own stream", values(wire.TypeStreamAccept, 0), never, session.CodeStreamState},
		{"accept a stream of nobody", values(wire.TypeStreamAccept, 1), never, session.CodeStreamState},
		{"challenge", wire.AppendPath(nil, wire.TypePathChallenge, 1), never, lives},
		{"response to nothing", wire.AppendPath(nil, wire.TypePathResponse, 1), never, lives},
		{"end of the handshake", []byte{wire.TypeHandshakeDone}, never, session.CodeProtocol},
		{"datagram", wire.AppendDatagram(nil, []byte("hello")), never, lives},
		{"datagram of a layer that has none", wire.AppendDatagram(nil, make([]byte, 9)), never, lives},
		{"candidates", wire.AppendCandidates(nil, 1, []byte{1}), never, lives},
		{"candidates of garbage", wire.AppendCandidates(nil, wire.MaxVarint, make([]byte, wire.MaxCandidates)), never, lives},
		{"unknown type", []byte{0x3f, 1, 2, 3}, session.CodeFrameEncoding, session.CodeFrameEncoding},
		{"type of nothing", []byte{0xff}, session.CodeFrameEncoding, session.CodeFrameEncoding},
		{"half a frame", values(wire.TypeResetStream, 1<<40, 7)[:5], session.CodeFrameEncoding, session.CodeFrameEncoding},
		{"a length beyond the packet", []byte{wire.TypeCrypto, 0, 0x7f, 0xff}, session.CodeFrameEncoding, session.CodeFrameEncoding},
		{"many ranges", append([]byte{wire.TypeAck, 0, 0, 0xbf, 0xff, 0xff, 0xff}, make([]byte, 900)...), session.CodeFrameEncoding, session.CodeFrameEncoding},
		{"close", wire.AppendClose(nil, 7, "because"), lives, lives}, // no answer to it
	}
	return all
}

// Each message comes in each phase of a session: in its first packets, behind them,
// and when it is there. Sessions end if they must, with the code that says why; the
// link on which it came never does, and neither does the victim.
func TestAnyMessageInAnyState(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim := w.node("victim", overlay.Config{MaxHandshakes: 1000, MaxHandshakesPerNode: 1000, MaxHandshakesPerAddress: 1000}, r)
		w.serve(victim, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		b := w.bystanders(r).befriend(w, victim, r)
		m := w.rogue("mallory", r)
		b.withstand(assault{
			play: func(context.Context) {
				for _, msg := range messages() {
					w.after(msg.name+", first", msg.handshake, func() *talk {
						t := m.begin(victim.ID(), wire.Params{}, true)
						t.sayIn(wire.SpaceInitial, msg.b)
						return t
					})
					w.after(msg.name+", in the handshake", msg.handshake, func() *talk {
						t := m.pause(victim.ID())
						t.sayIn(wire.SpaceHandshake, msg.b)
						return t
					})
					w.after(msg.name+", later", msg.session, func() *talk {
						t := m.dial(victim.ID(), wire.Params{MaxStreams: 9, MaxData: 1000, MaxStream: 1000})
						t.say(openFrame(nil, 0), wire.AppendValues(openFrame(nil, 2), wire.TypeResetStream, 4, 0, 0))
						time.Sleep(4 * latency)
						t.say(msg.b)
						return t
					})
				}
				random := rand.New(rand.NewPCG(1, 1))
				for range 50 {
					p := make([]byte, 1+random.IntN(100))
					for i := range p {
						p[i] = byte(random.Uint32())
					}
					m.begin(victim.ID(), wire.Params{}, true).sayIn(wire.SpaceInitial, p)
					m.pause(victim.ID()).sayIn(wire.SpaceHandshake, p)
					m.dial(victim.ID(), wire.Params{}).say(p)
				}
			},
			may: []cost{{"MaxHandshakes", 300, perHandshake}, {"sessions, and the attacker's", 2 * 100, perSession}},
		})
		if !m.link.Up() {
			w.Errorf("the link has ended: %v", m.link.Err())
		}
		time.Sleep(time.Minute)
		if h := victim.RelayHost().Endpoint.Handshakes(); h.Unfinished != 0 {
			w.Errorf("%+v", h)
		}
	})
}

// after lets a rogue speak and checks with which code the session ends.
func (w *world) after(name string, want int, speak func() *talk) {
	w.Helper()
	t := speak()
	time.Sleep(15 * latency)
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	got := lives
	if !t.alive() {
		got = int(t.why.Value)
	}
	if got != want {
		w.Errorf("%s: %d, want %d: %s", name, got, want, t.why.Data)
	}
}

// pause begins a handshake and stops before the last flight.
func (r *rogue) pause(peer overlay.NodeID) *talk {
	t := r.begin(peer, wire.Params{}, false)
	r.mu.Lock()
	t.short = true
	for t.write[wire.SpaceHandshake] == nil {
		r.mu.Unlock()
		time.Sleep(latency)
		r.mu.Lock()
	}
	r.mu.Unlock()
	return t
}

// What applications do wrong, on either end of a conn, is between them: neither their
// session nor any link ends.
func TestErrorsOfApplicationsEndNothingElse(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim, mallory := w.node("victim", overlay.Config{Backlog: 1}, r), w.node("mallory", overlay.Config{}, r)
		b := w.bystanders(r).befriend(w, victim, r)
		w.serve(victim, func(c net.Conn) { _ = c.(stream.Conn).Reset(stream.CodeApplication + 1) })
		lazy, _ := victim.Listen(8) // nobody accepts
		closed, _ := overlay.ListenConfig{Allow: &overlay.Rule{}}.Listen(victim.Node, 9)
		web, _ := victim.Listen(80)
		srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })}
		w.wg.Go(func() { _ = srv.Serve(web) })
		w.atEnd(func() { _, _, _ = srv.Close(), lazy.Close(), closed.Close() })
		dial := func(ctx context.Context, port int) (net.Conn, error) {
			return mallory.Dial(ctx, fmt.Sprintf("%v:%d", victim.ID(), port))
		}
		b.withstand(assault{play: func(ctx context.Context) {
			var before *session.Session
			for ctx.Err() == nil {
				for _, port := range []int{atPort, 8, 9, 10, 80} {
					c, err := dial(ctx, port)
					if err != nil {
						continue
					}
					_ = c.SetDeadline(time.Now().Add(time.Second))
					_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nx")
					if _, err := io.ReadAll(c); err == nil && port != 80 { // net/http closes the conn
						w.Errorf("port %d: a conn that was aborted looks complete", port)
					}
					_ = c.(stream.Conn).Reset(stream.CodeApplication)
				}
				now := mallory.RelayHost().Endpoint.Session(victim.ID())
				if before != nil && now != before {
					w.Error("the session has ended")
				}
				before = now
			}
		}})
		for _, h := range []*host{victim, mallory} {
			if n := len(h.Status().Relays); n != 1 || !h.Status().Relays[0].Up {
				w.Errorf("%s has lost its relay", h.name)
			}
		}
	})
}
