package natnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// pair is two public hosts with a socket 5000 each.
func pair(t *testing.T, n *Network) (a, b *Conn, addrA, addrB netip.AddrPort) {
	a = listen(t, n.Host("a", HostConfig{}), 5000)
	b = listen(t, n.Host("b", HostConfig{}), 5000)
	return a, b, netip.AddrPortFrom(a.host.v4, 5000), netip.AddrPortFrom(b.host.v4, 5000)
}

func TestDatagramsOverBothFamilies(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, _ *reflectors) {
		a, b, _, _ := pair(t, n)
		for i, addr := range b.host.Addrs() {
			began := time.Now()
			src, ok := reaches(t, a, netip.AddrPortFrom(addr, 5000), b)
			if want := netip.AddrPortFrom(a.host.Addrs()[i], 5000); !ok || src != want {
				t.Errorf("to %v: %v from %v, want it from %v", addr, ok, src, want)
			}
			if took := time.Since(began); took != 2*internetDelay { // to the nanosecond
				t.Errorf("to %v it took %v", addr, took)
			}
		}
		mapped := netip.AddrPortFrom(netip.AddrFrom16(b.host.v4.As16()), 5000)
		if _, ok := reaches(t, a, mapped, b); !ok {
			t.Error("an IPv4 address written as IPv6 is not reached")
		}
		// The same through the interface of package net.
		if _, err := a.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(mapped)); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 3)
		k, from, err := b.ReadFrom(buf)
		if err != nil || string(buf[:k]) != "hel" || from.String() != a.host.v4.String()+":5000" {
			t.Errorf("got %q from %v, %v", buf[:k], from, err)
		}
	})
}

func TestErrorsOfWrites(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		only4 := listen(t, n.Host("only4", HostConfig{NoIPv6: true, Up: simnet.Impairment{MaxPacket: 1400}}), 0)
		for _, tt := range []struct {
			name string
			to   netip.AddrPort
			size int
			want error
		}{
			{"no IPv6", r.addr6, 1, syscall.ENETUNREACH},
			{"port 0", netip.AddrPortFrom(r.addrs[0][0].Addr(), 0), 1, syscall.EINVAL},
			{"no address", netip.AddrPort{}, 1, syscall.EINVAL},
			{"too big", r.addrs[0][0], 1401, syscall.EMSGSIZE},
			{"just small enough", r.addrs[0][0], 1400, nil},
		} {
			if _, err := only4.WriteToUDPAddrPort(make([]byte, tt.size), tt.to); !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
			}
		}
		if _, err := only4.WriteTo(nil, &net.TCPAddr{}); err == nil {
			t.Error("a TCP address is accepted")
		}
		if _, err := only4.host.ListenPacket(only4.port); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a second socket on the port: %v", err)
		}
	})
}

func TestDeadlinesAndClose(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, _ *reflectors) {
		a, b, addrA, _ := pair(t, n)
		buf := make([]byte, 10)
		began := time.Now()
		result := make(chan error)
		blocked := func() {
			_, _, err := a.ReadFromUDPAddrPort(buf)
			result <- err
		}
		go blocked()
		synctest.Wait()
		_ = a.SetReadDeadline(began.Add(time.Hour))
		_ = a.SetReadDeadline(began.Add(time.Second)) // of a read that waits already
		if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		_ = a.SetDeadline(began)
		if _, err := a.WriteToUDPAddrPort(buf, addrA); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a late write: %v", err)
		}
		_ = a.SetDeadline(time.Time{})
		if _, ok := reaches(t, b, addrA, a); !ok {
			t.Error("the socket does not work after its deadline was moved")
		}
		_ = a.SetDeadline(time.Now().Add(time.Hour))
		go blocked()
		synctest.Wait()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the read ended with %v", err)
		}
		if _, err := a.WriteToUDPAddrPort(buf, addrA); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after Close: %v", err)
		}
		if !errors.Is(a.SetDeadline(time.Time{}), net.ErrClosed) || !errors.Is(a.Close(), net.ErrClosed) {
			t.Error("a closed socket does not say so")
		}
		listen(t, a.host, 5000) // the port is free again
		n.Close()
		if _, err := a.host.ListenPacket(0); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a socket on a closed network: %v", err)
		}
	})
}

