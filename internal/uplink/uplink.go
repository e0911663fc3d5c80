package uplink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// JoinTimeout is how long the session and the registration may take once a
// link is up.
const JoinTimeout = 10 * time.Second

const (
	// farewellTimeout is how long a relay that is left has to answer a last
	// time, and retireTimeout how long leaving it may take.
	farewellTimeout = time.Second
	retireTimeout   = 2 * time.Second
	// gaugeTimeout is how long a relay may take to answer when its distance is
	// measured.
	gaugeTimeout = 5 * time.Second
	// relistEvery is how often the node registers anew, because the certificate
	// with its names, which went with the registration, expires: at least 8
	// hours after it was shown.
	relistEvery = 6 * time.Hour
)

// An Uplink keeps one relay reachable until it is closed. Multiple goroutines
// may invoke its methods simultaneously.
type Uplink struct {
	addr    string
	place   *place // guarded by the set's mu
	cfg     Config
	carrier carrier
	set     *Set
	log     logrus.FieldLogger
	cancel  context.CancelFunc
	ports   chan port     // capacity 1: the newest link
	renew   chan struct{} // capacity 1: register, if this is home
	leave   chan struct{} // capacity 1: the relay goes away and another is home, or retiring is set
	gauge   chan struct{} // capacity 1: measure the round trip
	wg      sync.WaitGroup

	retiring     atomic.Bool
	revokedThere atomic.Uint64 // as of the last registration

	mu     sync.Mutex
	status Status
	client *control.Client // while PhaseUp
	dialer *link.Dialer    // while one runs

	// Owned by run.
	last association // newest session with the relay; nil before the first
}

// newUplink begins to use a place. The set's mu is held.
func newUplink(p *place, set *Set) *Uplink {
	ctx, cancel := context.WithCancel(context.Background())
	u := &Uplink{
		addr:    p.addr(),
		place:   p,
		cfg:     set.cfg,
		carrier: set.carrier,
		set:     set,
		log:     set.cfg.Logger.WithField("relay", p.addr()),
		cancel:  cancel,
		ports:   make(chan port, 1),
		renew:   make(chan struct{}, 1),
		leave:   make(chan struct{}, 1),
		gauge:   make(chan struct{}, 1),
		status:  p.last,
	}
	u.status.enter(PhaseDialing)
	reach := reacher{dial: set.cfg.Dial, lookup: set.cfg.Lookup}
	addrs := p.addrs
	u.wg.Go(func() {
		u.run(ctx, func(ctx context.Context, _ string) (link.FrameConn, error) { return reach.reach(ctx, addrs) })
	})
	return u
}

// Status returns the present state.
func (u *Uplink) Status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status
}

// Lookup asks the relay which nodes a target means. The error is
// [control.ErrNotFound], a *[NoRelayError] when the uplink is not up, ctx's
// error, or says how the relay failed.
func (u *Uplink) Lookup(ctx context.Context, t identity.Target) ([]control.Record, error) {
	u.mu.Lock()
	client, status := u.client, u.status
	u.mu.Unlock()
	if client == nil {
		return nil, &NoRelayError{Relays: []Status{status}}
	}
	var records []control.Record
	err := whileBusy(ctx, func() (err error) {
		records, err = client.Lookup(ctx, t)
		return err
	})
	return records, err
}

// kickDialer ends a pause between two attempts.
func (u *Uplink) kickDialer() {
	u.mu.Lock()
	d := u.dialer
	u.mu.Unlock()
	if d != nil {
		d.Kick()
	}
}

// readdress ends the link if it begins at none of the host's addresses.
func (u *Uplink) readdress(have []netip.Addr) {
	u.mu.Lock()
	d := u.dialer
	u.mu.Unlock()
	if d == nil {
		return
	}
	l, ok := d.State().Link.(moored)
	if !ok {
		return
	}
	local, err := netip.ParseAddrPort(l.LocalAddr().String())
	if err == nil && !slices.Contains(have, local.Addr().Unmap().WithZone("")) {
		l.CloseWithError(fmt.Errorf("uplink: this host has lost its address %v", local.Addr()))
	}
}

