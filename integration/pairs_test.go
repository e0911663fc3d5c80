//go:build linux

package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

const (
	pairs      = 1000
	pairRate   = 1_000_000 / 8          // bytes a second, of each pair
	pairEvery  = 100 * time.Millisecond // between the writes of one
	pairsFor   = 30 * time.Second
	pairsCPU   = 1.0 // of one CPU, at most
	pairsPort  = 80
	pairsSaid  = 0.9  // of what they want to say, at least: they share the machine
	pairsHeard = 0.98 // of what was said has come
)

// A relay carries a thousand pairs that say a megabit a second each: it drops nothing
// and needs less than one CPU, of its process alone. WEFT_BIG=1 runs it.
func TestARelayOfAThousandPairs(t *testing.T) {
	l, pid := crowded(t, 2*pairs)
	ctx, cancel := context.WithTimeout(t.Context(), joinTimeout)
	defer cancel()
	nodes := join(ctx, t, l.relays, 2*pairs)
	clients, servers := couple(ctx, t, nodes)
	var written, read atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { _, _ = io.Copy(adds{&read}, servers[i]) })
		wg.Go(func() { talk(t.Context(), clients[i], i, &written) })
	}
	<-time.After(5 * time.Second)
	used, began := processTime(t, pid), time.Now()
	said, heard, forwarded := written.Load(), read.Load(), relayCounter(t, l.relays[0], "weft_relay_forwarded_frames_total")
	<-time.After(pairsFor)
	used, took := processTime(t, pid)-used, time.Since(began)
	said, heard = written.Load()-said, read.Load()-heard
	forwarded = relayCounter(t, l.relays[0], "weft_relay_forwarded_frames_total") - forwarded
	for i := range clients {
		_, _ = clients[i].Close(), servers[i].Close()
	}
	wg.Wait()

	share := used.Seconds() / took.Seconds()
	t.Logf("%d pairs said %.0f Mbit/s, of which %.3f came; the relay forwarded %.0f frames a second and used %.2f of one CPU; it holds %s",
		pairs, float64(said)*8/1e6/took.Seconds(), float64(heard)/float64(said), forwarded/took.Seconds(), share, residentMemory(t, pid))
	if float64(said) < pairsSaid*pairs*pairRate*took.Seconds() || float64(heard) < pairsHeard*float64(said) {
		t.Errorf("of %d pairs %d bytes came and %d were written", pairs, heard, said)
	}
	if n := relayCounter(t, l.relays[0], "weft_relay_dropped_"); n > 0 {
		t.Errorf("the relay dropped %v frames", n)
	}
	if share > pairsCPU {
		t.Errorf("the relay used %.2f of one CPU, want %v at most", share, pairsCPU)
	}
}

// couple makes a conn between each node of an even number and the next.
func couple(ctx context.Context, t *testing.T, nodes []*overlay.Node) (clients, servers []net.Conn) {
	t.Helper()
	clients, servers = make([]net.Conn, len(nodes)/2), make([]net.Conn, len(nodes)/2)
	errs := make([]error, len(clients))
	all(len(clients), func(i int) {
		clients[i], servers[i], errs[i] = connect(ctx, nodes[2*i], nodes[2*i+1])
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return clients, servers
}

// connect makes a conn between two nodes, and returns both ends.
func connect(ctx context.Context, a, b *overlay.Node) (client, server net.Conn, err error) {
	ln, err := b.Listen(pairsPort)
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if client, err = a.Dial(ctx, fmt.Sprintf("%s:%d", b.ID(), pairsPort)); err != nil {
		return nil, nil, err
	}
	if _, err = client.Write([]byte("x")); err != nil {
		return nil, nil, err
	}
	server, err = ln.Accept()
	return client, server, err
}

// talk writes at the rate of a pair until the conn is closed.
func talk(ctx context.Context, c net.Conn, i int, written *atomic.Int64) {
	b := make([]byte, pairRate*int(pairEvery)/int(time.Second))
	<-time.After(pairEvery * time.Duration(i) / pairs) // not all at once
	tick := time.NewTicker(pairEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		n, err := c.Write(b)
		written.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// adds counts what is written to it.
type adds struct{ n *atomic.Int64 }

func (a adds) Write(b []byte) (int, error) {
	a.n.Add(int64(len(b)))
	return len(b), nil
}

// relayCounter returns the sum of a relay's metrics whose names begin so.
func relayCounter(t *testing.T, addr, name string) (sum float64) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); strings.HasPrefix(line, name) && len(f) > 1 {
			v, err := strconv.ParseFloat(f[len(f)-1], 64)
			if err != nil {
				t.Fatal(err)
			}
			found = true
			sum += v
		}
	}
	if !found {
		t.Fatalf("the relay has no metrics %s*", name)
	}
	return sum
}
