package hostile

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
	"github.com/weftnet/weft/stream"
)

// atPort is where victims listen.
const atPort = 7

// serve has a host accept conns and call serve with each. Nil: they stay open, and
// nothing happens.
func (w *world) serve(h *host, serve func(net.Conn)) {
	w.Helper()
	ln, err := h.Listen(atPort)
	if err != nil {
		w.Fatal(err)
	}
	over := make(chan struct{})
	w.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() {
				defer c.Close()
				if serve == nil {
					<-over
					return
				}
				serve(c)
			})
		}
	})
	w.atEnd(func() {
		close(over)
		_ = ln.Close()
	})
}

// pour writes to a conn for as long as it takes anything.
func pour(c net.Conn) {
	for {
		if _, err := c.Write(pattern); err != nil {
			return
		}
	}
}

// Frames of the n-th stream that a rogue opens.
func openFrame(b []byte, n uint64) []byte {
	return wire.AppendValues(b, wire.TypeStreamOpen, n<<1, atPort)
}

func dataFrame(b []byte, n, off uint64, data []byte) []byte {
	b = wire.AppendStreamHeader(b, n<<1, off, len(data), false, true)
	return append(b, data...)
}

// Limits of a victim, small so that they are reached.
const (
	streamWindow    = 16 << 10
	maxStreamWindow = 1 << 20
	maxStreams      = 64

	// sessionWindow is how much a peer may send that nobody reads, of all streams.
	sessionWindow = 64*streamWindow + 2*streamWindow
	// perStream is a stream with its conn and the goroutine that serves it.
	perStream = 16 << 10
)

// small is a config with these limits.
func small() overlay.Config {
	return overlay.Config{StreamWindow: streamWindow, MaxStreamWindow: maxStreamWindow, MaxStreams: maxStreams}
}

// A member fills the windows of streams that nobody reads, in large pieces, in
// single bytes with gaps between them, and beyond the windows. What is kept is what
// the windows allow, and at most twice as much memory; beyond that the session ends.
func TestDataThatNobodyReads(t *testing.T) {
	for name, test := range map[string]struct {
		send func(t *talk, n uint64)
		ends uint64 // the code; 0: not
	}{
		"in order": {send: func(t *talk, n uint64) {
			for off := uint64(0); off < streamWindow; off += streamWindow / 4 {
				t.say(dataFrame(nil, n, off, pattern[:streamWindow/4]))
			}
		}},
		"in small pieces": {send: func(t *talk, n uint64) {
			for off := uint64(0); off < streamWindow; off += 64 {
				t.say(dataFrame(nil, n, off, pattern[:64]))
			}
		}},
		"in bytes with gaps between them": {ends: session.CodeProtocol, send: func(t *talk, n uint64) {
			for off := uint64(1); off < streamWindow/8; off += 1000 {
				var p []byte
				for i := range uint64(500) {
					p = dataFrame(p, n, off+2*i, pattern[:1])
				}
				t.say(p)
			}
		}},
		"beyond the streams' windows": {ends: session.CodeFlowControl, send: func(t *talk, n uint64) {
			for off := uint64(0); off < 4*streamWindow; off += streamWindow {
				t.say(dataFrame(nil, n, off, pattern[:streamWindow]))
			}
		}},
		"beyond the last byte there is": {ends: session.CodeFlowControl, send: func(t *talk, n uint64) {
			t.say(dataFrame(nil, n, wire.MaxVarint-10, pattern[:10]))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				victim := w.node("victim", small(), r)
				w.serve(victim, nil)
				b := w.bystanders(r).befriend(w, victim, r)
				b.withstand(assault{
					play: func(ctx context.Context) {
						t := w.rogue("mallory", r).dial(victim.ID(), wire.Params{})
						for n := range uint64(maxStreams) {
							t.say(openFrame(nil, n))
							test.send(t, n)
							time.Sleep(latency)
						}
						if test.ends != 0 {
							if code := t.ended(); code != test.ends {
								w.Errorf("the session has ended with %#x, not %#x: %s", code, test.ends, t.why.Data)
							}
						}
						<-ctx.Done()
						if test.ends == 0 && !t.alive() {
							w.Errorf("the session has ended: %s", t.why.Data)
						}
					},
					may: []cost{
						{"StreamWindow", 1, 2*sessionWindow + 1<<20},
						{"MaxStreams", maxStreams, perStream},
						{"the attacker's own node", 1, perNode + perLink + perSimulatedConn},
					},
				})
			})
		})
	}
}

