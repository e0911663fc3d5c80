package uplink

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// A fakeRelay is what the fake carrier reaches behind one or more addresses.
// Its fields are changed with mu held.
type fakeRelay struct {
	key identity.PublicKey

	mu         sync.Mutex
	down       error // dialling fails with this
	refuse     error // joining fails with this
	failures   []error
	known      map[string]control.Record // by name
	registered []control.Register
	links      []*fakePort
	servers    []*control.Server
	sessions   []*fakeSession
	dials      []time.Time
	pings      int           // that came in while a link was up
	delay      time.Duration // of answers to pings
	noRelay    bool          // its certificate does not let it be one
}

func newFakeRelay(n byte) *fakeRelay {
	return &fakeRelay{key: identity.PublicKey{n, 31: 7}, known: make(map[string]control.Record)}
}

func (r *fakeRelay) id() identity.NodeID { return r.key.ID() }

// set changes the relay under its lock.
func (r *fakeRelay) set(f func(r *fakeRelay)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

// cut breaks the newest link.
func (r *fakeRelay) cut() {
	r.mu.Lock()
	p := r.links[len(r.links)-1]
	r.mu.Unlock()
	p.fail(errors.New("cut"))
}

// last returns the newest control server.
func (r *fakeRelay) last() *control.Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.servers[len(r.servers)-1]
}

func (r *fakeRelay) Register(_ context.Context, m *control.Register) (*control.Registered, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) > 0 {
		err := r.failures[0]
		r.failures = r.failures[1:]
		if err != nil {
			return nil, err
		}
	}
	r.registered = append(r.registered, *m)
	return &control.Registered{ObservedAddr: "192.0.2.7:4000", RelayName: "fake"}, nil
}

func (r *fakeRelay) Lookup(_ context.Context, m *control.Lookup) ([]control.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec, ok := r.known[m.Name]; ok {
		return []control.Record{rec}, nil
	}
	return nil, nil
}

func (r *fakeRelay) Observe(context.Context) (string, error) { return "", nil }

// A fakePort is a link that ends when told to.
type fakePort struct {
	once sync.Once
	done chan struct{}
	err  error
}

func (p *fakePort) fail(err error) {
	p.once.Do(func() {
		p.err = err
		close(p.done)
	})
}

func (p *fakePort) Done() <-chan struct{} { return p.done }

func (p *fakePort) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

func (p *fakePort) CloseWithError(err error) { p.fail(err) }

// LocalAddr says that the host has the address fakeLocal.
func (p *fakePort) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(fakeLocal, 4000))
}

var fakeLocal = netip.MustParseAddr("198.51.100.7")

func (p *fakePort) Close() error {
	p.fail(net.ErrClosed)
	return nil
}

// A fakeConn only says which relay it leads to.
type fakeConn struct {
	link.FrameConn
	relay *fakeRelay
}

// A fakeCarrier stands for the switch and the endpoint of a node.
type fakeCarrier struct {
	relays map[string]*fakeRelay // by address
	wg     sync.WaitGroup

	mu        sync.Mutex
	ports     map[port]*fakeRelay
	ups       int
	preferred []identity.NodeID
}

func (c *fakeCarrier) acceptor(_ context.Context, p port) (identity.NodeID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ports[p].id(), true
}

func (c *fakeCarrier) prefer(relay identity.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.preferred = append(c.preferred, relay)
}

func (c *fakeCarrier) dial(_ context.Context, addr string) (link.FrameConn, error) {
	r := c.relays[addr]
	if r == nil {
		return nil, errors.New("connection refused")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dials = append(r.dials, time.Now())
	if r.down != nil {
		return nil, r.down
	}
	return &fakeConn{relay: r}, nil
}

func (c *fakeCarrier) attach(_ string, fc link.FrameConn) port {
	r := fc.(*fakeConn).relay
	p := &fakePort{done: make(chan struct{})}
	r.set(func(r *fakeRelay) { r.links = append(r.links, p) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ports[p] = r
	return p
}

func (c *fakeCarrier) join(_ context.Context, p port, last association) (association, error) {
	c.mu.Lock()
	r := c.ports[p]
	c.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return nil, r.refuse
	}
	if last != nil && last.Err() == nil {
		return last, nil
	}
	s := &fakeSession{relay: r, carrier: c, fakePort: fakePort{done: make(chan struct{})}}
	r.sessions = append(r.sessions, s)
	return s, nil
}

func (c *fakeCarrier) pathUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ups++
}

// A fakeSession opens control streams that the fake relay serves.
type fakeSession struct {
	fakePort
	relay   *fakeRelay
	carrier *fakeCarrier
}

func (s *fakeSession) peer() identity.Peer {
	return identity.Peer{ID: s.relay.id(), Key: s.relay.key}
}

func (s *fakeSession) openControl(context.Context) (control.Stream, error) {
	node, relay := net.Pipe()
	server := control.NewServer(fakeStream{relay}, s.relay)
	s.relay.set(func(r *fakeRelay) { r.servers = append(r.servers, server) })
	s.carrier.wg.Go(func() { _ = server.Serve(context.Background()) })
	return fakeStream{node}, nil
}

func (s *fakeSession) isRelay() bool { return !s.relay.noRelay }

func (s *fakeSession) rtt() (d time.Duration) {
	s.relay.set(func(r *fakeRelay) { d = r.delay })
	return d
}

// Ping answers at once, as long as the relay's newest link is up.
func (s *fakeSession) Ping(context.Context) (time.Duration, error) {
	s.relay.set(func(r *fakeRelay) {
		if r.links[len(r.links)-1].Err() == nil {
			r.pings++
		}
	})
	return s.rtt(), nil
}

type fakeStream struct{ net.Conn }

func (s fakeStream) Reset(uint64) error { return s.Close() }

// newTestSet starts uplinks to fake relays; its end is awaited when t ends.
func newTestSet(t *testing.T, cfg Config, relays map[string]*fakeRelay) (*Set, *fakeCarrier) {
	c := &fakeCarrier{relays: relays, ports: make(map[port]*fakeRelay)}
	cfg.Dial = c.dial
	s := newSet(cfg, c)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		c.wg.Wait()
	})
	return s, c
}

func (r *fakeRelay) Revoke(context.Context, [][]byte) error { return nil }
