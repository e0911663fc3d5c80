package uplink

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/link"
)

const (
	// attemptDelay is how long an attempt has before the next address is tried
	// beside it (RFC 8305 section 5); attemptJitter is added at random, so that
	// the nodes that lost one relay do not knock at the next in step.
	attemptDelay  = 250 * time.Millisecond
	attemptJitter = 100 * time.Millisecond
	// maxAddrs is how many addresses of one relay are tried in an attempt.
	maxAddrs = 16
)

// A Lookup returns where the host of a relay's address may be dialled, nothing
// if that is not for this node to know.
type Lookup func(ctx context.Context, a link.Addr) ([]netip.Addr, error)

// A reacher makes one attempt to reach a relay, at all its addresses.
type reacher struct {
	dial   link.Dial
	lookup Lookup // nil: names are left to dial
}

// reach dials the addresses of a relay, one after the other and, if they are
// slow, beside each other, until one answers.
func (r reacher) reach(ctx context.Context, addrs []string) (link.FrameConn, error) {
	var all []string
	for _, addr := range addrs {
		all = append(all, r.resolve(ctx, addr)...)
	}
	return r.race(ctx, all[:min(len(all), maxAddrs)])
}

// resolve returns an address once for each IP address that its host has, in the
// order in which they are tried. An address that cannot be looked up is
// returned as it is: a proxy may know better, and otherwise dial says what is
// wrong.
func (r reacher) resolve(ctx context.Context, addr string) []string {
	a, err := link.ParseAddr(addr)
	if err != nil || a.IP.IsValid() || r.lookup == nil {
		return []string{addr}
	}
	if _, err := netip.ParseAddr(a.Host); err == nil {
		return []string{addr}
	}
	ips, err := r.lookup(ctx, a)
	if err != nil || len(ips) == 0 {
		return []string{addr}
	}
	var all []string
	for _, ip := range interleave(ips) {
		a.IP = ip
		all = append(all, a.String())
	}
	return all
}

// interleave puts addresses into a random order in which the families alternate,
// IPv6 first (RFC 8305 section 4). Random, so that nodes spread over the
// machines behind a name.
func interleave(ips []netip.Addr) []netip.Addr {
	var six, four []netip.Addr
	for _, i := range rand.Perm(len(ips)) {
		if ip := ips[i].Unmap().WithZone(""); ip.Is4() {
			four = append(four, ip)
		} else {
			six = append(six, ip)
		}
	}
	mixed := make([]netip.Addr, 0, len(ips))
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			mixed = append(mixed, six[i])
		}
		if i < len(four) {
			mixed = append(mixed, four[i])
		}
	}
	return mixed
}

// An attempt is the outcome of dialling one address.
type attempt struct {
	conn link.FrameConn
	err  error
}

// race dials addresses until one works. The next begins when the one before has
// failed or has taken attemptDelay.
func (r reacher) race(ctx context.Context, addrs []string) (link.FrameConn, error) {
	if len(addrs) == 1 {
		return r.dial(ctx, addrs[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	outcomes := make(chan attempt, len(addrs))
	var wg sync.WaitGroup
	defer func() { // those that lost
		cancel()
		wg.Wait()
		close(outcomes)
		for o := range outcomes {
			if o.conn != nil {
				_ = o.conn.Close()
			}
		}
	}()
	var failed attemptsError
	for i, addr := range addrs {
		wg.Go(func() {
			conn, err := r.dial(ctx, addr)
			outcomes <- attempt{conn, err}
		})
		last := i == len(addrs)-1
		conn, err := awaitAttempt(outcomes, i+1-len(failed), last, &failed)
		if conn != nil {
			return conn, nil
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if last {
			return nil, err
		}
	}
	return nil, errors.New("uplink: the relay has no address")
}

// awaitAttempt waits for a success among the running attempts. Unless all
// addresses are being tried, it gives up, with neither conn nor error, when one
// of them fails or attemptDelay is over.
func awaitAttempt(outcomes <-chan attempt, running int, all bool, failed *attemptsError) (link.FrameConn, error) {
	var next <-chan time.Time
	if !all {
		t := time.NewTimer(attemptDelay + rand.N(attemptJitter))
		defer t.Stop()
		next = t.C
	}
	for range running {
		select {
		case o := <-outcomes:
			if o.err == nil {
				return o.conn, nil
			}
			*failed = append(*failed, o.err)
			if !all {
				return nil, nil
			}
		case <-next:
			return nil, nil
		}
	}
	return nil, *failed
}

// An attemptsError says why each address could not be reached.
type attemptsError []error

func (e attemptsError) Error() string {
	each := make([]string, len(e))
	for i, err := range e {
		each[i] = err.Error()
	}
	return strings.Join(each, "; ")
}

// Unwrap returns the errors of the attempts.
func (e attemptsError) Unwrap() []error { return e }
