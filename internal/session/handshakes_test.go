package session

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
)

// A tap keeps the first packets of sessions instead of sending them.
type tap struct {
	*wirePath
	mu     sync.Mutex
	frames []*frame.Frame
}

func (p *tap) Send(f *frame.Frame) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frames = append(p.frames, f)
	return nil
}

// openers returns n packets that begin sessions, each another one.
func openers(t *testing.T, n int) []*frame.Frame {
	t.Helper()
	var all []*frame.Frame
	for range n {
		out := &tap{wirePath: &wirePath{name: "tap", mtu: 1200}}
		e, err := NewEndpoint(Config{Credentials: credentials(t), Layer: "native", Route: func(identity.NodeID) Path { return out }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, _ = e.Dial(ctx, identity.Target{ID: 1})
		cancel()
		_ = e.Close()
		all = append(all, out.frames[0])
	}
	return all
}

// copyFrom returns a copy of a frame with another source.
func copyFrom(f *frame.Frame, src identity.NodeID) *frame.Frame {
	c := frame.New(len(f.Packet()))
	copy(c.Packet(), f.Packet())
	c.SetSrc(src)
	return c
}

// A linkPath is a link whose origin is known.
type linkPath struct {
	*wirePath
	from string
}

func (p *linkPath) Origin() string { return p.from }

func TestUnfinishedHandshakesAreLimited(t *testing.T) {
	for name, test := range map[string]struct {
		cfg     Config
		origins int        // that the packets come from; 0: of a relay
		sources int        // in whose names the packets are
		want    Handshakes // 1 is any number of refusals
	}{
		"one address":       {Config{}, 1, 300, Handshakes{Unfinished: 256, RefusedAddress: 1}},
		"two addresses":     {Config{MaxHandshakesPerAddress: 10}, 2, 200, Handshakes{Unfinished: 20, RefusedAddress: 1}},
		"over a relay":      {Config{MaxHandshakes: 300}, 0, 400, Handshakes{Unfinished: 300, RefusedFull: 1}},
		"one node":          {Config{}, 1, 1, Handshakes{Unfinished: 8, RefusedNode: 1}},
		"two over a relay":  {Config{MaxHandshakesPerNode: 3}, 0, 2, Handshakes{Unfinished: 6, RefusedNode: 1}},
		"a node everywhere": {Config{}, 100, 1, Handshakes{Unfinished: 8, RefusedNode: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				delay := simnet.Impairment{Delay: 10 * time.Millisecond}
				p := newPairWith(t, delay, delay, 1, 1200, test.cfg)
				defer p.close()
				first := openers(t, 20)
				for i := range 400 {
					via := &linkPath{wirePath: &wirePath{name: "nowhere", mtu: 1200}}
					if test.origins > 0 {
						via.from = string(rune('a' + i%test.origins))
					}
					via.wire = simnet.NewWire(simnet.Impairment{}, 1, func(f *frame.Frame) { f.Release() })
					defer via.wire.Close()
					p.b.Receive(copyFrom(first[i%len(first)], identity.NodeID(1000+i%test.sources)), via)
				}
				got := p.b.Handshakes() // some packets are taken for repeated ones
				got.RefusedFull, got.RefusedNode, got.RefusedAddress = min(got.RefusedFull, 1), min(got.RefusedNode, 1), min(got.RefusedAddress, 1)
				if got != test.want {
					t.Errorf("counted %+v, want %+v", got, test.want)
				}
				began := time.Now()
				if test.want.RefusedFull == 0 {
					p.dial(t)
					if took := time.Since(began); took > 100*time.Millisecond {
						t.Errorf("who comes another way waited %v", took)
					}
				}
				time.Sleep(time.Minute)
				if got := p.b.Handshakes().Unfinished; got != 0 {
					t.Errorf("%d handshakes are counted after they have failed", got)
				}
				p.b.mu.Lock()
				defer p.b.mu.Unlock()
				p.b.openings.sweep(&p.b.cfg, time.Now())
				if len(p.b.openings.nodes)+len(p.b.openings.origins) != 0 {
					t.Errorf("left are %+v", p.b.openings)
				}
			})
		})
	}
}

// Handshakes that are over at once, because those who begin them prove nothing,
// are limited as those that are not.
func TestHandshakesThatFailFastAreLimitedEachSecond(t *testing.T) {
	cfg := Config{MaxHandshakes: 40, MaxHandshakesPerNode: 3, MaxHandshakesPerAddress: 10}
	for _, tt := range []struct {
		name           string
		nodes, origins int
		eachSecond     int
	}{
		{"one node", 1, 1000, 3},
		{"one address", 1000, 1, 10},
		{"everybody", 1000, 1000, 40},
		{"over a relay", 1000, 0, 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, now, i := newOpenings(), time.Unix(1e9, 0), 0
			attack := func() (begun int) {
				for range 1000 {
					i++
					node, from := identity.NodeID(1+i%tt.nodes), ""
					if tt.origins > 0 {
						from = fmt.Sprint(i % tt.origins)
					}
					if o.begin(&cfg, node, from, now) {
						o.end(node, from)
						begun++
					}
				}
				return begun
			}
			if got := attack(); got != tt.eachSecond {
				t.Errorf("%d at once, want %d", got, tt.eachSecond)
			}
			total := 0
			for range 1000 {
				now = now.Add(10 * time.Millisecond)
				total += attack()
			}
			if total > 10*tt.eachSecond || total < 10*tt.eachSecond-1 {
				t.Errorf("%d in ten seconds, want %d", total, 10*tt.eachSecond)
			}
			if n := len(o.nodes) + len(o.origins); n > 4*cfg.MaxHandshakes+2 {
				t.Errorf("%d shares are kept", n)
			}
			if now = now.Add(time.Minute); !o.begin(&cfg, 1, "x", now) || len(o.nodes)+len(o.origins) != 2 {
				t.Errorf("a minute later %d and %d shares are kept", len(o.nodes), len(o.origins))
			}
		})
	}
}
