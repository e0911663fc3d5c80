package uplink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// A Config configures a [Set].
type Config struct {
	// Relays are the addresses of the relays, as Dial takes them.
	Relays []string
	// Dial makes one attempt to reach a relay. Required; see [link.DialTCP].
	Dial link.Dial
	// Registration returns what relays shall know of this node, without a
	// version. Zero: nothing but its ID and key.
	Registration func() control.Register
	// OnChange is called after each change of Status. It must not block, and
	// not call Close. May be nil.
	OnChange func()
	// OnGoingAway is told that the relay at addr stops after about grace, 0 if
	// it did not say. It must not block, and not call Close. May be nil.
	OnGoingAway func(addr string, grace time.Duration)
	// MinBackoff and MaxBackoff bound the pauses after failures. Zero:
	// [link.DefaultMinBackoff] and [link.DefaultMaxBackoff].
	MinBackoff, MaxBackoff time.Duration
	// Logger is told what happens to the uplinks. Nil is silent.
	Logger logrus.FieldLogger
}

// A Set is a node's uplinks, to all its relays. Multiple goroutines may invoke
// its methods simultaneously.
type Set struct {
	cfg      Config
	carrier  carrier
	versions *versions
	uplinks  []*Uplink // as configured

	mu     sync.Mutex
	change chan struct{} // closed, and replaced, at each change
	home   *Uplink       // answers lookups first; may be nil or down
	claims map[identity.NodeID]*claim
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
	s := &Set{
		cfg:      cfg,
		carrier:  c,
		versions: newVersions(),
		change:   make(chan struct{}),
		claims:   make(map[identity.NodeID]*claim),
	}
	s.mu.Lock()
	defer s.mu.Unlock() // until uplinks is complete
	for _, addr := range cfg.Relays {
		s.uplinks = append(s.uplinks, newUplink(addr, s))
	}
	return s
}

// Uplinks returns the uplinks in the order of Config.Relays.
func (s *Set) Uplinks() []*Uplink { return s.uplinks }

// Status returns the state of each uplink, in the order of Config.Relays.
func (s *Set) Status() []Status {
	all := make([]Status, len(s.uplinks))
	for i, u := range s.uplinks {
		all[i] = u.Status()
	}
	return all
}

// Home returns the state of the uplink that is used first: the first that came
// up, until it goes down or its relay goes away and another is up. It returns
// false when none is up.
func (s *Set) Home() (Status, bool) {
	s.mu.Lock()
	home := s.home
	s.mu.Unlock()
	if home == nil {
		return Status{}, false
	}
	status := home.Status()
	return status, status.Phase == PhaseUp
}

// WaitReady waits until an uplink is up. When ctx ends first, the error
// matches ctx's and is a *[NoRelayError] with the reasons.
func (s *Set) WaitReady(ctx context.Context) error {
	for {
		s.mu.Lock()
		change := s.change
		s.mu.Unlock()
		if _, up := s.Home(); up {
			return nil
		}
		if len(s.uplinks) == 0 {
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

// Renew makes all uplinks register again.
func (s *Set) Renew() {
	for _, u := range s.uplinks {
		u.Renew()
	}
}

// Kick ends all pauses between attempts: the network has changed.
func (s *Set) Kick() {
	for _, u := range s.uplinks {
		u.Kick()
	}
}

// Close ends all uplinks and waits for their goroutines. Sessions stay.
func (s *Set) Close() error {
	for _, u := range s.uplinks {
		u.cancel()
	}
	for _, u := range s.uplinks {
		u.close()
	}
	return nil
}

// homeFirst returns the uplinks in the order in which they are asked.
func (s *Set) homeFirst() []*Uplink {
	s.mu.Lock()
	home := s.home
	s.mu.Unlock()
	order := make([]*Uplink, 0, len(s.uplinks))
	if home != nil {
		order = append(order, home)
	}
	for _, u := range s.uplinks {
		if u != home {
			order = append(order, u)
		}
	}
	return order
}

// changed chooses the home relay anew and tells everybody who waits.
func (s *Set) changed() {
	s.mu.Lock()
	s.chooseHome()
	close(s.change)
	s.change = make(chan struct{})
	s.mu.Unlock()
	if s.cfg.OnChange != nil {
		s.cfg.OnChange()
	}
}

// chooseHome keeps the home relay while it is up and stays, and otherwise
// takes the first that is; one that goes away is better than none. Uplinks to
// relays that go away are left once another is up. s.mu is held.
func (s *Set) chooseHome() {
	var stays, leaves *Uplink
	for _, u := range append([]*Uplink{s.home}, s.uplinks...) {
		if u == nil {
			continue
		}
		switch status := u.Status(); {
		case status.Phase != PhaseUp:
		case !status.GoingAway:
			stays = cmp.Or(stays, u)
		default:
			leaves = cmp.Or(leaves, u)
		}
	}
	if next := cmp.Or(stays, leaves); next != nil {
		s.home = next
	}
	if stays == nil {
		return
	}
	for _, u := range s.uplinks {
		if u.Status().GoingAway {
			kick(u.leave)
		}
	}
}

// claim notes that u leads to a relay. The error is a *duplicateError when
// another uplink does.
func (s *Set) claim(relay identity.NodeID, u *Uplink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.claims[relay]; c != nil {
		return &duplicateError{addr: c.by.addr, released: c.released}
	}
	s.claims[relay] = &claim{by: u, released: make(chan struct{})}
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
