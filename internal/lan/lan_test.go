package lan_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/lan"
	"github.com/weftnet/weft/internal/lan/lantest"
)

func TestNodesFindEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seg lantest.Segment
		a := start(t, &seg, 1, "192.168.1.10/24")
		defer a.Close()
		time.Sleep(time.Minute) // long after its announcements
		b := start(t, &seg, 2, "192.168.1.11/24", func(c *lan.Config) { c.Names = []string{"files"} })
		defer b.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		a.wantPeer(t, 2, "192.168.1.11:1002")
		b.wantPeer(t, 1, "192.168.1.10:1001")
		if e := a.next(); e.Kind != lan.Found || e.Peer.ID != 2 {
			t.Errorf("first event %+v, want that 2 was found", e)
		}
		if ids := a.Lookup("files"); len(ids) != 1 || ids[0] != 2 {
			t.Errorf("the name leads to %v, want to 2", ids)
		}
		if ids := a.Lookup("file"); ids != nil {
			t.Errorf("a name of nobody leads to %v", ids)
		}
		// They stay known, and nothing changes.
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		a.wantPeer(t, 2, "192.168.1.11:1002")
		if e := a.next(); e.Kind != 0 {
			t.Errorf("event %+v, want none", e)
		}
		if c := a.Counters(); c.DroppedMalformed+c.DroppedSealed+c.DroppedFull+c.WriteErrors+c.DroppedInbox != 0 || c.Peers != 1 {
			t.Errorf("%+v", c)
		}
	})
}

func TestGoodbyeAndSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seg lantest.Segment
		a := start(t, &seg, 1, "192.168.1.10/24")
		defer a.Close()
		b := start(t, &seg, 2, "192.168.1.11/24")
		c := start(t, &seg, 3, "192.168.1.12/24")
		defer c.Close()
		time.Sleep(5 * time.Second)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		time.Sleep(1100 * time.Millisecond)
		a.wantPeer(t, 2)
		c.conn.Cut(true) // as if the cable were drawn
		time.Sleep(2 * time.Minute)
		a.wantPeer(t, 3)
		gone := map[identity.NodeID]bool{}
		for e := a.next(); e.Kind != 0; e = a.next() {
			if e.Kind == lan.Gone {
				gone[e.Peer.ID] = true
			}
		}
		if !gone[2] || !gone[3] {
			t.Errorf("events of leaving: %v, want of 2 and 3", gone)
		}
		c.conn.Cut(false)
		c.Refresh() // what netmon's hook does
		time.Sleep(time.Second)
		a.wantPeer(t, 3, "192.168.1.12:1003")
	})
}

func TestAddressChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seg lantest.Segment
		a := start(t, &seg, 1, "192.168.1.10/24")
		defer a.Close()
		b := start(t, &seg, 2, "192.168.1.11/24")
		defer b.Close()
		time.Sleep(10 * time.Second)
		b.conn.SetAddrs(prefix("192.168.1.99/24"), prefix("2001:db8::1/64"))
		b.Refresh()
		time.Sleep(200 * time.Millisecond)
		// The old address stays until the record was refreshed after the old
		// one's TTL; that on no link of a is left out.
		a.wantPeer(t, 2, "192.168.1.99:1002", "192.168.1.11:1002")
		time.Sleep(4 * time.Minute)
		a.wantPeer(t, 2, "192.168.1.99:1002")
		b.conn.SetAddrs()
		b.Refresh()
		time.Sleep(3 * time.Minute)
		a.wantPeer(t, 2)
		b.conn.SetAddrs(prefix("192.168.1.11/24"))
		b.Refresh()
		time.Sleep(200 * time.Millisecond)
		a.wantPeer(t, 2, "192.168.1.11:1002")
	})
}

func TestOneAddressIsOneLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seg, other lantest.Segment
		a := start(t, &seg, 1, "192.168.1.10/24")
		defer a.Close()
		c := start(t, &other, 3, "192.168.2.12/24")
		defer c.Close()
		b := start(t, &seg, 2, "192.168.1.11/24", func(cfg *lan.Config) {
			cfg.Addr = netip.MustParseAddr("192.168.1.11")
			cfg.Conns = append(cfg.Conns, other.Join(prefix("192.168.2.11/24")))
		})
		defer b.Close()
		time.Sleep(10 * time.Second)
		a.wantPeer(t, 2, "192.168.1.11:1002")
		c.wantPeer(t, 2)
	})
}

// An interface of which nobody told is found in time, too.
func TestLateLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seg lantest.Segment
		a := start(t, &seg, 1, "192.168.1.10/24")
		defer a.Close()
		b := start(t, &seg, 2, "192.168.1.11/24")
		defer b.Close()
		b.conn.SetAddrs()
		time.Sleep(2 * time.Minute)
		a.wantPeer(t, 2)
		b.conn.SetAddrs(prefix("192.168.1.99/24"))
		time.Sleep(3 * time.Minute)
		a.wantPeer(t, 2, "192.168.1.99:1002")
	})
}

func TestNetworksDoNotMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seg lantest.Segment
		a := start(t, &seg, 1, "192.168.1.10/24")
		defer a.Close()
		b := start(t, &seg, 2, "192.168.1.11/24", func(c *lan.Config) { c.Key[0]++ })
		defer b.Close()
		time.Sleep(10 * time.Second)
		a.wantPeer(t, 2)
		b.wantPeer(t, 1)
		if c := a.Counters(); c.DroppedSealed == 0 {
			t.Errorf("nothing was counted: %+v", c)
		}
	})
}

func TestNothingTellsWhoANodeIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]byte
		seg := lantest.Segment{Tap: func(_ netip.Addr, b []byte) { sent = append(sent, b) }}
		config := func(c *lan.Config) { c.Names = []string{"kitchen-notebook"} }
		a := start(t, &seg, 0x1122334455667788, "192.168.1.10/24", config)
		time.Sleep(10 * time.Second)
		a.Close()
		b := start(t, &seg, 0x1122334455667788, "192.168.1.10/24", config)
		time.Sleep(10 * time.Second)
		b.Close()
		synctest.Wait()
		for _, b := range sent {
			for _, secret := range []string{"kitchen", "\x11\x22\x33\x44", "11223344", "\xc0\xa8\x01\x0a"} {
				if bytes.Contains(bytes.ToLower(b), []byte(secret)) {
					t.Errorf("%q is in % x", secret, b)
				}
			}
		}
		if bytes.Contains(sent[len(sent)-1], []byte(instanceIn(t, sent[:2]))) {
			t.Error("the instance is called the same after a restart")
		}
	})
}

// instanceIn returns the first instance name that packets announce.
func instanceIn(t *testing.T, packets [][]byte) string {
	t.Helper()
	for _, b := range packets {
		if i := bytes.IndexByte(b, 24); i > 0 && i+25 < len(b) {
			return string(b[i+1 : i+25])
		}
	}
	t.Fatal("no instance was announced")
	return ""
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seg lantest.Segment
		a := start(t, &seg, 1, "192.168.1.10/24")
		time.Sleep(time.Hour) // asks seldom now
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := a.WaitName(ctx, "files"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a name that nobody has: %v", err)
		}
		began := time.Now()
		var p lan.Peer
		var err error
		done := make(chan struct{})
		go func() { defer close(done); p, err = a.WaitPeer(t.Context(), 2) }()
		synctest.Wait()
		b := start(t, &seg, 2, "192.168.1.11/24", func(c *lan.Config) { c.Names = []string{"files"} })
		defer b.Close()
		<-done
		if err != nil || p.ID != 2 || time.Since(began) > 200*time.Millisecond {
			t.Errorf("%+v, %v, after %v", p, err, time.Since(began))
		}
		if ids, err := a.WaitName(t.Context(), "files"); err != nil || len(ids) != 1 {
			t.Errorf("%v, %v", ids, err)
		}
		done = make(chan struct{})
		go func() { defer close(done); _, err = a.WaitPeer(t.Context(), 3) }()
		synctest.Wait()
		a.Close()
		<-done
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("waiting on a closed LAN: %v", err)
		}
	})
}

// Many nodes, most of which begin in one moment, as after a power cut.
func TestTrafficOfManyNodesIsModest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		packets := map[netip.Addr][]time.Time{}
		var mu sync.Mutex
		seg := lantest.Segment{Tap: func(from netip.Addr, _ []byte) {
			mu.Lock()
			defer mu.Unlock()
			packets[from] = append(packets[from], time.Now())
		}}
		const nodes = 24
		var all []*host
		for i := range nodes {
			addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 24)
			all = append(all, start(t, &seg, identity.NodeID(i+1), addr.String()))
		}
		defer func() {
			for _, h := range all {
				h.Close()
			}
		}()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, h := range all {
			if n := len(h.Peers()); n != nodes-1 {
				t.Fatalf("a node knows %d others, want %d", n, nodes-1)
			}
		}
		mu.Lock()
		clear(packets)
		mu.Unlock()
		const minutes = 40
		time.Sleep(minutes * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		total := 0
		for addr, at := range packets {
			total += len(at)
			for i := 3; i < len(at); i++ { // records and queries, each at most once a second
				if at[i].Sub(at[i-3]) < time.Second {
					t.Fatalf("%v sent %v", addr, at[i-3:i+1])
				}
			}
		}
		perMinute := float64(total) / nodes / minutes
		t.Logf("%.2f packets a minute from each of %d nodes", perMinute, nodes)
		if perMinute > 3 {
			t.Errorf("%.1f packets a minute from each node, want at most 3", perMinute)
		}
		for _, h := range all {
			if n := len(h.Peers()); n != nodes-1 {
				t.Fatalf("a node knows %d others after a while, want %d", n, nodes-1)
			}
		}
	})
}
