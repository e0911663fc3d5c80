package lan_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/lan"
	"github.com/weftnet/weft/internal/lan/lantest"
)

var stranger = netip.MustParseAddrPort("192.168.1.66:5353")

// hostile runs a test with a node, 192.168.1.10, on a segment where anything
// may be injected. sent returns how often the node has sent since the last call.
func hostile(t *testing.T, f func(t *testing.T, seg *lantest.Segment, a *host, sent func() int)) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		n := 0
		seg := &lantest.Segment{Tap: func(from netip.Addr, _ []byte) {
			mu.Lock()
			defer mu.Unlock()
			if from == netip.MustParseAddr("192.168.1.10") {
				n++
			}
		}}
		a := start(t, seg, 1, "192.168.1.10/24")
		defer a.Close()
		time.Sleep(10 * time.Second)
		sent := func() int {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			defer func() { n = 0 }()
			return n
		}
		sent()
		f(t, seg, a, sent)
	})
}

func TestQueriesAreAnsweredAtMostOnceASecond(t *testing.T) {
	hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, sent func() int) {
		for range 100 {
			seg.Inject(lan.Query("", 0), stranger, 255)
			time.Sleep(50 * time.Millisecond)
		}
		if n := sent(); n < 4 || n > 7 { // one may be the node's own query
			t.Errorf("the node sent %d packets in 5 s of queries, want 4 to 7", n)
		}
	})
}

func TestKnownAnswersAreNotGiven(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ttl   time.Duration
		other string // somebody else's known answer
		want  int
	}{
		{"fresh", lan.TTL, "", 0},
		{"half", lan.TTL / 2, "", 0},
		{"old", lan.TTL/2 - time.Second, "", 1},
		{"of another", lan.TTL, "0123", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, sent func() int) {
				time.Sleep(time.Minute) // between two queries of its own, which come after 31 s and 63 s
				time.Sleep(10 * time.Second)
				sent()
				instance := a.Instance()
				if tt.other != "" {
					instance = tt.other
				}
				seg.Inject(lan.Query(instance, tt.ttl), stranger, 255)
				time.Sleep(500 * time.Millisecond)
				if n := sent(); n != tt.want {
					t.Errorf("%d answers, want %d", n, tt.want)
				}
			})
		})
	}
}

func TestMoreKnownAnswersMayFollow(t *testing.T) {
	hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, sent func() int) {
		time.Sleep(70 * time.Second)
		sent()
		truncated := lan.Query("", 0)
		truncated[2] |= 2 // TC
		seg.Inject(truncated, stranger, 255)
		time.Sleep(200 * time.Millisecond)
		seg.Inject(lan.Query(a.Instance(), lan.TTL), stranger, 255)
		time.Sleep(time.Second)
		if n := sent(); n != 0 {
			t.Errorf("%d answers although the second packet knows the node", n)
		}
		seg.Inject(truncated, stranger, 255)
		time.Sleep(time.Second)
		if n := sent(); n != 1 {
			t.Errorf("%d answers, want 1 as nothing followed", n)
		}
	})
}

func TestAForgedGoodbyeDoesNotRemoveALiveNode(t *testing.T) {
	hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, _ func() int) {
		var last []byte
		var mu sync.Mutex
		tap := seg.Join(prefix("192.168.1.66/24"))
		go func() {
			buf := make([]byte, 9000)
			for {
				p, err := tap.ReadPacket(buf)
				if err != nil {
					return
				}
				if p.From.Addr() == netip.MustParseAddr("192.168.1.11") && buf[2]&0x80 != 0 {
					mu.Lock()
					last = bytes.Clone(buf[:p.N])
					mu.Unlock()
				}
			}
		}()
		defer tap.Close()
		b := start(t, seg, 2, "192.168.1.11/24")
		defer b.Close()
		time.Sleep(10 * time.Second)
		mu.Lock()
		bye := bytes.ReplaceAll(last, []byte{0, 0, 0, 120}, []byte{0, 0, 0, 0})
		mu.Unlock()
		if len(bye) == 0 {
			t.Fatal("b announced nothing")
		}
		for range 100 {
			seg.Inject(bye, stranger, 255)
			time.Sleep(130 * time.Millisecond)
			a.wantPeer(t, 2, "192.168.1.11:1002")
		}
	})
}

