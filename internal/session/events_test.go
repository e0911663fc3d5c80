package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
)

// The longest sequence of events, and the most streams in it.
const (
	maxEvents       = 120
	maxEventStreams = 8
)

// eventPatience is how long an event waits for a stream.
const eventPatience = 50 * time.Millisecond

// A way is what one end of a stream has sent, and the other one read.
type way struct {
	from, to   *Stream // to is nil until the stream is accepted
	sent, read int
	salt       byte
	finished   bool // by CloseWrite or Close: what was sent is all
	deaf       bool // its reader wants no more, and may be told that this is the end
	aborted    bool // by that, or by Reset
}

// at is the byte at an offset of the way.
func (w *way) at(offset int) byte { return byte(offset) ^ byte(offset>>8) ^ w.salt }

// A play performs a sequence of events on the two sessions of a pair, and
// compares what users see with what they must.
type play struct {
	t       *testing.T
	p       *pair
	ends    [2]*Session
	streams []*[2]way // each by the end that sends: the one that has opened it, the other one
	ids     map[uint64]*[2]way
	over    bool // a session has ended: streams may fail
}

// A step is two bytes: what happens, and how much of it, or to whom.
type step struct{ what, arg byte }

// weathers is what may become of the wire.
var weathers = []simnet.Impairment{
	{Delay: 5 * time.Millisecond},
	{},
	{Delay: 20 * time.Millisecond, Loss: 0.1},
	{Delay: 20 * time.Millisecond, Loss: 0.4, Duplicate: 0.2},
	{Delay: 10 * time.Millisecond, Reorder: 0.3, Jitter: 10 * time.Millisecond},
	{Delay: 10 * time.Millisecond, Corrupt: 0.2},
	{Delay: 10 * time.Millisecond, Rate: 200_000, Queue: 20_000},
	{Down: true},
}

func (pl *play) weather(i byte) {
	w := weathers[int(i)%len(weathers)]
	if i&0x80 == 0 {
		pl.p.aOut.wire.Set(w)
	}
	if i&0x40 == 0 {
		pl.p.bOut.wire.Set(w)
	}
}

// perform makes one thing happen.
func (pl *play) perform(s step) {
	pl.over = pl.over || pl.ends[0].Err() != nil || pl.ends[1].Err() != nil
	end := int(s.arg >> 7)
	switch s.what % 15 {
	case 0:
		pl.open(end)
	case 1, 2:
		pl.accept(1-end, eventPatience)
	case 3:
		time.Sleep(time.Duration(s.arg) * 10 * time.Millisecond)
	case 4:
		pl.weather(s.arg)
	case 5:
		out, mtu := pl.p.aOut, []int{1200, 1400, 9000, frame.MaxPacket}[s.arg%4]
		if end == 1 {
			out = pl.p.bOut
		}
		pl.ends[end].SetPath(&wirePath{name: "another", self: out.self, wire: out.wire, mtu: mtu})
	case 6:
		_ = pl.ends[end].SendDatagram(make([]byte, s.arg))
		pl.ends[end].Recheck()
	case 7:
		ctx, cancel := context.WithTimeout(pl.t.Context(), eventPatience)
		defer cancel()
		e, to := pl.p.a, pl.p.b.self
		if end == 1 {
			e, to = pl.p.b, pl.p.a.self
		}
		_, _ = e.Dial(ctx, identity.Target{ID: to})
	case 14:
		if s.arg%8 == 0 {
			_ = pl.ends[end].CloseWithError(CodeNoError, "enough")
		}
	default:
		pl.onStream(s)
	}
}

// onStream makes something happen to one end of a stream.
func (pl *play) onStream(s step) {
	if len(pl.streams) == 0 {
		return
	}
	ways := pl.streams[int(s.arg)%len(pl.streams)]
	end := int(s.arg>>3) & 1
	out, in := &ways[end], &ways[1-end]
	if out.from == nil {
		return // not accepted yet
	}
	switch s.what % 15 {
	case 8, 9:
		pl.write(out, 1<<(s.arg>>4))
	case 10, 11:
		pl.read(in, 1<<(s.arg>>4), eventPatience)
	case 12:
		_ = out.from.CloseWrite()
		out.finished = true
	case 13:
		switch s.arg >> 4 {
		case 0, 1, 2:
			_ = out.from.Close()
			out.finished, in.deaf, in.aborted = true, true, true
		case 3, 4:
			_ = out.from.CloseRead()
			in.deaf, in.aborted = true, true
		case 5:
			_ = out.from.Reset(7)
			out.aborted, in.aborted = true, true
		}
	}
}

