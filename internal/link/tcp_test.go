package link

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/weftnet/weft/internal/frame"
)

// listen accepts links on loopback TCP and hands them to serve until the test
// ends.
func listen(tb testing.TB, serve func(*StreamConn)) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serve(NewStreamConn(conn))
		}
	}()
	tb.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// tcpPair returns two links on loopback TCP that a test closes.
func tcpPair(tb testing.TB, onA, onB func(*Link, *frame.Frame)) (a, b *Link) {
	tb.Helper()
	links := make(chan *Link, 1)
	addr := listen(tb, func(c *StreamConn) {
		if _, err := Server(tb.Context(), c, 42, accept); err != nil {
			tb.Error(err)
		}
		l := New(c, Config{OnFrame: onB})
		l.Start()
		links <- l
	})
	fc, err := DialTCP(&net.Dialer{}, testHello)(tb.Context(), "tcp://"+addr)
	if err != nil {
		tb.Fatal(err)
	}
	a = New(fc, Config{OnFrame: onA})
	a.Start()
	b = <-links
	tb.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return a, b
}

func TestLinkOverTCP(t *testing.T) {
	in := newInbox()
	a, b := tcpPair(t, newInbox().onFrame, in.onFrame)
	const n = 500
	for i := range n {
		if err := a.Send(newFrame("x", i*131%65536)); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 { // the queue takes 4 MiB
			for range 50 {
				<-in.frames
			}
		}
	}
	if err := a.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	<-b.Done()
	if out, in := a.Counters(), b.Counters(); out.FramesOut != n || in.BytesIn != out.BytesOut {
		t.Errorf("counters say %+v out and %+v in", out, in)
	}
}

func TestRefusalOverTCPReachesABusyDialler(t *testing.T) {
	addr := listen(t, func(c *StreamConn) {
		_, _ = Server(t.Context(), c, 42, func(Hello) Status { return StatusBusy })
	})
	for range 20 {
		fc, err := DialTCP(&net.Dialer{}, testHello)(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		l := New(fc, Config{OnFrame: newInbox().onFrame})
		l.Start()
		for range 20 {
			_ = l.Send(newFrame("handshake", 1500))
		}
		<-l.Done()
		if refused, ok := errors.AsType[*RefusedError](l.Err()); !ok || refused.Status != StatusBusy {
			t.Errorf("the link ended with %v, want that the relay is busy", l.Err())
		}
	}
}

func TestDialTCPReportsWhy(t *testing.T) {
	dial := DialTCP(&net.Dialer{}, testHello)
	if _, err := dial(t.Context(), "gopher://127.0.0.1:70"); err == nil {
		t.Error("an unknown scheme is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dial(ctx, "127.0.0.1:1"); err == nil {
		t.Error("a cancelled dial is no error")
	}
}

func TestKernelKnowsWhenTheOtherEndAcknowledged(t *testing.T) {
	a, _ := tcpPair(t, newInbox().onFrame, newInbox().onFrame)
	if a.ack == nil {
		t.Fatal("a dialled TCP link does not reach its conn's powers")
	}
	if d, ok := a.ack.sinceAck(); ok && d > DefaultDeadAfter {
		t.Errorf("last acknowledgement was %v ago", d)
	}
}

// gate lets a benchmark wait until a link is ready.
type gate chan struct{}

func (g gate) Wake() {
	select {
	case g <- struct{}{}:
	default:
	}
}

func benchmarkThroughput(b *testing.B, size int) {
	done := make(chan struct{})
	x, _ := tcpPair(b, newInbox().onFrame, func(_ *Link, f *frame.Frame) {
		end := f.HopLimit() == 1
		f.Release()
		if end {
			close(done)
		}
	})
	g := make(gate, 1)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for !x.Ready(g) {
			<-g
		}
		if err := x.Send(frame.New(size)); err != nil {
			b.Fatal(err)
		}
	}
	last := frame.New(0)
	last.SetHopLimit(1)
	_ = x.Send(last)
	<-done
}

func BenchmarkThroughput60KiB(b *testing.B) { benchmarkThroughput(b, 60<<10) }
func BenchmarkThroughput64B(b *testing.B)   { benchmarkThroughput(b, 64) }

func BenchmarkPingPong64B(b *testing.B) {
	back := make(chan struct{}, 1)
	x, _ := tcpPair(b,
		func(_ *Link, f *frame.Frame) { f.Release(); back <- struct{}{} },
		func(l *Link, f *frame.Frame) { _ = l.Send(f) })
	b.ReportAllocs()
	for b.Loop() {
		_ = x.Send(frame.New(64))
		<-back
	}
}
