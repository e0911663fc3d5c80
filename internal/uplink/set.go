package uplink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// A Config configures a [Set].
type Config struct {
	// Relays are the addresses of the relays, as Dial takes them. Empty: none
	// is ever used.
	Relays []string
	// Dial makes one attempt to reach a relay. Required; see [link.DialTCP].
	Dial link.Dial
	// Lookup looks up the hosts of relays, so that each of their addresses is
	// tried. Nil: names are left to Dial.
	Lookup Lookup
	// Self is this node's ID, which is no relay for itself.
	Self identity.NodeID
	// Registration returns what relays shall know of this node, without a
	// version. Zero: nothing but its ID and key.
	Registration func() control.Register
	// Sign completes a registration at a relay. Nil: it is not signed.
	Sign func(m *control.Register, relay identity.NodeID) error
	// Memory keeps learned relays over restarts. Nil: they are forgotten.
	Memory Memory
	// OnChange is called after each change of Status. It must not block, and
	// not call Close. May be nil.
	OnChange func()
	// Revocations are what the node knows to be revoked, for relays that do not.
	// Nil: it tells them nothing.
	Revocations *identity.Revocations
	// OnRevocations is given what relays say is revoked, by several goroutines at
	// once. It must not block, and not call Close. May be nil.
	OnRevocations func(list [][]byte)
	// OnEvent is told what happens, by several goroutines at once. It must not
	// block, and not call Close. May be nil.
	OnEvent func(Event)
	// MinBackoff and MaxBackoff bound the pauses after failures. Zero:
	// [link.DefaultMinBackoff] and [link.DefaultMaxBackoff].
	MinBackoff, MaxBackoff time.Duration
	// Logger is told what happens to the uplinks. Nil is silent.
	Logger logrus.FieldLogger
}

// A Set is a node's relays: those in use and those it could use. Multiple
// goroutines may invoke its methods simultaneously.
type Set struct {
	cfg      Config
	carrier  carrier
	versions *versions
	cancel   context.CancelFunc
	wake     chan struct{} // capacity 1: tend must look
	wg       sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	change   chan struct{} // closed, and replaced, at each change
	places   []*place      // the configured ones as configured, then the learned ones, newest first
	home     *Uplink       // where the node is registered, or will be; nil before the first
	entering bool          // home is about to register for the first time on its link
	moved    time.Time     // when home was chosen
	settled  bool          // the relays that came up first were compared
	homeless time.Time     // since when no uplink is up; zero while one is
	measure  time.Time     // when home and spare are measured next
	explore  time.Time     // when another relay is measured next
	claims   map[identity.NodeID]*claim
	dirty    bool   // what is learned is not yet in memory
	listed   string // address of the relay at which the node was registered last
}

// A claim says which uplink leads to a relay.
type claim struct {
	by       *Uplink
	released chan struct{} // closed when by gives the relay up
}

// A duplicateError ends an attempt at a relay that another uplink leads to.
type duplicateError struct {
	addr     string // of the other uplink
	released <-chan struct{}
}

func (e *duplicateError) Error() string {
	return fmt.Sprintf("the address leads to the same relay as %s", e.addr)
}

// newSet starts the uplinks.
func newSet(cfg Config, c carrier) *Set {
	cfg.MinBackoff = cmp.Or(cfg.MinBackoff, link.DefaultMinBackoff)
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, link.DefaultMaxBackoff)
	if cfg.Registration == nil {
		cfg.Registration = func() control.Register { return control.Register{} }
	}
	if cfg.Logger == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		cfg.Logger = silent
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Set{
		cfg:      cfg,
		carrier:  c,
		versions: newVersions(),
		cancel:   cancel,
		wake:     make(chan struct{}, 1),
		change:   make(chan struct{}),
		homeless: time.Now(),
		claims:   make(map[identity.NodeID]*claim),
	}
	for _, addr := range cfg.Relays {
		s.places = append(s.places, &place{addrs: []string{addr}, configured: true, last: Status{Addr: addr}})
	}
	if len(cfg.Relays) > 0 {
		s.recall()
		s.wg.Go(func() { s.run(ctx) })
	}
	return s
}

// Status returns the state of each configured relay, in the order of
// Config.Relays, and of the learned ones that are in use.
func (s *Set) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Status
	for _, p := range s.places {
		if p.configured || p.uplink != nil {
			all = append(all, s.statusOf(p))
		}
	}
	return all
}

// statusOf completes an uplink's status with what the set knows. s.mu is held.
func (s *Set) statusOf(p *place) Status {
	st := p.last
	if p.uplink != nil {
		st = p.uplink.Status()
	}
	st.Home = p.uplink != nil && p.uplink == s.home
	st.Registered = st.Registered && st.Home
	st.RTT, _ = p.rtt()
	return st
}

// Known returns the learned relays, those that were told of last first.
func (s *Set) Known() []Known {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.knownLocked()
}

