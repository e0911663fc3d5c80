package simnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/racetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}

// arrived is a frame at the end of a wire.
type arrived struct {
	after  time.Duration
	packet string
}

// run sends n numbered frames of a size, one every millisecond, and returns
// what arrives.
func run(imp Impairment, seed uint64, n, size int) ([]arrived, WireCounters) {
	var got []arrived
	began := time.Now()
	w := NewWire(imp, seed, func(f *frame.Frame) {
		got = append(got, arrived{time.Since(began), strings.TrimRight(string(f.Packet()), "\x00")})
		f.Release()
	})
	for i := range n {
		w.Send(numbered(i, size))
		<-time.After(time.Millisecond)
	}
	<-time.After(time.Hour)
	w.Close()
	return got, w.Counters()
}

func numbered(i, size int) *frame.Frame {
	s := fmt.Sprintf("%05d", i)
	f := frame.New(max(len(s), size))
	clear(f.Packet())
	copy(f.Packet(), s)
	return f
}

func TestWirePerfect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, c := run(Impairment{Delay: 20 * time.Millisecond}, 1, 100, 10)
		for i, a := range got {
			if want := time.Duration(i+20) * time.Millisecond; a.after != want || a.packet != fmt.Sprintf("%05d", i) {
				t.Errorf("frame %d is %q after %v, want it after %v", i, a.packet, a.after, want)
			}
		}
		if c.Delivered != 100 || c.BytesDelivered != 3000 || c.Sent != 100 || c.BytesSent != 3000 || c.MaxPacketLen != 10 {
			t.Errorf("counters are %+v", c)
		}
	})
}

func TestWireImpairments(t *testing.T) {
	const n = 2000
	for _, tt := range []struct {
		name  string
		imp   Impairment
		check func(got []arrived, c WireCounters) bool
	}{
		{"loss", Impairment{Loss: 0.1}, func(got []arrived, c WireCounters) bool {
			return c.Lost > 150 && c.Lost < 250 && len(got) == n-int(c.Lost)
		}},
		{"duplicate", Impairment{Duplicate: 0.1}, func(got []arrived, c WireCounters) bool {
			return c.Duplicated > 150 && c.Duplicated < 250 && len(got) == n+int(c.Duplicated)
		}},
		{"reorder", Impairment{Delay: 40 * time.Millisecond, Reorder: 0.1}, func(got []arrived, c WireCounters) bool {
			return c.Reordered > 150 && c.Reordered < 250 && len(got) == n && !sorted(got)
		}},
		{"jitter keeps the order", Impairment{Delay: 40 * time.Millisecond, Jitter: 30 * time.Millisecond}, func(got []arrived, _ WireCounters) bool {
			return len(got) == n && sorted(got)
		}},
		{"corrupt", Impairment{Corrupt: 0.1}, func(got []arrived, c WireCounters) bool {
			return c.Corrupted > 150 && c.Corrupted < 250 && len(got) == n
		}},
		{"too big", Impairment{MaxPacket: 99}, func(got []arrived, c WireCounters) bool {
			return c.LostTooBig == n && len(got) == 0
		}},
		{"just small enough", Impairment{MaxPacket: 100}, func(got []arrived, _ WireCounters) bool {
			return len(got) == n
		}},
		{"down", Impairment{Down: true}, func(got []arrived, c WireCounters) bool {
			return c.LostDown == n && len(got) == 0
		}},
		{"rate", Impairment{Rate: 120 * 500}, func(got []arrived, _ WireCounters) bool { // half of what is sent
			return len(got) == n && got[n-1].after > 3990*time.Millisecond && got[n-1].after < 4010*time.Millisecond
		}},
		{"queue", Impairment{Rate: 120 * 500, Queue: 12000}, func(got []arrived, c WireCounters) bool {
			return c.LostQueue > 850 && c.LostQueue < 1000 && len(got) == n-int(c.LostQueue)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, c := run(tt.imp, 1, n, 100)
				if !tt.check(got, c) {
					t.Errorf("%d frames arrived; counters are %+v", len(got), c)
				}
			})
		})
	}
}

func sorted(got []arrived) bool {
	return slices.IsSortedFunc(got, func(a, b arrived) int { return strings.Compare(a.packet, b.packet) })
}

func TestOneSeedGivesOneRun(t *testing.T) {
	imp := Impairment{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.1, Reorder: 0.1, Duplicate: 0.1, Corrupt: 0.1}
	runs := make([][]arrived, 3)
	for i, seed := range []uint64{7, 7, 8} {
		synctest.Test(t, func(*testing.T) { runs[i], _ = run(imp, seed, 500, 10) })
	}
	if !slices.Equal(runs[0], runs[1]) {
		t.Error("two runs with one seed differ")
	}
	if slices.Equal(runs[0], runs[2]) {
		t.Error("two seeds give one run")
	}
}

