package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
)

// pair is two links on an in-memory conn.
type pair struct {
	a, b         *Link
	connA, connB *memConn
	inA, inB     *inbox
}

func newPair(buffer int, cfg Config) *pair {
	p := &pair{inA: newInbox(), inB: newInbox()}
	p.connA, p.connB = memPipe(buffer)
	cfgA, cfgB := cfg, cfg
	cfgA.OnFrame, cfgB.OnFrame = p.inA.onFrame, p.inB.onFrame
	p.a = New(NewStreamConn(p.connA), cfgA)
	p.b = New(NewStreamConn(p.connB), cfgB)
	p.a.Start()
	p.b.Start()
	return p
}

func (p *pair) close() {
	_ = p.a.Close()
	_ = p.b.Close()
}

func TestFramesArriveInOrder(t *testing.T) { synctest.Test(t, testFramesArriveInOrder) }
func testFramesArriveInOrder(t *testing.T) {
	p := newPair(10000, Config{QueueBytes: 64 << 20}) // room for all, however slow the writer
	defer p.close()
	var want []string
	for i := range 500 {
		s := fmt.Sprintf("frame %d %s", i, strings.Repeat("x", i*17%4000))
		want = append(want, s)
		if err := p.a.Send(newFrame(s, 0)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	if got := p.inB.all(); !slices.Equal(got, want) {
		t.Errorf("%d frames arrived that differ from the %d sent", len(got), len(want))
	}
	out, in := p.a.Counters(), p.b.Counters()
	if out.FramesOut != 500 || in.FramesIn != 500 || out.BytesOut != in.BytesIn || out.QueuedFrames != 0 || out.QueuedBytes != 0 {
		t.Errorf("counters say %+v out and %+v in", out, in)
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) { synctest.Test(t, testFullQueueDropsAndCounts) }
func testFullQueueDropsAndCounts(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		size int
		fit  int
	}{
		{"by frames", Config{QueueFrames: 10}, 100, 10},
		{"by bytes", Config{QueueBytes: 5 * 2048}, 1000, 5},
		{"one frame is always taken", Config{QueueBytes: 1}, 1000, 1},
	} {
		p := newPair(1, tt.cfg)
		p.connA.out.set(func() { p.connA.out.limit = 0 }) // takes nothing
		for i := range tt.fit {
			if err := p.a.Send(newFrame("x", tt.size)); err != nil {
				t.Fatalf("%s: frame %d: %v", tt.name, i, err)
			}
		}
		synctest.Wait()
		for range 3 {
			if err := p.a.Send(newFrame("x", tt.size)); !errors.Is(err, ErrQueueFull) {
				t.Errorf("%s: error is %v, want ErrQueueFull", tt.name, err)
			}
		}
		if c := p.a.Counters(); c.DroppedQueue != 3 || c.QueuedFrames != tt.fit {
			t.Errorf("%s: counters are %+v, want 3 drops and %d queued", tt.name, c, tt.fit)
		}
		p.close()
	}
}

func TestWakerIsWokenOnceBelowTheLowWaterMark(t *testing.T) {
	synctest.Test(t, testWakerIsWokenOnce)
}
func testWakerIsWokenOnce(t *testing.T) {
	p := newPair(1<<20, Config{QueueFrames: 10})
	defer p.close()
	w := newWakes()
	if !p.a.Ready(w) {
		t.Fatal("an empty link is not ready")
	}
	p.connA.out.set(func() { p.connA.out.limit = 0 })
	for range 6 {
		_ = p.a.Send(newFrame("x", 10))
	}
	synctest.Wait()
	if first, second := p.a.Ready(w), p.a.Ready(w); first || second {
		t.Fatal("a link that is more than half full is ready")
	}
	p.connA.out.set(func() { p.connA.out.limit = 1 << 20 })
	synctest.Wait()
	if len(w.c) != 1 {
		t.Errorf("woken %d times, want once", len(w.c))
	}
	if !p.a.Ready(w) {
		t.Error("a drained link is not ready")
	}
}

func TestWakerIsWokenWhenTheLinkEnds(t *testing.T) { synctest.Test(t, testWakerIsWokenAtTheEnd) }
func testWakerIsWokenAtTheEnd(t *testing.T) {
	p := newPair(1, Config{QueueFrames: 2})
	defer p.close()
	w := newWakes()
	p.connA.out.set(func() { p.connA.out.limit = 0 })
	_ = p.a.Send(newFrame("x", 10))
	_ = p.a.Send(newFrame("x", 10))
	if p.a.Ready(w) {
		t.Fatal("a full link is ready")
	}
	_ = p.a.Close()
	if len(w.c) != 1 || p.a.Ready(w) {
		t.Errorf("woken %d times, ready %v; want once and not ready", len(w.c), p.a.Ready(w))
	}
	if c := p.a.Counters(); c.DroppedClosed != 2 || c.QueuedFrames != 0 || c.QueuedBytes != 0 {
		t.Errorf("counters are %+v, want both frames dropped and nothing queued", c)
	}
}

func TestClosedLinkRefusesFrames(t *testing.T) { synctest.Test(t, testClosedLinkRefusesFrames) }
func testClosedLinkRefusesFrames(t *testing.T) {
	var downs []error
	ca, cb := memPipe(1000)
	defer cb.Close()
	l := New(NewStreamConn(ca), Config{
		OnFrame: newInbox().onFrame,
		OnDown:  func(_ *Link, err error) { downs = append(downs, err) },
	})
	if err := l.Send(newFrame("x", 0)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("before Start: %v", err)
	}
	l.Start()
	_ = l.Close()
	_ = l.Close()
	if err := l.Send(newFrame("x", 0)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: %v, want net.ErrClosed", err)
	}
	if len(downs) != 1 || !errors.Is(downs[0], ErrClosed) || !errors.Is(l.Err(), ErrClosed) {
		t.Errorf("OnDown got %v and Err is %v, want ErrClosed once", downs, l.Err())
	}
}

func TestLinkThatWasNeverStartedCloses(t *testing.T) {
	ca, _ := memPipe(1)
	l := New(NewStreamConn(ca), Config{})
	_ = l.Close()
	l.Start()
	if l.Up() {
		t.Error("a closed link started")
	}
}

func TestDrainDeliversWhatIsQueued(t *testing.T) { synctest.Test(t, testDrainDelivers) }
func testDrainDelivers(t *testing.T) {
	p := newPair(100, Config{})
	defer p.close()
	for i := range 100 {
		_ = p.a.Send(newFrame(fmt.Sprint(i), 1000))
	}
	if err := p.a.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(p.inB.all()); got != 100 {
		t.Errorf("%d frames arrived, want 100", got)
	}
	<-p.b.Done()
	if err := p.b.Err(); !errors.Is(err, io.EOF) {
		t.Errorf("the other end says %v, want io.EOF", err)
	}
}

func TestDrainGivesUpWithItsContext(t *testing.T) { synctest.Test(t, testDrainGivesUp) }
func testDrainGivesUp(t *testing.T) {
	p := newPair(1, Config{})
	defer p.close()
	p.connA.out.set(func() { p.connA.out.limit = 0 })
	_ = p.a.Send(newFrame("x", 10))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := p.a.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain returned %v, want the context's error", err)
	}
	if p.a.Up() {
		t.Error("the link is still up")
	}
}

func TestGarbageEndsOnlyItsOwnLink(t *testing.T) { synctest.Test(t, testGarbage) }
func testGarbage(t *testing.T) {
	other := newPair(1000, Config{})
	defer other.close()
	for name, b := range map[string][]byte{
		"another version": append([]byte{0x20}, make([]byte, 30)...),
		"truncated":       {0x10, 1, 0},
		"text":            []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
	} {
		ca, cb := memPipe(1000)
		in := newInbox()
		l := New(NewStreamConn(ca), Config{OnFrame: in.onFrame})
		l.Start()
		_, _ = cb.Write(b)
		_ = cb.Close()
		<-l.Done()
		if l.Err() == nil || len(in.all()) != 0 {
			t.Errorf("%s: error is %v", name, l.Err())
		}
	}
	_ = other.a.Send(newFrame("still there", 0))
	synctest.Wait()
	if got := other.inB.all(); len(got) != 1 {
		t.Errorf("the other link delivered %q", got)
	}
}

func TestUnknownFrameTypesArePassedOn(t *testing.T) { synctest.Test(t, testUnknownTypes) }
func testUnknownTypes(t *testing.T) {
	p := newPair(1000, Config{})
	defer p.close()
	f := newFrame("future", 0)
	f.SetType(9)
	_ = p.a.Send(f)
	synctest.Wait()
	if got := p.inB.all(); len(got) != 1 {
		t.Errorf("delivered %q, want the frame for the switch to judge", got)
	}
}

func TestOverlongPingIsNotAnswered(t *testing.T) { synctest.Test(t, testOverlongPing) }
func testOverlongPing(t *testing.T) {
	p := newPair(100000, Config{})
	defer p.close()
	f := newFrame("ping", maxPing+1)
	f.SetType(frame.TypePing)
	_ = p.a.Send(f)
	g := newFrame("pong", 3)
	g.SetType(frame.TypePong)
	_ = p.a.Send(g)
	synctest.Wait()
	if c := p.b.Counters(); c.DroppedMalformed != 2 || c.BytesOut != 0 {
		t.Errorf("counters are %+v, want a malformed ping and a malformed pong", c)
	}
}

func TestOnlyTheOtherEndHangsUp(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("link: the other end closed the link: %w", io.EOF), true},
		{fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), true},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, true},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, true},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}, false},
		{ErrSilent, false},
		{ErrStalled, false},
		{ErrClosed, false},
		{nil, false},
	} {
		if got := HungUp(tt.err); got != tt.want {
			t.Errorf("HungUp(%v) is %v, want %v", tt.err, got, tt.want)
		}
	}
}
