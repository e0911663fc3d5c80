package relay

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/control"
	"golang.org/x/time/rate"
)

const (
	// registerBurst is how many seconds' worth of registrations a node or an
	// address may send at once: a node may have much to say at first, and behind
	// one address many may come at once.
	registerBurst = 20
	// requestBurst is the same for all requests.
	requestBurst = 2
	// addressPatience is how long a request waits for its turn among those of its
	// address before it is refused. It is long enough for a burst to pass, and
	// shorter than the time that a node gives a relay.
	addressPatience = 2 * time.Second
	// maxRated is how many addresses have buckets of their own, as many as there
	// are links; further ones share one. It is reached only by somebody with
	// that many addresses.
	maxRated = DefaultMaxLinks
	// sweepEvery is how often a full table is searched for buckets that are full
	// again.
	sweepEvery = time.Second
)

// perSecond is a bucket for n each second and burst seconds' worth at once,
// without a limit if n is negative.
func perSecond(n, burst int) *rate.Limiter {
	if n < 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(n), n*burst)
}

// share is what one address may take of limit: field, if it is set, and
// otherwise a quarter, or as much as of the default if there is no limit.
func share(field, limit, byDefault int) int {
	const part = 4
	switch {
	case field != 0:
		return field
	case limit < 0:
		return byDefault / part
	}
	return max(limit/part, 1)
}

// meshShare is what one address may take of a limit on links of other relays.
func (s *Server) meshShare(field, byDefault int) int {
	if s.MaxLinksPerAddress < 0 {
		return -1
	}
	return share(0, cmp.Or(field, byDefault), byDefault)
}

// A rated address is one with its buckets.
type rated struct{ registrations, requests *rate.Limiter }

// full reports whether the address is as if it had never asked.
func (a *rated) full(now time.Time) bool { return full(a.registrations, now) && full(a.requests, now) }

func full(l *rate.Limiter, now time.Time) bool {
	return l.Limit() == rate.Inf || l.TokensAt(now) >= float64(l.Burst())
}

// addressRates limits what the nodes behind each address ask, together.
type addressRates struct {
	registrations, requests int // each second; negative: no limit

	mu    sync.Mutex
	by    map[string]*rated // empty for those that found no room
	swept time.Time
}

func newAddressRates(registrations, requests int) *addressRates {
	return &addressRates{registrations: registrations, requests: requests, by: make(map[string]*rated)}
}

// register counts a registration from addr, and returns how long it must wait
// for its turn, false if that is too long.
func (a *addressRates) register(addr string, now time.Time) (time.Duration, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return take(a.of(addr, now).registrations, now)
}

// request is register for other requests.
func (a *addressRates) request(addr string, now time.Time) (time.Duration, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return take(a.of(addr, now).requests, now)
}

// take takes one from l. Nothing is taken that would be given back: with many
// who wait, rate.Reservation.Cancel gives back too little.
func take(l *rate.Limiter, now time.Time) (time.Duration, bool) {
	if missing := 1 - l.TokensAt(now); missing > float64(l.Limit())*addressPatience.Seconds() {
		return 0, false
	}
	return l.ReserveN(now, 1).DelayFrom(now), true
}

// of returns the buckets of an address. a.mu is held.
func (a *addressRates) of(addr string, now time.Time) *rated {
	r := a.by[addr]
	if r == nil && len(a.by) >= maxRated {
		if a.sweep(now); len(a.by) >= maxRated {
			addr, r = "", a.by[""]
		}
	}
	if r == nil {
		r = &rated{perSecond(a.registrations, registerBurst), perSecond(a.requests, requestBurst)}
		a.by[addr] = r
	}
	return r
}

// sweep forgets the addresses that are as if they had never asked. a.mu is held.
func (a *addressRates) sweep(now time.Time) {
	if now.Sub(a.swept) < sweepEvery {
		return
	}
	a.swept = now
	for addr, r := range a.by {
		if r.full(now) {
			delete(a.by, addr)
		}
	}
}

// errBusy refuses what the nodes of one address ask too often.
var errBusy = &control.Failed{
	Code:   control.FailureBusy,
	Reason: "the nodes at this node's address ask too much together; ask again in some seconds",
}

// awaitTurn waits for the turn that take gives to a node's address, which is
// empty if limits do not hold for it. It counts what is refused.
func awaitTurn(ctx context.Context, origin string, take func(string, time.Time) (time.Duration, bool), refused *atomic.Uint64) error {
	if origin == "" {
		return nil
	}
	wait, ok := take(origin, time.Now())
	if !ok {
		refused.Add(1)
		return errBusy
	}
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
