package overlaytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

// storm is a link that does all that a link may do to packets.
var storm = Impairment{
	Latency: latency, Jitter: latency,
	Loss: 0.05, Reorder: 0.05, Duplicate: 0.05, Corrupt: 0.02,
}

// S1, S4: what is read is what was written on that very conn.
func TestBytesReadAreThoseWrittenOnThisConn(t *testing.T) {
	inLab(t, Config{Seed: 1, Link: storm}, func(t *testing.T, l *Lab) {
		nodes := []*overlay.Node{l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{}), l.Node("c", overlay.Config{})}
		rng := seeded(1)
		var wg sync.WaitGroup
		var flows []*flow
		for i := range 60 {
			from, to := nodes[i%3], nodes[(i+1+i%2)%3]
			x, y := connect(t, from, to)
			for _, ends := range [][2]net.Conn{{x, y}, {y, x}} {
				f, chunk, total := newFlow(), 1+rng.IntN(20000), rng.IntN(200000)
				flows = append(flows, f)
				wg.Go(func() { f.pace(ends[0], chunk, 0, total, nil) })
				wg.Go(func() { f.take(ends[1]) })
			}
			t.Cleanup(func() { _, _ = x.Close(), y.Close() })
		}
		time.Sleep(time.Second)
		l.Roam("a")
		time.Sleep(time.Second)
		l.Kill("relay")
		l.Restart("relay")
		wg.Wait()
		for i, f := range flows {
			if err := f.complete(); err != nil {
				t.Errorf("flow %d: %v", i, err)
			}
		}
	})
}

// S2: io.EOF is the end of all bytes after a clean close, and nothing else.
func TestOnlyACleanEndIsEOF(t *testing.T) {
	const total = 100_000
	for _, test := range []struct {
		name  string
		end   func(l *Lab, b *overlay.Node, c net.Conn)
		clean bool
		limit time.Duration
	}{
		{"CloseWrite", func(_ *Lab, _ *overlay.Node, c net.Conn) { _ = c.(stream.Conn).CloseWrite() }, true, 10 * time.Second},
		{"Close", func(_ *Lab, _ *overlay.Node, c net.Conn) { _ = c.Close() }, true, 10 * time.Second},
		{"Reset", func(_ *Lab, _ *overlay.Node, c net.Conn) { _ = c.(stream.Conn).Reset(stream.CodeCanceled) }, false, 10 * time.Second},
		{"Close of the node", func(_ *Lab, b *overlay.Node, _ net.Conn) { _ = b.Close() }, false, 10 * time.Second},
		{"death", func(l *Lab, _ *overlay.Node, _ net.Conn) { l.Kill("b") }, false, 40 * time.Second},
		{"power cut", func(l *Lab, _ *overlay.Node, _ net.Conn) { l.Cut("b"); l.Kill("b") }, false, 80 * time.Second},
		{"restart", func(l *Lab, _ *overlay.Node, _ net.Conn) { l.Restart("b") }, false, 20 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inLab(t, Config{Seed: 1, Link: storm}, func(t *testing.T, l *Lab) {
				a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
				x, y := connect(t, a, b)
				defer x.Close()
				f := newFlow()
				if err := f.write(y, total); err != nil {
					t.Fatal(err)
				}
				f.finished = test.clean
				test.end(l, b, y)
				began := time.Now()
				f.take(x)
				if err := f.broken(); err != nil {
					t.Error(err)
				}
				if got := errors.Is(f.end, io.EOF); got != test.clean || test.clean && f.read != total {
					t.Errorf("reading ended after %d bytes with %v, want io.EOF: %v", f.read, f.end, test.clean)
				}
				if errors.Is(f.end, net.ErrClosed) {
					t.Errorf("error is %v, but this side has not closed the conn", f.end)
				}
				if d := time.Since(began); d > test.limit {
					t.Errorf("the end was noticed after %v, want %v at most", d, test.limit)
				}
			})
		})
	}
}

// S5: the other end of a conn is who was dialled.
func TestTheOtherEndIsWhoWasDialled(t *testing.T) {
	inLab(t, Config{Seed: 1, Link: storm}, func(t *testing.T, l *Lab) {
		var nodes []*overlay.Node
		for _, host := range []string{"a", "b", "c", "d"} {
			n := l.Node(host, overlay.Config{})
			ln, err := n.Listen(80)
			if err != nil {
				t.Fatal(err)
			}
			go introduce(ln, n.Key())
			nodes = append(nodes, n)
		}
		check := func(from, to *overlay.Node, host string) {
			c := dial(t, from, net.JoinHostPort(host, "80"))
			peer, ok := overlay.PeerOf(c)
			if !ok || peer.Key != to.Key() || c.RemoteAddr() != net.Addr(overlay.Addr{Node: to.ID(), Port: 80}) {
				t.Errorf("%s dialled %s and has a conn to %v at %v", from.Name(), host, peer, c.RemoteAddr())
			}
			said, err := io.ReadAll(c)
			if want := fmt.Sprint(to.Key(), from.Key()); err != nil || string(said) != want {
				t.Errorf("%s dialled %s, which said %q, %v; want %q", from.Name(), host, said, err, want)
			}
		}
		for round := range 3 {
			for _, from := range nodes {
				for _, to := range nodes {
					if from != to {
						check(from, to, []string{to.ID().String(), to.Key().String(), to.Name()}[round])
					}
				}
			}
			l.Roam("a")
			l.Restart("relay")
		}
	})
}