func TestWireGoesDownAndComesBack(t *testing.T) { synctest.Test(t, testDownAndBack) }
func testDownAndBack(t *testing.T) {
	var got int
	w := NewWire(Impairment{Delay: time.Second}, 1, func(f *frame.Frame) { got++; f.Release() })
	w.Send(numbered(0, 0))
	w.Set(Impairment{Delay: time.Second, Down: true})
	<-time.After(2 * time.Second)
	w.Set(Impairment{Delay: time.Second})
	w.Send(numbered(1, 0))
	<-time.After(2 * time.Second)
	synctest.Wait()
	if got != 1 || w.Counters().LostDown != 1 {
		t.Errorf("%d frames arrived, counters are %+v; want the one on the way lost", got, w.Counters())
	}
	w.Send(numbered(2, 0))
	w.Close()
	w.Send(numbered(3, 0))
	<-time.After(2 * time.Second)
	synctest.Wait()
	if got != 1 {
		t.Error("a closed wire delivers")
	}
}

func TestPipeCarriesBothWaysAndEnds(t *testing.T) { synctest.Test(t, testPipe) }
func testPipe(t *testing.T) {
	a, b := NewPipe(Impairment{Delay: time.Second}, Impairment{Delay: 2 * time.Second}, 1)
	f := numbered(1, 0)
	defer f.Release()
	_ = a.WriteFrames([]*frame.Frame{f, f})
	_ = b.WriteFrames([]*frame.Frame{f})
	_ = a.Close()
	for range 2 {
		g, err := b.ReadFrame()
		if err != nil {
			t.Fatalf("frames sent before Close are lost: %v", err)
		}
		g.Release()
	}
	if _, err := b.ReadFrame(); err != io.EOF {
		t.Errorf("after the end the other side reads %v, want io.EOF", err)
	}
	if _, err := a.ReadFrame(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("this side reads %v, want net.ErrClosed", err)
	}
	if err := a.WriteFrames([]*frame.Frame{f}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("this side writes %v, want net.ErrClosed", err)
	}
}

func TestBackpressureBlocksTheWriter(t *testing.T) { synctest.Test(t, testBackpressure) }
func testBackpressure(t *testing.T) {
	a, b := NewPipe(Impairment{Rate: 1000, Queue: 1000, Backpressure: true}, Impairment{}, 1)
	defer b.Close()
	f := numbered(0, 480) // half a second
	defer f.Release()
	began := time.Now()
	for range 20 {
		_ = a.WriteFrames([]*frame.Frame{f})
	}
	if d := time.Since(began); d != 9*time.Second {
		t.Errorf("writing 10 KB at 1 KB/s into a queue of 1 KB took %v, want 9 s", d)
	}
	go func() {
		<-time.After(100 * time.Millisecond)
		_ = a.Close()
	}()
	if err := a.WriteFrames([]*frame.Frame{f, f, f}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close leaves the writer with %v", err)
	}
}

// echo accepts links on l and sends back what comes in.
func echo(l *Listener) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					f, err := c.ReadFrame()
					if err != nil {
						return
					}
					_ = c.WriteFrames([]*frame.Frame{f})
					f.Release()
				}
			}()
		}
	}()
	return func() { _ = l.Close(); <-done }
}