func (pl *play) open(end int) {
	if len(pl.streams) == maxEventStreams {
		return
	}
	ctx, cancel := context.WithTimeout(pl.t.Context(), eventPatience)
	defer cancel()
	st, err := pl.ends[end].OpenStream(ctx, 80)
	if err != nil {
		pl.forgive(err)
		return
	}
	n := byte(len(pl.streams))
	ways := &[2]way{{from: st, salt: 2 * n}, {to: st, salt: 2*n + 1}}
	pl.streams = append(pl.streams, ways)
	pl.ids[st.ID()] = ways
}

// accept takes the next stream that an end has got.
func (pl *play) accept(end int, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(pl.t.Context(), patience)
	defer cancel()
	st, err := pl.ends[end].AcceptStream(ctx)
	if err != nil {
		pl.forgive(err)
		return false
	}
	_ = st.Accept()
	ways := pl.ids[st.ID()]
	if ways == nil {
		pl.t.Errorf("accepted stream %d, which nobody has opened", st.ID())
		return false
	}
	ways[0].to, ways[1].from = st, st
	return true
}

func (pl *play) write(w *way, n int) {
	b := make([]byte, n)
	for i := range b {
		b[i] = w.at(w.sent + i)
	}
	_ = w.from.SetWriteDeadline(time.Now().Add(eventPatience))
	n, err := w.from.Write(b)
	w.sent += n
	if err != nil && !w.finished && !w.aborted {
		pl.forgive(err)
	}
}

// read reads at most n bytes and reports whether there may be more.
func (pl *play) read(w *way, n int, patience time.Duration) bool {
	b := make([]byte, n)
	_ = w.to.SetReadDeadline(time.Now().Add(patience))
	n, err := w.to.Read(b)
	want := make([]byte, n)
	for i := range want {
		want[i] = w.at(w.read + i)
	}
	if !bytes.Equal(b[:n], want) {
		pl.t.Errorf("bytes %d to %d are not what was sent", w.read, w.read+n)
	}
	switch w.read += n; {
	case w.read > w.sent:
		pl.t.Errorf("read %d bytes, only %d were sent", w.read, w.sent)
	case err == nil:
		return true
	case err == io.EOF && !w.deaf && (!w.finished || w.read != w.sent):
		pl.t.Errorf("end of file after %d of %d bytes (finished: %t)", w.read, w.sent, w.finished)
	case err != io.EOF && !w.aborted:
		pl.forgive(err)
	}
	return false
}

// forgive accepts errors that events explain: time ran out, or a session ended.
func (pl *play) forgive(err error) {
	pl.over = pl.over || pl.ends[0].Err() != nil || pl.ends[1].Err() != nil
	if !pl.over && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		pl.t.Errorf("without a reason: %v", err)
	}
}

// settle lets everything arrive that was sent on streams that are whole.
func (pl *play) settle() {
	pl.weather(0)
	for range 2 {
		for pl.accept(0, 3*time.Second) || pl.accept(1, 3*time.Second) {
			continue
		}
	}
	for _, ways := range pl.streams {
		for i := range ways {
			w := &ways[i]
			if w.aborted || w.from == nil || w.to == nil {
				continue
			}
			_ = w.from.CloseWrite()
			w.finished = true
			for pl.read(w, 4096, time.Minute) {
				continue
			}
			if w.read != w.sent && !pl.over {
				pl.t.Errorf("%d of %d bytes arrived", w.read, w.sent)
			}
		}
	}
	if pl.over {
		return
	}
	for _, ways := range pl.streams {
		for _, w := range ways {
			if w.from != nil {
				_ = w.from.Close()
			}
		}
	}
}

// perform plays a sequence of events from its beginning to the end.
func perform(t *testing.T, events []byte) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, weathers[0], weathers[0], 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		pl := &play{t: t, p: p, ends: [2]*Session{a, b}, ids: make(map[uint64]*[2]way)}
		for i := 0; i+1 < len(events) && i < 2*maxEvents; i += 2 {
			pl.perform(step{events[i], events[i+1]})
		}
		pl.settle()
	})
}

// someEvents returns a sequence that begins with a stream.
func someEvents(seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 9))
	events := []byte{0, 0, 1, 0}
	for range rng.IntN(2 * maxEvents) {
		events = append(events, byte(rng.UintN(256)))
	}
	return events
}

func TestAnySequenceOfEventsKeepsStreamsWhole(t *testing.T) {
	for seed := range uint64(seeds(300)) {
		perform(t, someEvents(seed))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzEvents(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(someEvents(seed))
	}
	f.Fuzz(perform)
}
