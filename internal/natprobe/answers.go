package natprobe

import (
	"net/netip"
	"slices"
	"time"
)

// keepSlack is how much later than planned an answer may come that shows that
// the mapping did not live for the interval.
const keepSlack = 5 * time.Second

// answer takes a response to one of the probes.
func (r *rounds) answer(now time.Time, a response) {
	i := slices.IndexFunc(r.probes, func(p *probe) bool { return p.id == a.id })
	if i < 0 {
		return // given up meanwhile
	}
	p := r.probes[i]
	r.probes = slices.Delete(r.probes, i, i+1)
	switch {
	case a.failed || !plausible(a.mapped):
		r.unanswered(now, p)
	case p.kind == plain:
		r.answered(now, p, a)
	case p.kind == alternate:
		p.server.seen[1] = seen{a.mapped, r.round, p.server.orders[1], now}
	case p.kind == otherPort:
		r.filterFound(now, p.server, FilterAddress)
	case p.kind == otherHost:
		r.filterFound(now, p.server, FilterNone)
	}
}

// plausible reports whether an address can be where a socket is seen.
func plausible(a netip.AddrPort) bool {
	return a.Port() != 0 && !a.Addr().IsUnspecified() && !a.Addr().IsMulticast()
}

// answered takes the address that a server sees.
func (r *rounds) answered(now time.Time, p *probe, a response) {
	s, before := p.server, p.server.seen[0]
	r.failed = 0
	s.other = elsewhere(s.addr, a.other)
	if p.keep && before.mapped != a.mapped {
		if before.mapped.Addr() == a.mapped.Addr() && now.Sub(before.at) < r.keepEvery+keepSlack {
			r.keepEvery = max(r.keepEvery/2, min(r.keepEvery, MinKeepAlive)) // it did not live that long
		}
		r.begin(now) // all others know an old one
		return
	}
	s.seen[0] = seen{a.mapped, r.round, s.orders[0], now}
	if p.keep || !s.other.IsValid() {
		return
	}
	// Whoever was sent something lets answers in, and for how long nobody
	// knows. So the filter is looked at once for each mapping.
	switch {
	case s.filterOf == a.mapped:
		r.askAlternate(now, s)
	case s.other.Addr() != s.addr.Addr():
		r.ask(now, s, otherHost, false)
	default:
		r.ask(now, s, otherPort, false)
	}
}

// elsewhere returns a server's second address, invalid if there is none that
// may be used. Relays that do not know their address leave it unspecified.
func elsewhere(addr, other netip.AddrPort) netip.AddrPort {
	if !other.IsValid() || other.Port() == 0 || other.Port() == addr.Port() {
		return netip.AddrPort{}
	}
	if other.Addr().IsUnspecified() {
		return netip.AddrPortFrom(addr.Addr(), other.Port())
	}
	if other.Addr().BitLen() != addr.Addr().BitLen() || !plausible(other) {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(other.Addr().Unmap().WithZone(addr.Addr().Zone()), other.Port())
}

// unanswered takes that a probe got no answer that is worth anything.
func (r *rounds) unanswered(now time.Time, p *probe) {
	switch p.kind {
	case otherHost:
		r.ask(now, p.server, otherPort, false)
	case otherPort:
		r.filterFound(now, p.server, FilterPort)
	case plain:
		if len(r.probes) == 0 && !slices.ContainsFunc(r.servers, r.current) {
			r.failed++
			r.roundAt = now.Add(min(DefaultKeepAlive<<(min(r.failed, 10)-1), recheck))
		}
	}
}

func (r *rounds) filterFound(now time.Time, s *server, f Filtering) {
	s.filter, s.filterOf = f, s.seen[0].mapped
	r.askAlternate(now, s)
}

// askAlternate asks a server's second port, on the same host only, unless it
// is known already that the mapping does not depend on whom one asks.
func (r *rounds) askAlternate(now time.Time, s *server) {
	if s.other.Addr() == s.addr.Addr() && r.classify(s.addr.Addr().Is4()) != MappingIndependent {
		r.ask(now, s, alternate, false)
	}
}

// current reports whether a server has answered in this round.
func (r *rounds) current(s *server) bool {
	return s.seen[0].mapped.IsValid() && s.seen[0].round == r.round
}