// Home returns the state of the relay where the node is registered. It returns
// false while it is registered nowhere.
func (s *Set) Home() (Status, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.home == nil {
		return Status{}, false
	}
	st := s.statusOf(s.home.place)
	return st, st.Phase == PhaseUp && st.Registered
}

// Up reports whether a relay is up, be it home or spare, so that frames have a
// way.
func (s *Set) Up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.homeless.IsZero()
}

// WaitReady waits until the node is registered at a relay. When ctx ends first,
// the error matches ctx's and is a *[NoRelayError] with the reasons.
func (s *Set) WaitReady(ctx context.Context) error {
	for {
		s.mu.Lock()
		change := s.change
		s.mu.Unlock()
		if _, up := s.Home(); up {
			return nil
		}
		if len(s.cfg.Relays) == 0 {
			return &NoRelayError{}
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", &NoRelayError{Relays: s.Status()}, context.Cause(ctx))
		}
	}
}

// Lookup asks the relays that are up which nodes a target means, the home
// relay first, until one knows. The error is [control.ErrNotFound] when at
// least one relay answered and none knows the node, and a *[NoRelayError] when
// none is up.
func (s *Set) Lookup(ctx context.Context, t identity.Target) ([]control.Record, error) {
	var failed []error
	answered, asked := false, false
	for _, u := range s.homeFirst() {
		records, err := u.Lookup(ctx, t)
		if _, down := errors.AsType[*NoRelayError](err); down {
			continue
		}
		asked = true
		switch {
		case err == nil:
			return records, nil
		case errors.Is(err, control.ErrNotFound):
			answered = true
		case ctx.Err() != nil:
			return nil, err
		default:
			failed = append(failed, fmt.Errorf("relay %s: %w", u.addr, err))
		}
	}
	switch {
	case !asked:
		return nil, &NoRelayError{Relays: s.Status()}
	case answered:
		return nil, control.ErrNotFound
	}
	return nil, errors.Join(failed...)
}

// Renew registers again, because what Config.Registration returns has changed.
func (s *Set) Renew() {
	s.mu.Lock()
	home := s.home
	s.mu.Unlock()
	if home != nil {
		kick(home.renew)
	}
}

// Kick ends all pauses between attempts: the network has changed.
func (s *Set) Kick() {
	s.mu.Lock()
	for _, p := range s.places {
		p.retry = time.Time{}
	}
	s.mu.Unlock()
	for _, u := range s.homeFirst() {
		u.kickDialer()
	}
	kick(s.wake)
}

// Readdress is Kick where the host's addresses have changed. A link that begins
// at an address that the host does not have any more is ended: nothing comes back
// on it, and TCP itself would not say so for many seconds. have are all addresses
// that there are now, loopback ones included.
func (s *Set) Readdress(have []netip.Addr) {
	for _, u := range s.homeFirst() {
		u.readdress(have)
	}
	s.Kick()
}

// Close ends all uplinks and waits for their goroutines. Sessions stay.
func (s *Set) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	used := s.homeFirst()
	for _, u := range used {
		u.cancel()
	}
	for _, u := range used {
		u.close()
	}
	s.cancel()
	s.wg.Wait()
	return nil
}

// homeFirst returns the uplinks in the order in which they are asked.
func (s *Set) homeFirst() []*Uplink {
	s.mu.Lock()
	defer s.mu.Unlock()
	var order []*Uplink
	for _, p := range s.places {
		switch {
		case p.uplink == nil:
		case p.uplink == s.home:
			order = append([]*Uplink{p.uplink}, order...)
		default:
			order = append(order, p.uplink)
		}
	}
	return order
}

// event tells whoever wants to know.
func (s *Set) event(e Event) {
	if s.cfg.OnEvent != nil {
		e.Time = time.Now()
		s.cfg.OnEvent(e)
	}
}

// claim notes that u leads to a relay. The error is a *duplicateError when
// another uplink does.
func (s *Set) claim(relay identity.NodeID, u *Uplink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.claims[relay]; c != nil {
		u.place.id = relay
		return &duplicateError{addr: c.by.addr, released: c.released}
	}
	s.claims[relay] = &claim{by: u, released: make(chan struct{})}
	u.place.id = relay
	return nil
}

// release undoes claim.
func (s *Set) release(relay identity.NodeID, u *Uplink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.claims[relay]; c != nil && c.by == u {
		delete(s.claims, relay)
		close(c.released)
	}
}

// taken returns the error of claim if another uplink than u leads to a relay
// already, and nil otherwise.
func (s *Set) taken(relay identity.NodeID, u *Uplink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.claims[relay]; c != nil && c.by != u {
		u.place.id = relay
		return &duplicateError{addr: c.by.addr, released: c.released}
	}
	return nil
}

// anyClaims reports whether another uplink leads to a relay.
func (s *Set) anyClaims() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.claims) > 0
}