func TestTTLsAreBounded(t *testing.T) {
	hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, sent func() int) {
		seg.Inject(lan.Forge(network, "long", 2, 9, 1<<31*time.Second), stranger, 255)
		seg.Inject(lan.Forge(network, "short", 3, 9, time.Second), stranger, 255)
		time.Sleep(lan.MinTTL - time.Second)
		a.wantPeer(t, 3, "192.168.1.66:9")
		time.Sleep(2 * time.Second)
		a.wantPeer(t, 3)
		time.Sleep(74 * time.Minute)
		a.wantPeer(t, 2, "192.168.1.66:9")
		time.Sleep(time.Minute)
		a.wantPeer(t, 2)
		sent()
		for i := range 20 { // short-lived ones do not make it ask more than once a second
			seg.Inject(lan.Forge(network, fmt.Sprint("n", i), identity.NodeID(100+i), 9, time.Second), stranger, 255)
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(19 * time.Second)
		if n := sent(); n > 20 {
			t.Errorf("%d packets in 20 s", n)
		}
	})
}

func TestTheTableIsBounded(t *testing.T) {
	hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, _ func() int) {
		b := start(t, seg, 2, "192.168.1.11/24")
		defer b.Close()
		time.Sleep(time.Second)
		for i := range 100 { // of one host
			seg.Inject(lan.Forge(network, fmt.Sprint("one", i), identity.NodeID(100+i), 9, time.Hour), stranger, 255)
			time.Sleep(10 * time.Millisecond)
		}
		if n := a.Counters().Peers; n != lan.PerSource+1 {
			t.Errorf("%d records of one host and b, want %d", n, lan.PerSource+1)
		}
		for i := range 600 { // of many
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, byte(i / 8), byte(i)}), lan.Port)
			seg.Inject(lan.Forge(network, fmt.Sprint("many", i), identity.NodeID(1000+i), 9, time.Hour), from, 255)
			time.Sleep(10 * time.Millisecond)
		}
		c := a.Counters()
		if c.Peers != lan.MaxPeers || c.DroppedFull != 100+600+1-lan.MaxPeers {
			t.Errorf("%d records, %d dropped, want %d and %d", c.Peers, c.DroppedFull, lan.MaxPeers, 100+600+1-lan.MaxPeers)
		}
		a.wantPeer(t, 2, "192.168.1.11:1002")
	})
}

func TestForgedRecordsDoNotCrowdOutANode(t *testing.T) {
	hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, _ func() int) {
		b := start(t, seg, 2, "192.168.1.11/24")
		defer b.Close()
		time.Sleep(time.Second)
		var many []netip.Addr
		for i := range lan.MaxAddrs {
			many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}))
		}
		for i := range 20 {
			seg.Inject(lan.Forge(network, fmt.Sprint("evil", i), 2, 9, time.Hour, many...), stranger, 255)
			time.Sleep(10 * time.Millisecond)
		}
		p, _ := a.Peer(2)
		found := false
		for _, ap := range p.Addrs {
			found = found || ap == netip.MustParseAddrPort("192.168.1.11:1002")
		}
		if !found || len(p.Addrs) > lan.MaxAddrs {
			t.Errorf("the node is at %v, which lacks its own address or is too much", p.Addrs)
		}
		// An instance cannot become another node's.
		seg.Inject(lan.Forge(network, b.Instance(), 3, 9, time.Hour), stranger, 255)
		synctest.Wait()
		a.wantPeer(t, 3)
	})
}

