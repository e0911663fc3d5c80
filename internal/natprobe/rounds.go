package natprobe

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// firstTimeout, maxSends and lastTimeout are RTO, Rc and Rm of RFC 8489
	// section 6.2.1: a request is sent at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and
	// 31.5 s, and given up at 39.5 s.
	firstTimeout = 500 * time.Millisecond
	maxSends     = 7
	lastTimeout  = 16 * firstTimeout
	// filterSends is how often it is tried whether an answer comes through a
	// filter, within 3.5 s. The server has answered before.
	filterSends = 3
	// silentSends is after how many sends, 3.5 s, a server counts as silent.
	silentSends = 4
	// pace is the time between two requests to different addresses, so that
	// they arrive in order: the step of port numbers is seen from it.
	pace = 20 * time.Millisecond
	// recheck is how often all servers are asked if there is no reason, and
	// the most to wait when none answers.
	recheck = 5 * time.Minute
)

// kind is what a probe is to find out.
type kind int

const (
	plain     kind = iota // the address that a server sees
	alternate             // the address that its second port sees
	otherPort             // whether its second port can answer instead
	otherHost             // whether its second address can answer instead
)

// A probe is a request that was not answered yet.
type probe struct {
	id     txID
	kind   kind
	server *server
	to     netip.AddrPort
	keep   bool // only to keep the mapping
	sent   int
	at     time.Time // of the next send, or of giving up
}

// last is how often a probe is sent at most.
func (p *probe) last() int {
	if p.kind == otherPort || p.kind == otherHost {
		return filterSends
	}
	return maxSends
}

// silent reports whether there was no answer for 3.5 s.
func (p *probe) silent(now time.Time) bool {
	return p.sent >= silentSends || p.sent == silentSends-1 && !p.at.After(now)
}

// A seen is what a server saw.
type seen struct {
	mapped netip.AddrPort
	round  int
	order  int       // of first sending
	at     time.Time // when confirmed
}

type server struct {
	addr, other netip.AddrPort
	seen        [2]seen // by the address, and by the second port
	orders      [2]int

	// filter is what is known of the filter since the mapping was filterOf.
	filter   Filtering
	filterOf netip.AddrPort
}

// rounds decides whom to ask when, and keeps the answers. It sends nothing and
// has no clock. A round begins when all servers are asked anew.
type rounds struct {
	asked   *ledger
	newID   func() txID
	servers []*server
	probes  []*probe
	round   int
	order   int
	slot    time.Time // when the next new request may leave
	last    Result

	keepEvery, keepWanted time.Duration // now, as configured; negative: never
	keepAt, roundAt       time.Time
	failed                int // rounds in a row without an answer
	buf                   []byte
}

func newRounds(keep time.Duration, asked *ledger, id func() txID) *rounds {
	return &rounds{asked: asked, newID: id, keepEvery: keep, keepWanted: keep}
}

func (r *rounds) setServers(now time.Time, addrs []netip.AddrPort) {
	r.dropProbes(func(p *probe) bool { return !slices.Contains(addrs, p.server.addr) })
	var servers []*server
	for _, a := range addrs {
		i := slices.IndexFunc(r.servers, func(s *server) bool { return s.addr == a })
		if i >= 0 {
			servers = append(servers, r.servers[i])
			continue
		}
		s := &server{addr: a}
		servers = append(servers, s)
		r.ask(now, s, plain, false)
	}
	r.servers = servers
	if r.keepAt.IsZero() {
		r.keepAt, r.roundAt = now.Add(r.keepEvery), now.Add(recheck)
	}
}

// refresh begins a round because the network has changed.
func (r *rounds) refresh(now time.Time) {
	r.keepEvery, r.failed = r.keepWanted, 0
	r.begin(now)
}

// begin begins a round.
func (r *rounds) begin(now time.Time) {
	r.dropProbes(func(*probe) bool { return true })
	r.round++
	r.keepAt = now.Add(r.keepEvery)
	r.roundAt = now.Add(recheck)
	for _, s := range r.servers {
		r.ask(now, s, plain, false)
	}
}

