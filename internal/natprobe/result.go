package natprobe

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// A Mapping is what the public address of a socket behind a NAT depends on (RFC
// 4787 section 4.1).
type Mapping int

// The kinds of mapping.
const (
	// MappingUnknown means that too few servers have answered: it takes two
	// hosts to see that nothing depends on them.
	MappingUnknown Mapping = iota
	// MappingIndependent is the same for all destinations; also without NAT.
	MappingIndependent
	// MappingAddress depends on the destination's IP address.
	MappingAddress
	// MappingPort depends on the destination's IP address and port, or on the
	// address and nobody knows whether on the port.
	MappingPort
)

func (m Mapping) String() string {
	switch m {
	case MappingIndependent:
		return "endpoint-independent"
	case MappingAddress:
		return "address-dependent"
	case MappingPort:
		return "address and port-dependent"
	}
	return "unknown"
}

// Filtering is whose datagrams a NAT or firewall lets in (RFC 4787 section 5).
type Filtering int

// The kinds of filtering.
const (
	// FilterUnknown means that no server can answer from a second port.
	FilterUnknown Filtering = iota
	// FilterNone lets in everybody; only servers with two IP addresses can
	// tell.
	FilterNone
	// FilterAddress lets in who has an IP address that was sent to, or
	// everybody.
	FilterAddress
	// FilterPort lets in who was sent to.
	FilterPort
)

func (f Filtering) String() string {
	switch f {
	case FilterNone:
		return "endpoint-independent"
	case FilterAddress:
		return "address-dependent or less"
	case FilterPort:
		return "address and port-dependent"
	}
	return "unknown"
}

// maxReflexive bounds the addresses of a result, of each IP version.
const maxReflexive = 4

// A Result is what is known. The zero value is nothing.
type Result struct {
	// Mapping and Filtering are those of IPv4 if an IPv4 server has answered,
	// otherwise of IPv6.
	Mapping   Mapping
	Filtering Filtering
	// Reflexive are the socket's addresses as servers see them, at most four of
	// each IP version: IPv4 first, then those that more hosts see, then the
	// newest mapping.
	Reflexive []netip.AddrPort
	// Step is what one mapping's port is above that of the mapping made before
	// it, if that was the same each time among three at least; 0 if not. It is
	// meaningful if Mapping is dependent.
	Step int
}

func (r *Result) equal(o *Result) bool {
	return r.Mapping == o.Mapping && r.Filtering == o.Filtering && r.Step == o.Step && slices.Equal(r.Reflexive, o.Reflexive)
}

// A sight is what was seen from one address.
type sight struct {
	from, mapped netip.AddrPort
	order        int
}

// sights returns what was seen in this round of an IP version. What servers on
// local networks see does not count if there are others: they may be on this
// side of the NAT.
func (r *rounds) sights(v4 bool, all bool) []sight {
	var local, global []sight
	for _, s := range r.servers {
		for i, from := range []netip.AddrPort{s.addr, s.other} {
			o := s.seen[i]
			switch {
			case !o.mapped.IsValid() || o.round != r.round || s.addr.Addr().Is4() != v4:
			case isLocal(from.Addr()):
				local = append(local, sight{from, o.mapped, o.order})
			default:
				global = append(global, sight{from, o.mapped, o.order})
			}
		}
	}
	if all || len(global) == 0 {
		global = append(global, local...)
	}
	slices.SortFunc(global, func(a, b sight) int { return cmp.Compare(a.order, b.order) })
	return global
}

// shared is the space of carriers' NATs (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

func isLocal(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || shared.Contains(a)
}

// classify finds the mapping behaviour of an IP version from this round.
func (r *rounds) classify(v4 bool) Mapping {
	sights := r.sights(v4, false)
	hosts := map[netip.Addr]bool{}
	votes := map[netip.AddrPort]map[netip.Addr]bool{} // who sees that
	most := 0
	byPort, samePort := false, false
	for i, a := range sights {
		hosts[a.from.Addr()] = true
		if votes[a.mapped] == nil {
			votes[a.mapped] = map[netip.Addr]bool{}
		}
		votes[a.mapped][a.from.Addr()] = true
		most = max(most, len(votes[a.mapped]))
		for _, b := range sights[:i] {
			if a.from.Addr() == b.from.Addr() {
				byPort = byPort || a.mapped != b.mapped
				samePort = samePort || a.mapped == b.mapped
			}
		}
	}
	switch {
	case most > 1 && 2*most > len(hosts): // not all have to agree: one may lie
		return MappingIndependent
	case byPort:
		return MappingPort
	case len(hosts) < 2:
		return MappingUnknown
	case samePort:
		return MappingAddress
	}
	return MappingPort
}

