package uplink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// JoinTimeout is how long the session and the registration may take once a
// link is up.
const JoinTimeout = 10 * time.Second

// farewellTimeout is how long a relay that goes away has to answer a last time.
const farewellTimeout = time.Second

// An Uplink keeps one relay reachable until it is closed. Multiple goroutines
// may invoke its methods simultaneously.
type Uplink struct {
	addr     string
	cfg      Config
	carrier  carrier
	versions *versions
	set      *Set
	log      logrus.FieldLogger
	cancel   context.CancelFunc
	ports    chan port     // capacity 1: the newest link
	renew    chan struct{} // capacity 1: register again
	leave    chan struct{} // capacity 1: the relay goes away and another is up
	wg       sync.WaitGroup

	mu     sync.Mutex
	status Status
	client *control.Client // while PhaseUp
	dialer *link.Dialer    // while one runs

	// Owned by run.
	last association // newest session with the relay; nil before the first
}

func newUplink(addr string, set *Set) *Uplink {
	ctx, cancel := context.WithCancel(context.Background())
	u := &Uplink{
		addr:     addr,
		cfg:      set.cfg,
		carrier:  set.carrier,
		versions: set.versions,
		set:      set,
		log:      set.cfg.Logger.WithField("relay", addr),
		cancel:   cancel,
		ports:    make(chan port, 1),
		renew:    make(chan struct{}, 1),
		leave:    make(chan struct{}, 1),
		status:   Status{Addr: addr, Phase: PhaseDialing, Since: time.Now()},
	}
	u.wg.Go(func() { u.run(ctx) })
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
	return client.Lookup(ctx, t)
}

// Renew registers again, because what Config.Registration returns has changed.
func (u *Uplink) Renew() { kick(u.renew) }

// Kick ends a pause between two attempts: the network has changed.
func (u *Uplink) Kick() {
	u.mu.Lock()
	d := u.dialer
	u.mu.Unlock()
	if d != nil {
		d.Kick()
	}
}

// close ends the uplink and its link, and waits for its goroutines.
func (u *Uplink) close() {
	u.cancel()
	u.wg.Wait()
}

// run keeps a dialler, except while another uplink leads to the same relay.
func (u *Uplink) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := u.dial(ctx)
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
func (u *Uplink) dial(ctx context.Context) error {
	d := link.NewDialer(link.DialerConfig{
		Addr:       u.addr,
		Dial:       u.cfg.Dial,
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
		err := u.join(ctx, p, pause)
		if _, ok := errors.AsType[*duplicateError](err); ok {
			return err
		}
		if ctx.Err() != nil || p.Err() != nil {
			return nil
		}
		if !errors.Is(err, net.ErrClosed) { // the node is closing
			u.log.WithError(err).Warn("cannot join the relay; trying again")
		}
		u.failed(err)
		if !pause.wait(ctx) {
			return nil
		}
	}
}

// join makes session and registration over a link and keeps them until one of
// them fails.
func (u *Uplink) join(ctx context.Context, p port, pause *backoff) error {
	setup, cancel := context.WithTimeoutCause(ctx, JoinTimeout,
		fmt.Errorf("the relay did not complete the session and the registration within %v", JoinTimeout))
	defer cancel()
	a, err := u.carrier.join(setup, p, u.last)
	if err != nil {
		return fmt.Errorf("session with the relay: %w", err)
	}
	u.last = a
	if err := u.set.claim(a.peer().ID, u); err != nil {
		return err
	}
	defer u.set.release(a.peer().ID, u)
	stream, err := a.openControl(setup)
	if err != nil {
		return fmt.Errorf("control stream to the relay: %w", err)
	}
	client := control.NewClient(stream, u.pushed)
	defer client.Close()
	answer, err := u.register(setup, client)
	if err != nil {
		return fmt.Errorf("registration at the relay: %w", err)
	}
	pause.reset()
	if !u.up(a.peer(), client, answer) {
		return errLinkDown
	}
	defer u.down()
	return u.stay(ctx, p, a, client)
}

// stay waits for the end of a joined link, session or control stream, and
// registers again when asked to. It ends the link when asked to leave.
func (u *Uplink) stay(ctx context.Context, p port, a association, client *control.Client) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.Done():
			return fmt.Errorf("session with the relay ended: %w", a.Err())
		case <-client.Done():
			return client.Err()
		case <-u.leave:
			if u.Status().GoingAway { // not an earlier wish
				farewell(ctx, a)
				_ = p.Close()
				return errLeft
			}
		case <-u.renew:
			rctx, cancel := context.WithTimeout(ctx, JoinTimeout)
			answer, err := u.register(rctx, client)
			cancel()
			if err != nil {
				return fmt.Errorf("registration at the relay: %w", err)
			}
			u.change(func(s *Status) { s.answered(answer) })
		}
	}
}

// farewell makes sure that the relay has the acknowledgement of all that it
// said, so that it need not wait for that once the link is closed.
func farewell(ctx context.Context, a association) {
	ctx, cancel := context.WithTimeout(ctx, farewellTimeout)
	defer cancel()
	_, _ = a.Ping(ctx) // what is owed goes out with it
}

// register sends the node's registration, with a higher epoch if the relay
// knows one from before the clock was set back.
func (u *Uplink) register(ctx context.Context, client *control.Client) (control.Registered, error) {
	const attempts = 3
	var answer control.Registered
	var err error
	for range attempts {
		m := u.cfg.Registration()
		m.Epoch, m.Seq = u.versions.next()
		answer, err = client.Register(ctx, m)
		failed, ok := errors.AsType[*control.Failed](err)
		if !ok || failed.Code != control.FailureStale || !u.versions.raise(failed.Epoch) {
			break
		}
	}
	return answer, err
}

// pushed takes what the relay says unasked. It runs in the client's reader.
func (u *Uplink) pushed(m control.Message) {
	switch m := m.(type) {
	case *control.GoingAway:
		u.log.WithField("grace", m.Grace()).Info("relay is about to stop")
		u.change(func(s *Status) { s.GoingAway = true })
		if u.cfg.OnGoingAway != nil {
			u.cfg.OnGoingAway(u.addr, m.Grace())
		}
	case *control.Throttled:
		u.log.WithField("dropped", m.Dropped).Warn("relay throttles this node")
	}
}

// kick puts a token into a channel of capacity 1.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
