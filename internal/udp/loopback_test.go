package udp

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/racetest"
)

// window is how many frames a test lets be on their way at once: few enough for
// any kernel's receive buffer.
const window = 64

func TestFramesOfAFlowArriveInOrder(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			in := newInbox()
			to := open(t, k.config(t, Config{Addr: loopback4, OnFrame: in.onFrame}))
			from := open(t, k.config(t, Config{Addr: loopback4}))
			fl := from.Flow(to.LocalAddr())
			rng := rand.New(rand.NewPCG(1, 2))
			num := uint64(0)
			for range 40 {
				var sizes []int
				n := 8 + rng.IntN(1400)
				for range window {
					if rng.IntN(6) == 0 { // runs of equal size, shorter and longer ones between
						n = 8 + rng.IntN(1400)
					}
					send(t, fl, numbered(num+uint64(len(sizes)), n))
					sizes = append(sizes, n)
				}
				for _, n := range sizes {
					if g := <-in; g.num != num || g.len != n || g.fl.Addr() != from.LocalAddr() {
						t.Fatalf("frame %d of %d bytes from %v, want %d of %d from %v", g.num, g.len, g.fl, num, n, from.LocalAddr())
					}
					num++
				}
			}
			drain(t, from)
			c := from.Counters()
			if c.FramesOut != num || c.SegmentsRefused != 0 {
				t.Errorf("counters are %+v, want %d frames out", c, num)
			}
			if in := to.Counters(); in.FramesIn != num || in.BytesIn != c.BytesOut {
				t.Errorf("received %+v, sent %d bytes", in, c.BytesOut)
			}
		})
	}
}

func TestEverySizeArrives(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			in, others := newInbox(), make(chan int, 100)
			to := open(t, k.config(t, Config{Addr: loopback4, OnFrame: in.onFrame, OnOther: func(_ netip.AddrPort, b []byte) { others <- len(b) }}))
			from := open(t, k.config(t, Config{Addr: loopback4}))
			fl := from.Flow(to.LocalAddr())
			for _, n := range []int{0, 1, 7, 8, 491, 492, 493, 1199, 1200, 1201, 1452, 1472, 2028, 8972, 16364, 32768, 65000, 65486, MaxPacket} {
				send(t, fl, numbered(uint64(n), n))
				if g := <-in; g.len != n || g.num != uint64(n) && n >= 8 {
					t.Errorf("packet of %d bytes came with %d (%x)", n, g.len, g.num)
				}
			}
			for _, n := range []int{1, 2, 19, 20, 1200, 65506, MaxDatagram} {
				if err := from.WriteTo(make([]byte, n), to.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				if got := <-others; got != n {
					t.Errorf("datagram of %d bytes came with %d", n, got)
				}
			}
		})
	}
}

func TestRunsOfEqualSizeArriveWhereverTheKernelCuts(t *testing.T) {
	for _, size := range []int{8, 512, 1200, 1400, 1452, 9000, 32480} {
		for _, count := range []int{1, 2, 45, 63, 64, 65} {
			in := newInbox()
			to := open(t, Config{Addr: loopback4, OnFrame: in.onFrame})
			from := open(t, Config{Addr: loopback4})
			fl := from.Flow(to.LocalAddr())
			if size > 2000 {
				count = min(count, 5)
			}
			for i := range count {
				send(t, fl, numbered(uint64(i), size))
			}
			send(t, fl, numbered(uint64(count), 8))
			for i := range count + 1 {
				want := size
				if i == count {
					want = 8
				}
				if g := <-in; g.num != uint64(i) || g.len != want {
					t.Fatalf("%d of %d bytes: frame %d came as %d with %d bytes", count, size, i, g.num, g.len)
				}
			}
			to.Close()
			from.Close()
		}
	}
}

func TestFlowsToManyDestinationsStayApart(t *testing.T) {
	const peers = 5
	from := open(t, Config{Addr: loopback4})
	var ins [peers]inbox
	var flows [peers]*Flow
	for i := range peers {
		ins[i] = newInbox()
		flows[i] = from.Flow(open(t, Config{Addr: loopback4, OnFrame: ins[i].onFrame}).LocalAddr())
	}
	for round := range uint64(20) {
		for n := range uint64(window) {
			for i, fl := range flows {
				send(t, fl, numbered((round*window+n)<<8|uint64(i), 1200))
			}
		}
		for i, in := range ins {
			for n := range uint64(window) {
				if g, want := <-in, (round*window+n)<<8|uint64(i); g.num != want {
					t.Fatalf("peer %d got frame %x, want %x", i, g.num, want)
				}
			}
		}
	}
}