// retire leaves the relay with a word, and waits for the uplink's goroutines.
func (u *Uplink) retire() {
	u.retiring.Store(true)
	kick(u.leave)
	u.mu.Lock()
	client := u.client
	u.mu.Unlock()
	if client == nil {
		u.cancel()
	}
	defer time.AfterFunc(retireTimeout, u.cancel).Stop()
	u.wg.Wait()
}

// close ends the uplink and its link, and waits for its goroutines.
func (u *Uplink) close() {
	u.cancel()
	u.wg.Wait()
}

// run keeps a dialler, except while another uplink leads to the same relay.
func (u *Uplink) run(ctx context.Context, dial link.Dial) {
	for ctx.Err() == nil {
		err := u.dial(ctx, dial)
		if double, ok := errors.AsType[*duplicateError](err); ok {
			u.begin(PhaseDuplicate, time.Time{}, err)
			select {
			case <-double.released:
			case <-ctx.Done():
			}
		}
	}
	u.begin(PhaseClosed, time.Time{}, nil)
}

// dial runs a dialler and uses its links. It returns when ctx ends or with a
// *duplicateError.
func (u *Uplink) dial(ctx context.Context, dial link.Dial) error {
	d := link.NewDialer(link.DialerConfig{
		Addr:       u.addr,
		Dial:       dial,
		Attach:     func(fc link.FrameConn) link.Attached { return u.carrier.attach(u.addr, fc) },
		OnState:    u.dialerChanged,
		MinBackoff: u.cfg.MinBackoff,
		MaxBackoff: u.cfg.MaxBackoff,
	})
	u.setDialer(d)
	defer func() {
		u.setDialer(nil)
		_ = d.Close()
	}()
	for {
		select {
		case p := <-u.ports:
			if err := u.use(ctx, p); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (u *Uplink) setDialer(d *link.Dialer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dialer = d
}

// dialerChanged is called by the dialler with each of its states, in order.
func (u *Uplink) dialerChanged(s link.DialerState) {
	switch s.Phase {
	case link.PhaseDialing:
		u.begin(PhaseDialing, time.Time{}, s.Err)
	case link.PhaseWaiting:
		u.log.WithError(s.Err).Debug("relay is not reachable; trying again")
		u.set.noteFailure(u)
		u.begin(PhaseWaiting, s.Next, s.Err)
	case link.PhaseUp:
		u.begin(PhaseJoining, time.Time{}, s.Err)
		select {
		case <-u.ports: // ended before it was used
		default:
		}
		u.ports <- s.Link
	}
}

// use joins the relay over a new link, again and again until the link breaks
// or ctx ends. The error is a *duplicateError.
func (u *Uplink) use(ctx context.Context, p port) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-p.Done():
			cancel(p.Err())
		case <-ctx.Done():
		}
	})
	defer wg.Wait()
	defer cancel(nil)
	pause := newBackoff(u.cfg.MinBackoff, u.cfg.MaxBackoff)
	for {
		err := notServed(u.join(ctx, p, pause))
		if _, ok := errors.AsType[*duplicateError](err); ok {
			return err
		}
		if ctx.Err() != nil || p.Err() != nil {
			return nil
		}
		if !errors.Is(err, net.ErrClosed) { // the node is closing
			u.log.WithError(err).Warn("cannot join the relay; trying again")
		}
		u.set.noteFailure(u)
		if errors.Is(err, ErrNotServed) {
			end(p, err) // the relay is about to do so, without a word
			return nil
		}
		u.failed(err)
		if !pause.wait(ctx) {
			return nil
		}
	}
}

// kick puts a token into a channel of capacity 1.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