func TestWhichAddressesAreBelieved(t *testing.T) {
	hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, _ func() int) {
		var listed []netip.Addr
		for _, s := range []string{
			"127.0.0.1", "::1", "0.0.0.0", "224.0.0.251", "ff02::fb", "255.255.255.255", "fe80::1", // never
			"192.168.1.10", // a's own, for which there is another host
		} {
			listed = append(listed, netip.MustParseAddr(s))
		}
		seg.Inject(lan.Forge(network, "x", 2, 9, time.Hour, listed...), stranger, 255)
		seg.Inject(lan.Forge(network, "y", 3, 9, time.Hour,
			netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("2001:db8::1"), // elsewhere
			netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("169.254.1.1")), stranger, 255)
		seg.Inject(lan.Forge(network, "z", 4, 9, time.Hour, netip.MustParseAddr("192.168.1.10")),
			netip.MustParseAddrPort("192.168.1.10:5353"), 255) // on a's host
		synctest.Wait()
		a.wantPeer(t, 2, "192.168.1.66:9")
		a.wantPeer(t, 3, "192.168.1.66:9", "10.1.2.3:9", "[fd00::1]:9", "169.254.1.1:9")
		a.wantPeer(t, 4, "192.168.1.10:9")
	})
}

func TestPacketsThatAreDropped(t *testing.T) {
	good := lan.Forge(network, "x", 2, 9, time.Hour)
	outsider := lan.Forge([32]byte{9}, "x", 2, 9, time.Hour)
	for _, tt := range []struct {
		name string
		b    []byte
		from string
		hops int
		of   func(lan.Counters) uint64
	}{
		{"through a router", good, "192.168.1.66:5353", 254, func(c lan.Counters) uint64 { return c.DroppedHops }},
		{"another port", good, "192.168.1.66:5354", 255, func(c lan.Counters) uint64 { return c.DroppedPort }},
		{"cut short", good[:len(good)-1], "192.168.1.66:5353", 255, func(c lan.Counters) uint64 { return c.DroppedMalformed }},
		{"from a group", good, "224.0.0.1:5353", 255, func(c lan.Counters) uint64 { return c.DroppedMalformed }},
		{"of an outsider", outsider, "192.168.1.66:5353", 255, func(c lan.Counters) uint64 { return c.DroppedSealed }},
		{"under another name", bytes.ReplaceAll(good, []byte("\x01x"), []byte("\x01y")), "192.168.1.66:5353", 255, func(c lan.Counters) uint64 { return c.DroppedSealed }},
		{"giant", append(bytes.Clone(good), make([]byte, 60000)...), "192.168.1.66:5353", 255, nil},
		{"another service", []byte("\x05_http\x04_tcp"), "192.168.1.66:5353", 255, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, _ func() int) {
				seg.Inject(tt.b, netip.MustParseAddrPort(tt.from), tt.hops)
				synctest.Wait()
				if tt.of != nil {
					a.wantPeer(t, 2)
					if n := tt.of(a.Counters()); n != 1 {
						t.Errorf("counted %d times, want 1: %+v", n, a.Counters())
					}
				}
			})
		})
	}
}

func TestAFloodIsBoundedAndCounted(t *testing.T) {
	hostile(t, func(t *testing.T, seg *lantest.Segment, a *host, sent func() int) {
		const n = 3000
		b := lan.Query("", 0)
		before := a.Counters().PacketsIn
		for range n {
			seg.Inject(b, stranger, 255)
		}
		synctest.Wait()
		c := a.Counters()
		if c.PacketsIn-before != n || c.DroppedRate != n-lan.PacketBurst {
			t.Errorf("%d packets, %d dropped, want %d and %d", c.PacketsIn-before, c.DroppedRate, n, n-lan.PacketBurst)
		}
		time.Sleep(500 * time.Millisecond)
		if got := sent(); got > 2 {
			t.Errorf("%d packets were the answer", got)
		}
		// And it hears the others again.
		p := start(t, seg, 2, "192.168.1.11/24")
		defer p.Close()
		time.Sleep(2 * time.Second)
		a.wantPeer(t, 2, "192.168.1.11:1002")
	})
}

func FuzzParse(f *testing.F) {
	f.Add(lan.Forge(network, "x", 2, 9, time.Hour))
	f.Add(lan.Query("x", time.Hour))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = lan.Parse(b, "x")
	})
}