func TestOneSocketCarriesBothFamilies(t *testing.T) {
	needIPv6(t)
	in := newInbox()
	both := open(t, Config{OnFrame: in.onFrame})
	for _, own := range []netip.AddrPort{loopback4, loopback6} {
		back := newInbox()
		single := open(t, Config{Addr: own, OnFrame: back.onFrame})
		for i := range uint64(window) {
			send(t, single.Flow(netip.AddrPortFrom(own.Addr(), both.LocalAddr().Port())), numbered(i, 1200))
		}
		for i := range uint64(window) {
			g := <-in
			if g.num != i || g.fl.Addr() != single.LocalAddr() {
				t.Fatalf("frame %d from %v, want %d from %v", g.num, g.fl, i, single.LocalAddr())
			}
			if i == 0 {
				send(t, g.fl, numbered(7, 1200)) // the way back
				if g := <-back; g.num != 7 || g.fl.Addr().Port() != both.LocalAddr().Port() {
					t.Fatalf("frame %d came back on %v", g.num, g.fl)
				}
			}
		}
	}
	mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), 9)
	if both.Flow(mapped) != both.Flow(netip.MustParseAddrPort("127.0.0.1:9")) {
		t.Error("the two forms of an IPv4 address are two flows")
	}
}

func TestAddressOfAnotherFamilyIsRefused(t *testing.T) {
	s := open(t, Config{Addr: loopback4})
	fl := s.Flow(netip.MustParseAddrPort("[2001:db8::1]:9"))
	if err := fl.Send(numbered(0, 8)); err != ErrNoFamily || fl.Ready(make(wakes, 1)) {
		t.Errorf("error is %v, want %v; ready %t", err, ErrNoFamily, fl.Ready(make(wakes, 1)))
	}
	if n := s.Counters().DroppedUnreachable; n != 1 {
		t.Errorf("counted %d, want 1", n)
	}
}

// The loopback interface has an MTU of 65536 bytes, which the largest datagram
// over IPv6 exceeds.
func TestPacketBeyondTheMTUIsRefusedAndCounted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("fragments are forbidden on Linux only")
	}
	needIPv6(t)
	tooBig := make(chan int, 10)
	in := newInbox()
	to := open(t, Config{Addr: loopback6, OnFrame: in.onFrame})
	from := open(t, Config{Addr: loopback6, OnTooBig: func(_ *Flow, n int) { tooBig <- n }})
	fl := from.Flow(to.LocalAddr())
	fl.SetMaxPacket(MaxPacket)
	send(t, fl, numbered(1, MaxPacket))
	if n := <-tooBig; n != MaxPacket {
		t.Errorf("a packet of %d bytes was refused, want %d", n, MaxPacket)
	}
	if n := fl.MaxPacket(); n != BasePacket {
		t.Errorf("packets have up to %d bytes now, want %d", n, BasePacket)
	}
	send(t, fl, numbered(2, BasePacket))
	if g := <-in; g.num != 2 {
		t.Errorf("frame %d came, want 2", g.num)
	}
	drain(t, from)
	if c := from.Counters(); c.DroppedTooBig != 1 || c.FramesOut != 1 || fl.Err() != ErrTooBig {
		t.Errorf("counters are %+v, the flow's error is %v", c, fl.Err())
	}
}

func TestCloseUnderLoadLosesCountOfNothing(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			to := open(t, k.config(t, Config{Addr: loopback4}))
			from := open(t, k.config(t, Config{Addr: loopback4, FlowFrames: 128}))
			var wg sync.WaitGroup
			const senders, each = 4, 3000
			half := make(chan struct{}, senders)
			for i := range senders {
				wg.Go(func() {
					fl := from.Flow(to.LocalAddr())
					for n := range each {
						_ = fl.Send(numbered(uint64(n), 100+300*i))
						if n == each/2 {
							half <- struct{}{}
						}
					}
				})
			}
			<-half
			var closers sync.WaitGroup
			for range 2 {
				closers.Go(func() { from.Close() })
			}
			closers.Wait()
			wg.Wait()
			to.Close()
			c := from.Counters()
			if sum := c.FramesOut + c.DroppedQueue + c.DroppedClosed + c.DroppedFailed; sum != senders*each || c.QueuedFrames != 0 || c.QueuedBytes != 0 {
				t.Errorf("%d of %d frames are accounted for: %+v", sum, senders*each, c)
			}
			if err := from.Flow(to.LocalAddr()).Send(numbered(0, 8)); err != ErrClosed {
				t.Errorf("error after Close is %v, want %v", err, ErrClosed)
			}
		})
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	s := open(t, Config{Addr: loopback4})
	cfg := Config{Addr: s.LocalAddr(), OnFrame: func(_ *Flow, f *frame.Frame) { f.Release() }}
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Error("a second socket was opened on the same port")
	}
	if _, err := Open(t.Context(), Config{}); err == nil {
		t.Error("a socket was opened that hands its frames to nobody")
	}
}

// Packets cost no allocation, on either side. A round that allocates once now
// and then, when the collector has emptied a pool, rounds down to none.
func TestPacketsDoNotAllocate(t *testing.T) {
	if racetest.Enabled {
		t.Skip("the race detector empties pools at random")
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			in := make(chan struct{}, window)
			to := open(t, k.config(t, Config{Addr: loopback4, OnFrame: func(_ *Flow, f *frame.Frame) {
				f.Release()
				in <- struct{}{}
			}}))
			from := open(t, k.config(t, Config{Addr: loopback4}))
			fl := from.Flow(to.LocalAddr())
			n := testing.AllocsPerRun(200, func() {
				for range window {
					send(t, fl, frame.New(BasePacket))
				}
				for range window {
					<-in
				}
			})
			if n >= 1 {
				t.Errorf("%v allocations for %d packets, want none", n, window)
			}
		})
	}
}