func TestInboxIsBounded(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		a, b, _, addrB := pair(t, n)
		for range inboxDatagrams + 7 {
			write(t, a, addrB, "x")
		}
		write(t, a, netip.AddrPortFrom(addrB.Addr(), 1), "x")
		elapse(time.Second)
		if c := n.Counters(); c.LostInbox != 7 || c.Delivered != inboxDatagrams || c.LostNoSocket != 1 {
			t.Errorf("counters are %+v", c)
		}
		if len(b.inbox) != inboxDatagrams {
			t.Errorf("%d datagrams wait", len(b.inbox))
		}
	})
}

func TestRenumberedHost(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		nat := n.NAT("nat", PortRestricted())
		c := listen(t, n.Host("h", HostConfig{NAT: nat}), 5000)
		before, seen := c.host.Addrs(), r.seen(t, c)
		write(t, c, r.addrs[0][0], "\x00\x00")
		c.host.Renumber() // while the answer is on its way
		if _, _, ok := read(t, c); ok {
			t.Error("an answer came to the old address")
		}
		for i, a := range c.host.Addrs() {
			if a == before[i] {
				t.Errorf("it still has %v", a)
			}
		}
		if now := r.seen(t, c); now == seen || now.Addr() != nat.Addr() {
			t.Errorf("it is seen as %v, before as %v", now, seen)
		}
	})
}

func TestMovedHost(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		home, cafe := n.NAT("home", PortRestricted()), n.NAT("cafe", Symmetric())
		c := listen(t, n.Host("h", HostConfig{NAT: home}), 5000)
		for _, nat := range []*NAT{home, cafe, nil, home} {
			c.host.Move(nat)
			want := c.host.v4
			if nat != nil {
				want = nat.Addr()
			}
			if seen := r.seen(t, c); seen.Addr() != want {
				t.Errorf("behind %v it is seen as %v, want %v", nat, seen, want)
			}
			if seen, ok := r.ask(t, c, r.addr6, 0, 0); !ok || seen.Addr() != c.host.v6 {
				t.Errorf("behind %v it is seen as %v, %v, want %v", nat, seen, ok, c.host.v6)
			}
		}
		if up, _ := c.host.LinkCounters(); up.Lost != 0 || c.host.up.shaper.Impairment().Delay != localDelay {
			t.Errorf("the link has %+v", c.host.up.shaper.Impairment())
		}
	})
}

func TestInterfaceDownAndUp(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		a, b, addrA, addrB := pair(t, n)
		a.host.SetUp(false)
		if got := a.host.Addrs(); len(got) != 0 {
			t.Errorf("it has addresses %v", got)
		}
		if _, err := a.WriteToUDPAddrPort(nil, addrB); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("a write: %v", err)
		}
		if _, ok := reaches(t, b, addrA, a); ok {
			t.Error("it is reached")
		}
		a.host.SetUp(true)
		if _, ok := reaches(t, b, addrA, a); !ok || len(a.host.Addrs()) != 2 {
			t.Error("it is not reached again")
		}
		if got := n.Counters().LostHostDown; got != 1 {
			t.Errorf("%d datagrams are lost, want 1", got)
		}
	})
}

func TestSleepFreezesReadsAndWrites(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, _ *reflectors) {
		a, b, addrA, addrB := pair(t, n)
		write(t, b, addrA, "before")
		elapse(time.Second)
		began := time.Now()
		a.host.Sleep()
		a.host.Sleep()
		write(t, b, addrA, "meanwhile")
		if _, _, ok := read(t, a); ok {
			t.Error("a sleeping host reads")
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			write(t, a, addrB, "awake")
			if d := time.Since(began); d != time.Hour {
				t.Errorf("the write took %v", d)
			}
		})
		elapse(time.Hour - time.Since(began))
		a.host.Resume()
		a.host.Resume()
		wg.Wait()
		if s, _, _ := read(t, a); s != "before" {
			t.Errorf("after resume it reads %q", s)
		}
		if s, _, ok := read(t, a); ok {
			t.Errorf("what came meanwhile is there: %q", s)
		}
		if s, _, _ := read(t, b); s != "awake" {
			t.Errorf("the other reads %q", s)
		}
		a.host.Sleep()
		go func() { elapse(time.Minute); _ = a.Close() }()
		if _, _, err := a.ReadFromUDPAddrPort(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read on a sleeping host ends with %v", err)
		}
	})
}

