//go:build unix

package relay

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/uplink"
)

// Relays are killed and restarted at random under fifty streams, with real
// sockets and mesh: every byte arrives, once and in order. WEFT_SOAK says how
// long, such as 2m. The same with simulated time is in overlaytest.
func TestMeshedSoak(t *testing.T) {
	lasts, err := time.ParseDuration(os.Getenv("WEFT_SOAK"))
	if err != nil {
		t.Skip("WEFT_SOAK=1m runs it for a minute")
	}
	const relays, nodes, streams = 5, 10, 50
	f := newMeshFleet(t, relays, 1, 2)
	defer f.close()
	f.until("one backbone", f.whole)
	for i := range nodes {
		n := f.tcp(fmt.Sprintf("node-%d", i), newKey(t, ""))
		n.parts.Hooks.Watch(&echoer{f.lab})
		c := n.parts.Credentials
		n.up = uplink.New(uplink.Config{
			Relays: []string{f.addrs[i%relays], f.addrs[(i+1)%relays]},
			Dial:   n.dial,
			Sign:   func(m *control.Register, relay identity.NodeID) error { return m.Sign(c, relay) },
			Logger: n.parts.Logger,
		}, n.parts.Switch, n.parts.Endpoint)
		f.ready(n)
		f.nodes = append(f.nodes, n)
	}
	f.until("known", func() bool {
		for _, n := range f.nodes {
			if at, _ := f.relays[0].relay().directory.RelayOf(n.id()); at == 0 {
				return false
			}
		}
		return true
	})
	var all []*soaked
	for i := range streams {
		from, to := f.nodes[i%nodes], f.nodes[(i+1+i/nodes)%nodes]
		stream, err := f.open(from, to.id())
		if err != nil {
			t.Fatal(err)
		}
		s := &soaked{stream: stream, stop: make(chan struct{})}
		s.wg.Go(s.write)
		s.wg.Go(s.read)
		all = append(all, s)
	}
	kills := f.comeAndGo(lasts)
	var total int64
	for i, s := range all {
		close(s.stop)
		_ = s.stream.SetDeadline(time.Now().Add(meshPatience))
		s.wg.Wait()
		if s.failed != nil {
			t.Errorf("stream %d after %d bytes: %v", i, s.got.Load(), s.failed)
		}
		total += s.got.Load()
	}
	t.Logf("%d relays were killed and restarted within %v under %d streams, %d bytes came back", kills, lasts, streams, total)
}

// comeAndGo kills a relay now and then and restarts it.
func (f *meshFleet) comeAndGo(lasts time.Duration) (kills int) {
	end := time.Now().Add(lasts)
	for time.Now().Before(end) {
		i := rand.IntN(len(f.relays))
		f.kill(i)
		kills++
		<-time.After(rand.N(3 * time.Second))
		f.restart(i)
		<-time.After(2*time.Second + rand.N(3*time.Second))
	}
	return kills
}

// A soaked stream sends what can be checked to an echoer.
type soaked struct {
	stream *session.Stream
	stop   chan struct{}
	wg     sync.WaitGroup
	sent   atomic.Int64
	got    atomic.Int64
	failed error // owned by read until it has ended
}

// pattern is the byte at an offset.
func pattern(off int64) byte { return byte(off ^ off>>8*131 ^ off>>16*17) }

func (s *soaked) write() {
	defer func() { _ = s.stream.CloseWrite() }()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	b := make([]byte, 2000)
	for {
		select {
		case <-s.stop:
			return
		case <-pause.C:
		}
		off := s.sent.Load()
		for i := range b {
			b[i] = pattern(off + int64(i))
		}
		s.sent.Add(int64(len(b)))
		if _, err := s.stream.Write(b); err != nil {
			return // the reader says why
		}
	}
}

func (s *soaked) read() {
	b := make([]byte, 4096)
	for {
		n, err := s.stream.Read(b)
		off := s.got.Load()
		for i := range n {
			if b[i] != pattern(off+int64(i)) {
				s.failed = fmt.Errorf("byte %d is wrong", off+int64(i))
				return
			}
		}
		s.got.Add(int64(n))
		switch {
		case err == io.EOF && s.got.Load() == s.sent.Load():
			return
		case err != nil:
			s.failed = fmt.Errorf("%w after %d of %d bytes", err, s.got.Load(), s.sent.Load())
			return
		}
	}
}
