package uplink

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/link"
)

// A host is an address in a test of racing: it answers after a while.
type host struct {
	after time.Duration
	err   error
}

// A raced is a conn to such a host.
type raced struct {
	link.FrameConn
	addr   string
	closed bool
}

func (c *raced) Close() error {
	c.closed = true
	return nil
}

// A racetrack dials hosts and notes when.
type racetrack struct {
	hosts map[string]host

	mu    sync.Mutex
	dials []string
	at    []time.Duration
	open  []*raced
	began time.Time
}

func (r *racetrack) dial(ctx context.Context, addr string) (link.FrameConn, error) {
	r.mu.Lock()
	r.dials = append(r.dials, addr)
	r.at = append(r.at, time.Since(r.began))
	r.mu.Unlock()
	h := r.hosts[addr]
	select {
	case <-time.After(h.after):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if h.err != nil {
		return nil, h.err
	}
	c := &raced{addr: addr}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = append(r.open, c)
	return c, nil
}

func TestAddressesAreTriedOneAfterTheOther(t *testing.T) {
	refused := errors.New("refused")
	slow := host{after: time.Hour}
	dead := host{err: refused}
	good := host{after: 10 * time.Millisecond}
	tests := []struct {
		name  string
		hosts []host
		want  int           // who wins; -1: nobody
		dials int           // how many are tried
		least time.Duration // how long it takes
		most  time.Duration
	}{
		{"the first works", []host{good, good}, 0, 1, good.after, good.after},
		{"the first is refused", []host{dead, good, good}, 1, 2, good.after, good.after},
		{"the first is slow", []host{slow, good}, 1, 2, attemptDelay, attemptDelay + attemptJitter + good.after},
		{"two are slow", []host{slow, slow, good}, 2, 3, 2 * attemptDelay, 2*(attemptDelay+attemptJitter) + good.after},
		{"slower than the next begins, but first", []host{{after: 450 * time.Millisecond}, {after: 300 * time.Millisecond}}, 0, 2, 450 * time.Millisecond, 450 * time.Millisecond},
		{"all are refused", []host{dead, dead, dead}, -1, 3, 0, 0},
		{"one, refused", []host{dead}, -1, 1, 0, 0},
		{"none", nil, -1, 0, 0, 0},
		{"refused, slow and too late", []host{dead, slow, slow}, -1, 3, 4 * time.Second, 4 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				track := &racetrack{hosts: make(map[string]host), began: time.Now()}
				var addrs []string
				for i, h := range tt.hosts {
					addrs = append(addrs, string(rune('a'+i)))
					track.hosts[addrs[i]] = h
				}
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				defer cancel()
				conn, err := reacher{dial: track.dial}.race(ctx, addrs)
				if d := time.Since(track.began); d < tt.least || d > tt.most {
					t.Errorf("took %v, want %v to %v", d, tt.least, tt.most)
				}
				if len(track.dials) != tt.dials {
					t.Errorf("tried %v, want %d", track.dials, tt.dials)
				}
				if tt.want < 0 {
					if err == nil {
						t.Errorf("%v won", conn)
					}
					return
				}
				if err != nil || conn.(*raced).addr != addrs[tt.want] {
					t.Fatalf("got %v, %v", conn, err)
				}
				for _, c := range track.open {
					if c.closed == (c == conn.(*raced)) {
						t.Errorf("conn to %s is closed: %v", c.addr, c.closed)
					}
				}
			})
		})
	}
}

// names are what host names stand for.
type names map[string][]string

func (n names) lookup(_ context.Context, a link.Addr) ([]netip.Addr, error) {
	var ips []netip.Addr
	for _, s := range n[a.Host] {
		ips = append(ips, netip.MustParseAddr(s))
	}
	if ips == nil {
		return nil, errors.New("no such host")
	}
	return ips, nil
}

func TestHostNamesLeadToAllTheirAddresses(t *testing.T) {
	known := names{
		"two.example":  {"192.0.2.1", "192.0.2.2"},
		"both.example": {"192.0.2.1", "192.0.2.2", "2001:db8::1", "::ffff:192.0.2.3"},
	}
	tests := []struct {
		addr string
		want []string // sorted
		six  int      // how many of them begin, alternating with the others
	}{
		{"tcp://two.example:9999", []string{"tcp://two.example:9999#192.0.2.1", "tcp://two.example:9999#192.0.2.2"}, 0},
		{"both.example:9999", []string{
			"tcp://both.example:9999#192.0.2.1", "tcp://both.example:9999#192.0.2.2", "tcp://both.example:9999#192.0.2.3",
			"tcp://both.example:9999#2001:db8::1",
		}, 1},
		{"tcp://gone.example:9999", []string{"tcp://gone.example:9999"}, 0},
		{"192.0.2.7:9999", []string{"192.0.2.7:9999"}, 0},
		{"two.example:9999#192.0.2.9", []string{"two.example:9999#192.0.2.9"}, 0},
		{"what is that", []string{"what is that"}, 0},
	}
	for _, tt := range tests {
		firsts := make(map[string]bool)
		for range 100 {
			got := reacher{lookup: known.lookup}.resolve(t.Context(), tt.addr)
			if tt.six > 0 && !strings.Contains(got[0], "2001:") {
				t.Errorf("%s: IPv6 is not the first of %v", tt.addr, got)
			}
			firsts[got[len(got)-1]] = true
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Fatalf("%s: got %v, want %v", tt.addr, got, tt.want)
			}
		}
		if len(tt.want) > 1 && len(firsts) < 2 {
			t.Errorf("%s: always the same order", tt.addr)
		}
	}
	if got := (reacher{}).resolve(t.Context(), "two.example:9999"); len(got) != 1 {
		t.Errorf("without a look-up: %v", got)
	}
}

func TestRelayBehindANameIsReachedAtOneOfManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRelay(1)
		const name = "tcp://relay.example.org:9999"
		relays := map[string]*fakeRelay{name + "#192.0.2.3": r} // the others refuse
		cfg := Config{Relays: []string{name}, Lookup: names{"relay.example.org": {"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"}}.lookup}
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		if st, _ := s.Home(); st.Addr != name {
			t.Errorf("home is %+v", st)
		}
	})
}