// A member opens streams as fast as it may and never uses them, resets them at once,
// or opens more than it may.
func TestFloodsOfStreams(t *testing.T) {
	const backlog = 8
	read := func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }
	for name, test := range map[string]struct {
		more   func(b []byte, n uint64) []byte // after STREAM_OPEN
		beyond uint64                          // of the limit
		serve  func(net.Conn)                  // what becomes of those that are accepted
		once   uint64                          // so many are opened at once
	}{
		"that nobody accepts":     {once: maxStreams},
		"that are accepted":       {once: backlog, serve: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
		"that are more than wait": {once: maxStreams, serve: read},
		"that are reset at once": {once: backlog, serve: read, more: func(b []byte, n uint64) []byte {
			return wire.AppendValues(b, wire.TypeResetStream, n<<1, uint64(stream.CodeCanceled), 0)
		}},
		"that are stopped and ended at once": {once: backlog, serve: read, more: func(b []byte, n uint64) []byte {
			b = wire.AppendValues(b, wire.TypeStopSending, n<<1, 0)
			return append(wire.AppendStreamHeader(b, n<<1, 0, 0, true, true), wire.TypePing)
		}},
		"beyond the limit": {once: maxStreams + 1, beyond: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				cfg := small()
				cfg.Backlog = backlog
				victim := w.node("victim", cfg, r)
				if test.serve != nil {
					w.serve(victim, test.serve)
				} else if ln, err := victim.Listen(atPort); err != nil {
					w.Fatal(err)
				} else {
					defer ln.Close()
				}
				b := w.bystanders(r).befriend(w, victim, r)
				var limit, refused atomic.Uint64
				limit.Store(maxStreams)
				var opened uint64
				b.withstand(assault{
					play: func(ctx context.Context) {
						t := w.rogue("mallory", r).dial(victim.ID(), wire.Params{})
						t.listen(func(fr *wire.Frame) {
							switch {
							case fr.Type == wire.TypeMaxStreams:
								limit.Store(max(limit.Load(), fr.Value))
							case fr.Type == wire.TypeResetStream && fr.Value == uint64(stream.CodeBacklogFull):
								refused.Add(1)
								t.reply = wire.AppendValues(t.reply, wire.TypeResetStream, fr.ID, 0, 0)
							}
						})
						for ctx.Err() == nil && t.alive() {
							var p []byte
							for n := uint64(0); n < test.once && opened < limit.Load()+test.beyond; n++ {
								p = openFrame(p, opened)
								if test.more != nil {
									p = test.more(p, opened)
								}
								opened++
							}
							if p != nil {
								t.say(p)
							}
							time.Sleep(latency)
						}
						time.Sleep(10 * latency)
						if test.beyond > 0 {
							if code := t.ended(); code != session.CodeStreamLimit {
								w.Errorf("the session has ended with %#x: %s", code, t.why.Data)
							}
						}
					},
					may: []cost{
						{"MaxStreams", maxStreams, perStream},
						{"the attacker's own node", 1, perNode + perLink + perSimulatedConn},
					},
				})
				w.Logf("%d streams, %d refused", opened, refused.Load())
				if test.serve == nil && test.beyond == 0 && refused.Load() != opened-backlog {
					w.Errorf("%d streams of %d were refused, with a backlog of %d", refused.Load(), opened, backlog)
				}
			})
		})
	}
}