// introduce tells each caller who listens and who it is that called.
func introduce(ln net.Listener, self overlay.PublicKey) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		peer, _ := overlay.PeerOf(c)
		_, _ = fmt.Fprint(c, self, peer.Key)
		_ = c.Close()
	}
}

// D1: packets arrive unaltered, at most once, and only if they were sent.
func TestPacketsArriveAsSentAndAtMostOnce(t *testing.T) {
	for _, fault := range []struct {
		name string
		imp  Impairment
	}{
		{"5 % loss", Impairment{Latency: latency, Loss: 0.05}},
		{"duplicates", Impairment{Latency: latency, Duplicate: 0.2}},
		{"corruption", Impairment{Latency: latency, Corrupt: 0.2}},
		{"reordering", Impairment{Latency: latency, Jitter: latency, Reorder: 0.2}},
		{"all of it", storm},
	} {
		t.Run(fault.name, func(t *testing.T) {
			inLab(t, Config{Seed: 1, Link: fault.imp}, func(t *testing.T, l *Lab) {
				a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
				testPackets(t, a, b)
			})
		})
	}
}

func testPackets(t *testing.T, a, b *overlay.Node) {
	t.Helper()
	const n = 2000
	in, err := b.ListenPacket(53)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := a.DialPacket(t.Context(), "b:53")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	go func() {
		rng := rand.New(rand.NewPCG(1, 1))
		for i := range uint64(n) {
			_, _ = out.Write(append(content(i, 0, 8+rng.IntN(1000)), byte(i), byte(i>>8)))
			time.Sleep(time.Millisecond)
		}
	}()
	seen := make(map[uint64]bool)
	b0 := make([]byte, 2000)
	for {
		_ = in.SetReadDeadline(time.Now().Add(5 * time.Second))
		k, from, err := in.ReadFrom(b0)
		if err != nil {
			break
		}
		if k < 2 {
			t.Fatalf("a packet of %d bytes was never sent", k)
		}
		p := b0[:k]
		i := uint64(p[k-2]) | uint64(p[k-1])<<8
		if from.(overlay.Addr).Node != a.ID() || i >= n || string(p[:k-2]) != string(content(i, 0, k-2)) {
			t.Fatalf("packet %d from %v was never sent like that", i, from)
		}
		if seen[i] {
			t.Errorf("packet %d arrived twice", i)
		}
		seen[i] = true
	}
	// How many get through is the congestion controller's affair: where a third
	// is lost it sends little.
	if len(seen) < n/20 {
		t.Errorf("only %d of %d packets arrived", len(seen), n)
	}
}

// S3: a blocked call returns at the latest a second after its deadline, whatever
// state the network is in.
func TestBlockedCallsReturnAtTheirDeadlines(t *testing.T) {
	for _, state := range []struct {
		name  string
		enter func(l *Lab)
	}{
		{"fine", func(*Lab) {}},
		{"relay dead", func(l *Lab) { l.Kill("relay") }},
		{"relay cut", func(l *Lab) { l.Cut("relay") }},
		{"node cut", func(l *Lab) { l.Cut("a") }},
		{"peer cut", func(l *Lab) { l.Cut("b") }},
		{"peer without power", func(l *Lab) { l.Cut("b"); l.Kill("b") }},
		{"peer dead", func(l *Lab) { l.Kill("b") }},
	} {
		t.Run(state.name, func(t *testing.T) {
			inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
				a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
				testBlocked(t, a, b, func() { state.enter(l) })
			})
		})
	}
}

func testBlocked(t *testing.T, a, b *overlay.Node, enter func()) {
	t.Helper()
	x, _ := connect(t, a, b)
	full, _ := connect(t, a, b)
	ln, err := a.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	packets, err := a.DialPacket(t.Context(), "b:53")
	if err != nil {
		t.Fatal(err)
	}
	enter()
	const limit = 3 * time.Second
	deadline := time.Now().Add(limit)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	for _, c := range []net.Conn{x, full, packets} {
		if err := c.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	ids := b.ID().String()
	var wg sync.WaitGroup
	for name, call := range map[string]func() error{
		"Read":           func() error { _, err := x.Read(make([]byte, 1)); return err },
		"Write":          func() error { _, err := full.Write(make([]byte, 64<<20)); return err },
		"packet Read":    func() error { _, err := packets.Read(make([]byte, 1)); return err },
		"AcceptContext":  func() error { _, err := ln.(acceptor).AcceptContext(ctx); return err },
		"Dial by ID":     func() error { return dialOnly(ctx, a, ids+":7") },
		"Dial by name":   func() error { return dialOnly(ctx, a, "b:7") },
		"Dial a strange": func() error { return dialOnly(ctx, a, "0123456789abcdef:7") },
		"DialPacket":     func() error { _, err := a.DialPacket(ctx, "nobody:7"); return err },
		"WaitReady":      func() error { return a.WaitReady(ctx) },
	} {
		wg.Go(func() {
			err := call()
			if late := time.Since(deadline); late > time.Second {
				t.Errorf("%s returned %v after its deadline (%v)", name, late, err)
			}
		})
	}
	wg.Wait()
	// What a deadline interrupted goes on when it is moved.
	ctx, cancel = context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	_ = a.Shutdown(ctx)
	if d := time.Since(began); d > limit+time.Second {
		t.Errorf("Shutdown took %v, want %v at most", d, limit+time.Second)
	}
}

type acceptor interface {
	AcceptContext(ctx context.Context) (net.Conn, error)
}

func dialOnly(ctx context.Context, n *overlay.Node, addr string) error {
	c, err := n.Dial(ctx, addr)
	if err == nil {
		_ = c.Close()
	}
	return err
}