// filtering is the most that any server got through the filter.
func (r *rounds) filtering(v4 bool) (f Filtering) {
	for _, s := range r.servers {
		if s.addr.Addr().Is4() == v4 && s.filter != FilterUnknown && (f == FilterUnknown || s.filter < f) {
			f = s.filter
		}
	}
	return f
}

// reflexive returns the addresses of an IP version that were seen.
func (r *rounds) reflexive(v4 bool) []netip.AddrPort {
	type found struct {
		addr  netip.AddrPort
		hosts []netip.Addr
		order int
	}
	var all []found
	for _, s := range r.sights(v4, true) {
		i := slices.IndexFunc(all, func(f found) bool { return f.addr == s.mapped })
		if i < 0 {
			i, all = len(all), append(all, found{addr: s.mapped})
		}
		if !slices.Contains(all[i].hosts, s.from.Addr()) {
			all[i].hosts = append(all[i].hosts, s.from.Addr())
		}
		all[i].order = s.order
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(len(b.hosts), len(a.hosts)), cmp.Compare(b.order, a.order))
	})
	var out []netip.AddrPort
	for _, f := range all[:min(len(all), maxReflexive)] {
		out = append(out, f.addr)
	}
	return out
}

// stepOf returns the constant difference of the ports of mappings in the order
// in which they were made, or 0.
func stepOf(sights []sight) int {
	const enough, most = 3, 64 // more than that is chance
	if len(sights) < enough {
		return 0
	}
	step := int(sights[1].mapped.Port()) - int(sights[0].mapped.Port())
	for i := 1; i < len(sights); i++ {
		a, b := sights[i-1].mapped, sights[i].mapped
		if int(b.Port())-int(a.Port()) != step || a.Addr() != b.Addr() {
			return 0
		}
	}
	if step > most || step < -most {
		return 0
	}
	return step
}

// settled reports whether those who are going to tell an address in this round
// have.
func (r *rounds) settled(now time.Time) bool {
	return !slices.ContainsFunc(r.probes, func(p *probe) bool {
		return !p.keep && (p.kind == plain || p.kind == alternate) && !p.silent(now)
	})
}

// result sums up what is known. While a round goes on, what it has not found
// yet is what was known before.
func (r *rounds) result(now time.Time) Result {
	found := slices.Concat(r.reflexive(true), r.reflexive(false))
	settled := r.settled(now)
	switch {
	case len(found) > 0:
	case len(r.servers) > 0 && len(r.probes) > 0:
		return r.last
	default:
		r.last = Result{}
		return r.last
	}
	res := Result{Reflexive: found}
	if !settled {
		res.Reflexive = r.withFormer(found)
	}
	sights := r.sights(true, false)
	v4 := len(sights) > 0
	if !v4 {
		sights = r.sights(false, false)
	}
	same := slices.ContainsFunc(r.last.Reflexive, func(a netip.AddrPort) bool { return a.Addr() == sights[0].mapped.Addr() })
	res.Filtering = r.filtering(v4)
	res.Mapping = r.classify(v4)
	switch res.Mapping {
	case MappingIndependent:
	case MappingUnknown:
		if same || !settled {
			res.Mapping = r.last.Mapping
		}
	default:
		if !settled { // those who have not answered may outvote a liar
			res.Mapping = r.last.Mapping
		}
	}
	if res.Mapping == MappingAddress || res.Mapping == MappingPort {
		res.Step = stepOf(sights)
		if res.Step == 0 && same { // mappings that live on tell nothing
			res.Step = r.last.Step
		}
	}
	r.last = res
	return res
}

// withFormer completes what was found so far in a round with former addresses:
// with all if nothing is new, otherwise with those of an IP version of which
// nothing was heard yet.
func (r *rounds) withFormer(found []netip.AddrPort) []netip.AddrPort {
	isNew := func(a netip.AddrPort) bool { return !slices.Contains(r.last.Reflexive, a) }
	if !slices.ContainsFunc(found, isNew) {
		return r.last.Reflexive
	}
	for _, a := range r.last.Reflexive {
		same := func(b netip.AddrPort) bool { return a.Addr().Is4() == b.Addr().Is4() }
		if !slices.ContainsFunc(found, same) {
			found = append(found, r.ofVersion(a.Addr().Is4())...)
		}
	}
	slices.SortStableFunc(found, func(a, b netip.AddrPort) int { return cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen()) })
	return found
}

// ofVersion returns the last result's addresses of an IP version.
func (r *rounds) ofVersion(v4 bool) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(r.last.Reflexive), func(a netip.AddrPort) bool { return a.Addr().Is4() != v4 })
}
