package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// An Attached is a running link as a [Dialer] sees it: a *Link or something
// that wraps one.
type Attached interface {
	Done() <-chan struct{}
	Err() error
	Close() error
}

// A DialerConfig configures a [Dialer].
type DialerConfig struct {
	// Addr is what Dial gets.
	Addr string
	// Dial makes one attempt. Required; see [DialTCP].
	Dial Dial
	// Attach starts a link on a new conn and owns the conn. Required.
	Attach func(FrameConn) Attached
	// OnState is told each change, one call at a time, in order. It must not
	// call Close. May be nil.
	OnState func(DialerState)

	// MinBackoff is the pause after the first failure; it doubles with each
	// further one: up to MaxBackoff if the other end refused the link, and only
	// up to OutageBackoff otherwise, so that a network that works again is used
	// soon. The pause taken is a random one between half of that and all of
	// it. Zero: 100 ms, 10 s and 2 s.
	MinBackoff, MaxBackoff, OutageBackoff time.Duration
	// StableAfter is how long a link lives before its end counts as a first
	// failure again. Zero: 10 s.
	StableAfter time.Duration
	// AttemptTimeout bounds one attempt. Zero: 4 s, which leaves room for two
	// repetitions of a lost SYN.
	AttemptTimeout time.Duration
}

// The defaults of [DialerConfig].
const (
	DefaultMinBackoff     = 100 * time.Millisecond
	DefaultMaxBackoff     = 10 * time.Second
	DefaultStableAfter    = 10 * time.Second
	DefaultOutageBackoff  = 2 * time.Second
	DefaultAttemptTimeout = 4 * time.Second
)

// A Phase is what a Dialer does at the moment.
type Phase uint8

// The phases, in the order in which a dialler goes through them.
const (
	PhaseDialing Phase = iota // an attempt is being made
	PhaseUp                   // a link is up, as far as this side knows
	PhaseWaiting              // the next attempt is at Next
	PhaseClosed               // Close was called
)

// String names the phase.
func (p Phase) String() string {
	switch p {
	case PhaseDialing:
		return "dialing"
	case PhaseUp:
		return "up"
	case PhaseWaiting:
		return "waiting"
	}
	return "closed"
}

// A DialerState is a Dialer's state at one moment.
type DialerState struct {
	Addr     string
	Phase    Phase
	Failures int       // attempts and short-lived links in a row that failed
	Err      error     // why the last attempt or link failed; nil if there was none
	Since    time.Time // when Phase began
	Next     time.Time // PhaseWaiting: when the next attempt begins
	Link     Attached  // PhaseUp: what Attach returned
}

// A Dialer keeps a link to one address up until it is closed.
type Dialer struct {
	cfg    DialerConfig
	cancel context.CancelFunc
	kick   chan struct{} // capacity 1
	wg     sync.WaitGroup

	mu    sync.Mutex
	state DialerState
}

// NewDialer starts to dial at once.
func NewDialer(cfg DialerConfig) *Dialer {
	cfg.MinBackoff = cmp.Or(cfg.MinBackoff, DefaultMinBackoff)
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, DefaultMaxBackoff)
	cfg.OutageBackoff = cmp.Or(cfg.OutageBackoff, DefaultOutageBackoff)
	cfg.StableAfter = cmp.Or(cfg.StableAfter, DefaultStableAfter)
	cfg.AttemptTimeout = cmp.Or(cfg.AttemptTimeout, DefaultAttemptTimeout)
	ctx, cancel := context.WithCancel(context.Background())
	d := &Dialer{
		cfg:    cfg,
		cancel: cancel,
		kick:   make(chan struct{}, 1),
		state:  DialerState{Addr: cfg.Addr, Since: time.Now()},
	}
	d.wg.Go(func() { d.run(ctx) })
	return d
}

// State returns the present state.
func (d *Dialer) State() DialerState {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

// Kick ends a pause between two attempts: the network has changed.
func (d *Dialer) Kick() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// Close stops dialling, closes the link and waits until all of it has ended.
func (d *Dialer) Close() error {
	d.cancel()
	d.wg.Wait()
	return nil
}

func (d *Dialer) run(ctx context.Context) {
	failures := 0
	var lastErr error
	defer func() { d.enter(DialerState{Phase: PhaseClosed, Err: lastErr}) }()
	for ctx.Err() == nil {
		d.enter(DialerState{Phase: PhaseDialing, Failures: failures, Err: lastErr})
		lived, err := d.attempt(ctx, failures, lastErr)
		if ctx.Err() != nil {
			return
		}
		if lived >= d.cfg.StableAfter {
			failures = 0
		}
		failures++
		lastErr = err
		d.pause(ctx, failures, lastErr)
	}
}

// attempt dials once and, if that works, waits for the end of the link. It
// returns how long the link lived and why it ended.
func (d *Dialer) attempt(ctx context.Context, failures int, lastErr error) (time.Duration, error) {
	dctx, cancel := context.WithTimeoutCause(ctx, d.cfg.AttemptTimeout,
		fmt.Errorf("link: no connection to %s after %v", d.cfg.Addr, d.cfg.AttemptTimeout))
	fc, err := d.cfg.Dial(dctx, d.cfg.Addr)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && dctx.Err() != nil {
		err = context.Cause(dctx)
	}
	cancel()
	if err != nil {
		return 0, err
	}
	l := d.cfg.Attach(fc)
	began := time.Now()
	d.enter(DialerState{Phase: PhaseUp, Failures: failures, Err: lastErr, Link: l})
	select {
	case <-l.Done():
	case <-ctx.Done():
		_ = l.Close()
	}
	return time.Since(began), l.Err()
}

// pause waits before the next attempt.
func (d *Dialer) pause(ctx context.Context, failures int, err error) {
	select {
	case <-d.kick: // from before the failure
	default:
	}
	wait := d.backoff(failures, err)
	d.enter(DialerState{Phase: PhaseWaiting, Failures: failures, Err: err, Next: time.Now().Add(wait)})
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.kick:
	case <-ctx.Done():
	}
}

// backoff returns the pause after the given number of failures in a row, the
// last of which was err.
func (d *Dialer) backoff(failures int, err error) time.Duration {
	limit := d.cfg.MaxBackoff
	if _, refused := errors.AsType[*RefusedError](err); !refused {
		limit = min(limit, d.cfg.OutageBackoff)
	}
	wait := d.cfg.MinBackoff
	for range failures - 1 {
		if wait >= limit {
			break
		}
		wait *= 2
	}
	wait = min(wait, limit)
	return wait/2 + rand.N(wait/2+1)
}

func (d *Dialer) enter(s DialerState) {
	s.Addr, s.Since = d.cfg.Addr, time.Now()
	d.mu.Lock()
	d.state = s
	d.mu.Unlock()
	if d.cfg.OnState != nil {
		d.cfg.OnState(s)
	}
}