func TestCutAndHeal(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		nat := n.NAT("nat", EndpointIndependent())
		a := listen(t, n.Host("a", HostConfig{NAT: nat}), 5000)
		b := listen(t, n.Host("b", HostConfig{}), 5000)
		public, addrB := r.seen(t, a), netip.AddrPortFrom(b.host.v4, 5000)
		for _, cut := range []bool{true, false} {
			if cut {
				n.Cut(a.host, b.host)
			} else {
				n.Heal(b.host, a.host)
			}
			if _, ok := reaches(t, a, addrB, b); ok == cut {
				t.Errorf("cut is %v, and b is reached: %v", cut, ok)
			}
			if _, ok := reaches(t, b, public, a); ok == cut {
				t.Errorf("cut is %v, and a is reached: %v", cut, ok)
			}
			r.seen(t, a)
		}
		if got := n.Counters().LostCut; got != 2 {
			t.Errorf("%d datagrams are lost, want 2", got)
		}
	})
}

// What links do is tested in simnet; this is that hosts and NATs have them.
func TestLinksImpair(t *testing.T) {
	const count, size = 1000, 972 // 1000 bytes with headers
	for _, tt := range []struct {
		name  string
		imp   simnet.Impairment
		check func(got int, c simnet.WireCounters) bool
	}{
		{"loss", simnet.Impairment{Loss: 0.1}, func(got int, c simnet.WireCounters) bool {
			return c.Lost > 70 && c.Lost < 130 && got == count-int(c.Lost)
		}},
		{"duplicate", simnet.Impairment{Duplicate: 0.1}, func(got int, c simnet.WireCounters) bool {
			return c.Duplicated > 70 && c.Duplicated < 130 && got == count+int(c.Duplicated)
		}},
		{"corrupt", simnet.Impairment{Corrupt: 0.1}, func(got int, c simnet.WireCounters) bool {
			return c.Corrupted > 70 && c.Corrupted < 130 && got == count-int(c.Corrupted)
		}},
		{"reorder", simnet.Impairment{Reorder: 0.1}, func(got int, c simnet.WireCounters) bool {
			return c.Reordered > 70 && c.Reordered < 130 && got == count
		}},
		{"rate", simnet.Impairment{Rate: 100_000, Queue: 10_000}, func(got int, c simnet.WireCounters) bool {
			return got >= 108 && got <= 112 && c.LostQueue == count-uint64(got) // a second's worth and the queue
		}},
		{"size", simnet.Impairment{MaxPacket: size - 1}, func(got int, c simnet.WireCounters) bool {
			return got == 0 && c.LostTooBig == count
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, n *Network, _ *reflectors) {
				a, b, _, addrB := pair(t, n)
				b.host.Impair(simnet.Impairment{}, tt.imp)
				got := 0
				var wg sync.WaitGroup
				wg.Go(func() {
					for _, _, ok := read(t, b); ok; _, _, ok = read(t, b) {
						got++
					}
				})
				for range count {
					write(t, a, addrB, strings.Repeat("x", size))
					elapse(time.Millisecond)
				}
				wg.Wait()
				elapse(time.Second)
				if _, down := b.host.LinkCounters(); !tt.check(got, down) {
					t.Errorf("%d arrive, counters are %+v", got, down)
				}
			})
		})
	}
}

// Two runs with one seed are the same to the nanosecond, with another seed
// not; also what several goroutines send from one host in one instant.
func TestSeedDecides(t *testing.T) {
	transcript := func(seed uint64) string {
		var logs [4]strings.Builder
		inBubble(t, seed, func(t *testing.T, n *Network, r *reflectors) {
			bad := simnet.Impairment{Loss: 0.1, Duplicate: 0.1, Reorder: 0.2, Jitter: 9 * time.Millisecond, Rate: 1e5}
			cfg := Symmetric()
			cfg.Up, cfg.Down, cfg.Hairpin, cfg.Filtering = bad, bad, true, AnyEndpoint
			nat := n.NAT("nat", cfg)
			began := time.Now()
			var wg sync.WaitGroup
			for i := range logs {
				c := listen(t, n.Host("h", HostConfig{NAT: nat, Up: bad}), 0)
				wg.Go(func() {
					for k := range 50 {
						write(t, c, r.addrs[k%2][k/2%2], "\x00\x00")
						elapse(time.Millisecond)
					}
				})
				wg.Go(func() {
					for got, src, ok := read(t, c); ok; got, src, ok = read(t, c) {
						fmt.Fprintf(&logs[i], "%v %x %v\n", time.Since(began), got, src)
					}
				})
			}
			wg.Wait()
			fmt.Fprintf(&logs[0], "%+v %+v", n.Counters(), nat.Counters())
		})
		return logs[0].String() + logs[1].String() + logs[2].String() + logs[3].String()
	}
	before := transcript(0)
	for seed := range uint64(40) {
		first, second := transcript(seed), transcript(seed)
		if first != second {
			t.Fatalf("seed %d: two runs differ:\n%s\nand\n%s", seed, first, second)
		}
		if seed > 0 && first == before {
			t.Errorf("seeds %d and %d are the same", seed-1, seed)
		}
		before = first
	}
}

