package uplink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// errNotHome ends a registration that is not wanted any more.
var errNotHome = errors.New("the node is registered at another relay")

// errNoRelay is how a learned relay is left that is none.
var errNoRelay = errors.New("the node there may not be a relay in this network, as its certificate says")

// join makes session and, at home, registration over a link and keeps them
// until one of them fails.
func (u *Uplink) join(ctx context.Context, p port, pause *backoff) error {
	setup, cancel := context.WithTimeoutCause(ctx, JoinTimeout,
		fmt.Errorf("the relay did not complete the session and the registration within %v", JoinTimeout))
	defer cancel()
	if u.set.anyClaims() { // a second session with one relay would end the link of the first
		if id, ok := u.carrier.acceptor(setup, p); ok {
			if err := u.set.taken(id, u); err != nil {
				return err
			}
		}
	}
	a, err := u.carrier.join(setup, p, u.last)
	if err != nil {
		return fmt.Errorf("session with the relay: %w", err)
	}
	u.last = a
	relay := a.peer()
	if err := u.set.claim(relay.ID, u); err != nil {
		return err
	}
	defer u.set.release(relay.ID, u)
	if u.Status().Learned && !a.isRelay() {
		u.log.WithField("id", relay.ID.String()).Warn("another relay told of a relay that is none; forgetting it")
		u.set.forget(u)
		return errNoRelay
	}
	stream, err := a.openControl(setup)
	if err != nil {
		return fmt.Errorf("control stream to the relay: %w", err)
	}
	client := control.NewClient(stream, u.pushed)
	defer client.Close()
	defer u.set.entered(u)
	answer, home, err := u.introduce(setup, client, relay.ID)
	if err != nil {
		return err
	}
	pause.reset()
	u.set.noteSuccess(u, a.rtt())
	if !u.up(relay, client, answer, home) {
		return errLinkDown
	}
	u.set.entered(u)
	err = u.stay(ctx, p, a, client)
	u.down(err)
	return err
}

// introduce registers the node at the relay if that is home, and otherwise asks
// what the relay says to registrations, too.
func (u *Uplink) introduce(ctx context.Context, client *control.Client, relay identity.NodeID) (answer control.Registered, home bool, err error) {
	if u.set.enter(u) {
		answer, err = u.register(ctx, client, relay)
		if !errors.Is(err, errNotHome) {
			return answer, err == nil, wrapRegistration(err)
		}
	}
	answer.ObservedAddr, err = client.Observe(ctx)
	if err != nil {
		err = fmt.Errorf("the relay does not answer for this node: %w", err)
	}
	return answer, false, err
}

func wrapRegistration(err error) error {
	if err != nil {
		err = fmt.Errorf("registration at the relay: %w", err)
	}
	return err
}

// stay waits for the end of a joined link, session or control stream, and
// registers again when asked to. It ends the link when asked to leave.
func (u *Uplink) stay(ctx context.Context, p port, a association, client *control.Client) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of what wg waits for
	relist := time.NewTicker(relistEvery)
	defer relist.Stop()
	hand := time.NewTimer(handOnAfter + rand.N(handOnAfter))
	defer hand.Stop()
	for {
		var err error
		select {
		case <-hand.C:
			wg.Go(func() { u.handOn(ctx, client) })
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.Done():
			return fmt.Errorf("session with the relay ended: %w", a.Err())
		case <-client.Done():
			return client.Err()
		case <-u.leave:
			if u.retiring.Load() || u.Status().GoingAway { // not an earlier wish
				u.part(ctx, p, a, client)
				return errLeft
			}
		case <-u.gauge:
			wg.Go(func() { u.measure(ctx, a) })
		case <-relist.C:
			err = u.relist(ctx, a, client)
		case <-u.renew:
			err = u.relist(ctx, a, client)
			hand.Reset(handOnAfter + rand.N(handOnAfter))
		}
		if err != nil {
			return err
		}
	}
}

// part leaves the relay so that it has the acknowledgement of all that it said,
// and need not wait for that once the link is closed.
func (u *Uplink) part(ctx context.Context, p port, a association, client *control.Client) {
	_ = client.Close()
	ctx, cancel := context.WithTimeout(ctx, farewellTimeout)
	defer cancel()
	_, _ = a.Ping(ctx) // what is owed goes out with it
	if u.retiring.Load() {
		u.cancel()
	}
	_ = p.Close()
}

// measure measures the round trip to the relay.
func (u *Uplink) measure(ctx context.Context, a association) {
	ctx, cancel := context.WithTimeout(ctx, gaugeTimeout)
	defer cancel()
	if rtt, err := a.Ping(ctx); err == nil {
		u.set.measured(u, rtt)
		kick(u.set.wake)
	}
}

// relist registers at a relay that is up, if it is home.
func (u *Uplink) relist(ctx context.Context, a association, client *control.Client) error {
	ctx, cancel := context.WithTimeout(ctx, JoinTimeout)
	defer cancel()
	answer, err := u.register(ctx, client, a.peer().ID)
	if errors.Is(err, errNotHome) {
		return nil
	}
	if err != nil {
		return wrapRegistration(err)
	}
	u.change(func(s *Status) {
		s.answered(answer)
		s.Registered = s.Phase == PhaseUp
	})
	u.set.registered(u, u.Status())
	return nil
}

// register sends the node's registration, with a higher epoch if the relay
// knows one from before the clock was set back. The error is errNotHome if this
// relay is not, or no longer, home.
func (u *Uplink) register(ctx context.Context, client *control.Client, relay identity.NodeID) (control.Registered, error) {
	const attempts = 3
	var answer control.Registered
	var err error
	for range attempts {
		m := u.cfg.Registration()
		var home bool
		if m.Epoch, m.Seq, home = u.set.version(u); !home {
			return answer, errNotHome
		}
		if u.cfg.Sign != nil {
			if err := u.cfg.Sign(&m, relay); err != nil {
				return answer, err
			}
		}
		err = whileBusy(ctx, func() (err error) {
			answer, err = client.Register(ctx, m)
			return err
		})
		failed, ok := errors.AsType[*control.Failed](err)
		if ok && failed.Code == control.FailureConflict {
			u.set.event(Event{Kind: EventConflict, Addr: u.addr, Relay: relay, Err: err})
		}
		if !ok || failed.Code != control.FailureStale || !u.set.versions.raise(failed.Epoch) {
			break
		}
	}
	u.revokedThere.Store(answer.Revoked)
	return answer, err
}