func TestHostsDialEachOther(t *testing.T) { synctest.Test(t, testHosts) }
func testHosts(t *testing.T) {
	n := NewNetwork(1)
	defer n.Close()
	n.SetDefault(Impairment{Delay: 10 * time.Millisecond})
	n.SetPair("a", "b", Impairment{Delay: 30 * time.Millisecond})
	l, err := n.Listen("b:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo(l)()
	began := time.Now()
	c, err := n.Dial(t.Context(), "a", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if d := time.Since(began); d != 40*time.Millisecond {
		t.Errorf("dialling took %v, want a round trip of 40 ms", d)
	}
	f := numbered(1, 0)
	defer f.Release()
	began = time.Now()
	_ = c.WriteFrames([]*frame.Frame{f})
	g, err := c.ReadFrame()
	if err != nil || string(g.Packet()) != "00001" {
		t.Fatalf("read %v, %v", g, err)
	}
	g.Release()
	if d := time.Since(began); d != 40*time.Millisecond {
		t.Errorf("the echo took %v, want 40 ms", d)
	}
	if c.RemoteAddr().String() != l.Addr().String() || c.RemoteAddr().Network() != "sim" {
		t.Errorf("remote address is %v", c.RemoteAddr())
	}
	if _, err := n.Listen(l.Addr().String()); err == nil {
		t.Error("an address is taken twice")
	}
	if _, err := n.Dial(t.Context(), "a", "b:1"); err == nil {
		t.Error("a host without a listener accepts")
	}
}

func TestCutHostIsReachedOnceItHeals(t *testing.T) { synctest.Test(t, testCutHost) }
func testCutHost(t *testing.T) {
	n := NewNetwork(1)
	defer n.Close()
	l, _ := n.Listen("b:1")
	defer echo(l)()
	n.Cut("b")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := n.Dial(ctx, "a", "b:1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dialling a cut host gives %v, want a timeout", err)
	}
	time.AfterFunc(5*time.Second, func() { n.Heal("b") })
	began := time.Now()
	c, err := n.Dial(t.Context(), "a", "b:1")
	if err != nil || time.Since(began) != 7*time.Second {
		t.Fatalf("dialling took %v with %v, want the third retry after 7 s", time.Since(began), err)
	}
	n.Cut("a")
	f := numbered(1, 0)
	defer f.Release()
	_ = c.WriteFrames([]*frame.Frame{f})
	if c.Wire().Counters().LostDown != 1 {
		t.Errorf("counters are %+v, want the frame lost", c.Wire().Counters())
	}
	n.Heal("a")
	_ = c.WriteFrames([]*frame.Frame{f})
	g, err := c.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	g.Release()
}

func TestKilledHostResetsItsConns(t *testing.T) { synctest.Test(t, testKill) }
func testKill(t *testing.T) {
	n := NewNetwork(1)
	defer n.Close()
	l, _ := n.Listen("b:1")
	defer echo(l)()
	c, err := n.Dial(t.Context(), "a", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	n.Kill("b")
	if _, err := c.ReadFrame(); err == nil || err == io.EOF {
		t.Errorf("the other end reads %v, want a reset", err)
	}
	if _, err := n.Dial(t.Context(), "a", "b:1"); err == nil {
		t.Error("a killed host accepts")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept returns %v, want net.ErrClosed", err)
	}
}

func TestLinksRunOnTheNetwork(t *testing.T) { synctest.Test(t, testLinks) }
func testLinks(t *testing.T) {
	n := NewNetwork(1)
	defer n.Close()
	n.SetDefault(Impairment{Delay: 10 * time.Millisecond, Loss: 0.5})
	l, _ := n.Listen("relay:1")
	defer l.Close()
	hello := link.Hello{Network: link.NetworkTag{1}, Node: 7}
	links := make(chan *link.Link, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		h, err := link.Server(t.Context(), c, 42, func(link.Hello) link.Status { return link.StatusOK })
		if err != nil || h != hello {
			t.Errorf("the relay read %+v, %v", h, err)
		}
		b := link.New(c, link.Config{OnFrame: func(l *link.Link, f *frame.Frame) { _ = l.Send(f) }})
		b.Start()
		links <- b
	}()
	got := 0
	d := link.NewDialer(link.DialerConfig{
		Addr: "tcp://relay:1",
		Dial: n.Dialer("node", hello),
		Attach: func(fc link.FrameConn) link.Attached {
			a := link.New(fc, link.Config{OnFrame: func(_ *link.Link, f *frame.Frame) { got++; f.Release() }})
			a.Start()
			return a
		},
	})
	b := <-links
	a := d.State().Link.(*link.Link)
	for range 1000 {
		_ = a.Send(numbered(1, 0))
		<-time.After(time.Millisecond)
	}
	<-time.After(time.Second)
	_ = d.Close()
	if got < 200 || got > 300 {
		t.Errorf("%d of 1000 frames came back, want about a quarter", got)
	}
	<-b.Done()
	if !errors.Is(b.Err(), io.EOF) {
		t.Errorf("the relay's link ended with %v", b.Err())
	}
}

func TestKilledHostThatIsCutResetsNobody(t *testing.T) { synctest.Test(t, testKillCut) }
func testKillCut(t *testing.T) {
	n := NewNetwork(1)
	defer n.Close()
	l, _ := n.Listen("b:1")
	defer echo(l)()
	c, err := n.Dial(t.Context(), "a", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	n.Cut("b")
	n.Kill("b")
	ended := make(chan error, 1)
	go func() {
		_, err := c.ReadFrame()
		ended <- err
	}()
	<-time.After(time.Hour)
	select {
	case err := <-ended:
		t.Errorf("the other end reads %v, want to wait", err)
	default:
	}
	n.Kill("a")
	if err := <-ended; err == nil {
		t.Error("a killed host reads")
	}
}