// What several goroutines send on one socket in one instant has one order, by
// destination: which datagrams are lost does not depend on the scheduler.
func TestOneSocketOfManyGoroutines(t *testing.T) {
	const receivers = 20
	run := func() (got [receivers]int) {
		inBubble(t, 1, func(t *testing.T, n *Network, _ *reflectors) {
			c := listen(t, n.Host("h", HostConfig{Up: simnet.Impairment{Loss: 0.5}}), 0)
			var conns [receivers]*Conn
			for i := range conns {
				conns[i] = listen(t, n.Host("to", HostConfig{}), 5000)
			}
			var wg sync.WaitGroup
			for _, to := range conns {
				wg.Go(func() {
					for range 8 {
						write(t, c, netip.AddrPortFrom(to.host.v4, 5000), "x")
					}
				})
			}
			wg.Wait()
			elapse(time.Second)
			for i, to := range conns {
				got[i] = len(to.inbox)
			}
		})
		return got
	}
	first := run()
	for range 50 {
		if again := run(); again != first {
			t.Fatalf("runs differ:\n%v\n%v", first, again)
		}
	}
}

func TestBurstIsBounded(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, _ *reflectors) {
		a, _, _, addrB := pair(t, n)
		for range maxStaged + 5 {
			write(t, a, addrB, "x")
		}
		if got := n.Counters().LostBurst; got != 5 {
			t.Errorf("%d datagrams are lost, want 5", got)
		}
		elapse(time.Second)
		write(t, a, addrB, "x")
	})
}

// Hosts behind one NAT share its link.
func TestLinkOfNATIsShared(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, r *reflectors) {
		nat := n.NAT("nat", PortRestricted())
		a := listen(t, n.Host("a", HostConfig{NAT: nat}), 0)
		b := listen(t, n.Host("b", HostConfig{NAT: nat}), 0)
		nat.Impair(simnet.Impairment{Down: true}, simnet.Impairment{})
		for _, c := range []*Conn{a, b} {
			if _, ok := r.ask(t, c, r.addrs[0][0], 0, 0); ok {
				t.Errorf("%v gets through a link that is down", c.host)
			}
		}
		if _, ok := reaches(t, a, netip.AddrPortFrom(b.host.v4, b.port), b); !ok {
			t.Error("the local network is down too")
		}
		nat.Impair(simnet.Impairment{}, simnet.Impairment{})
		r.seen(t, a)
	})
}

// What is forged takes the forger's link and arrives as if from somebody else,
// who gets the answer; a NAT lets it in as it would the other.
func TestForgedSources(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, n *Network, _ *reflectors) {
		a, b, addrA, addrB := pair(t, n)
		liar := n.Host("liar", HostConfig{})
		if err := liar.Forge([]byte("lie"), addrA, addrB); err != nil {
			t.Fatal(err)
		}
		elapse(time.Second)
		buf := make([]byte, 10)
		k, from, err := b.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:k]) != "lie" || from != addrA {
			t.Errorf("got %q from %v, %v", buf[:k], from, err)
		}
		if up, _ := liar.LinkCounters(); up.Sent != 1 {
			t.Errorf("%d datagrams took the forger's link", up.Sent)
		}
		if _, ok := reaches(t, b, from, a); !ok {
			t.Error("the answer does not go to the address")
		}
		six := netip.AddrPortFrom(b.host.v6, 5000)
		if err := liar.Forge([]byte("lie"), addrA, six); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("from IPv4 to IPv6: %v", err)
		}
	})
}
