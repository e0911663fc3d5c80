//go:build !race

package budget

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// Steady bulk transfer, both ends and all that is between them in this process.
func TestAllocationsInBulk(t *testing.T) {
	const budget = 0.5 // a packet
	for name, relayed := range map[string]bool{"direct": false, "relayed": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			nodes := l.nodes(2)
			server := l.relay
			if relayed {
				server = nodes[1]
			}
			accepted := l.serve(server)
			c := l.dial(nodes[0], server)
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			s := <-accepted
			defer func() { _, _ = c.Close(), s.Close() }()
			pour(t, c, s, 64<<20)
			packets := sent(nodes[0])
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			pour(t, c, s, 512<<20)
			runtime.ReadMemStats(&after)
			packets = sent(nodes[0]) - packets
			each := float64(after.Mallocs-before.Mallocs) / float64(packets)
			t.Logf("%.2f allocations and %d bytes for each of %d packets", each, (after.TotalAlloc-before.TotalAlloc)/packets, packets)
			if each > budget {
				t.Errorf("%.2f allocations for each packet; the budget is %v", each, budget)
			}
		})
	}
}

// pour sends n bytes from one end of a conn to the other.
func pour(t *testing.T, from, to net.Conn, n int64) {
	t.Helper()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		b := make([]byte, 64<<10)
		for left := n; left > 0; left -= int64(len(b)) {
			if _, err := from.Write(b); err != nil {
				t.Error(err)
				return
			}
		}
	})
	b := make([]byte, 128<<10)
	for got := int64(0); got < n; {
		k, err := to.Read(b)
		if err != nil && err != io.EOF {
			t.Error(err)
			return
		}
		got += int64(k)
	}
}

// sent is how many packets went between a node and its peers.
func sent(n *overlay.Node) (packets uint64) {
	for _, p := range n.Status().Peers {
		packets += p.PacketsSent + p.PacketsReceived
	}
	return packets
}