// ask makes a probe.
func (r *rounds) ask(now time.Time, s *server, k kind, keep bool) {
	if len(r.probes) >= maxProbes {
		return
	}
	if r.slot.Before(now) {
		r.slot = now
	}
	p := &probe{id: r.newID(), kind: k, server: s, to: s.addr, keep: keep, at: r.slot}
	from := s.addr
	r.order++
	switch k {
	case plain:
		s.orders[0] = r.order
	case alternate:
		s.orders[1] = r.order
		p.to, from = s.other, s.other
	case otherPort:
		from = netip.AddrPortFrom(s.addr.Addr(), s.other.Port())
	case otherHost:
		from = s.other
	}
	r.slot = r.slot.Add(pace)
	r.asked.add(p.id, from)
	r.probes = append(r.probes, p)
}

// due returns the next request that is to be sent now. The bytes are valid
// until the next call.
func (r *rounds) due(now time.Time) ([]byte, netip.AddrPort, bool) {
	for _, p := range r.probes {
		if p.at.After(now) || p.sent >= p.last() {
			continue
		}
		wait := firstTimeout << p.sent
		if p.sent++; p.sent == maxSends {
			wait = lastTimeout
		}
		p.at = now.Add(wait)
		change := byte(0)
		switch p.kind {
		case otherPort:
			change = changePort
		case otherHost:
			change = changeIP | changePort
		}
		r.buf = appendRequest(r.buf[:0], p.id, change)
		return r.buf, p.to, true
	}
	return nil, netip.AddrPort{}, false
}

// unreachable gives up the probes to an address.
func (r *rounds) unreachable(now time.Time, to netip.AddrPort) {
	r.giveUp(now, func(p *probe) bool { return p.to == to && p.sent > 0 })
}

func (r *rounds) giveUp(now time.Time, which func(*probe) bool) {
	var gone []*probe
	r.dropProbes(func(p *probe) bool {
		if which(p) {
			gone = append(gone, p)
			return true
		}
		return false
	})
	for _, p := range gone {
		r.unanswered(now, p)
	}
}

// fire does what time has brought; what is to be sent is due's.
func (r *rounds) fire(now time.Time) {
	r.giveUp(now, func(p *probe) bool { return p.sent == p.last() && !p.at.After(now) })
	for _, p := range r.probes {
		if p.keep && p.silent(now) {
			r.begin(now) // the others may know more
			return
		}
	}
	switch {
	case len(r.servers) == 0:
	case !r.roundAt.After(now):
		r.begin(now)
	case r.keepEvery > 0 && !r.keepAt.After(now):
		r.keepAlive(now)
	}
}

// keepAlive asks one server of each IP version.
func (r *rounds) keepAlive(now time.Time) {
	r.keepAt = now.Add(r.keepEvery)
	for _, v4 := range []bool{true, false} {
		var best *server
		for _, s := range r.servers {
			if s.addr.Addr().Is4() == v4 && r.current(s) && !r.asking(s) && (best == nil || s.seen[0].at.After(best.seen[0].at)) {
				best = s
			}
		}
		if best != nil {
			r.ask(now, best, plain, true)
		}
	}
}

func (r *rounds) asking(s *server) bool {
	return slices.ContainsFunc(r.probes, func(p *probe) bool { return p.server == s && p.kind == plain })
}

// next is how long nothing happens by itself.
func (r *rounds) next(now time.Time) time.Duration {
	at := now.Add(time.Hour)
	earlier := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	for _, p := range r.probes {
		earlier(p.at)
	}
	if len(r.servers) > 0 {
		earlier(r.roundAt)
		if r.keepEvery > 0 {
			earlier(r.keepAt)
		}
	}
	return max(at.Sub(now), 0)
}

func (r *rounds) dropProbes(which func(*probe) bool) {
	r.probes = slices.DeleteFunc(r.probes, func(p *probe) bool {
		if !which(p) {
			return false
		}
		r.asked.drop(p.id)
		return true
	})
}
