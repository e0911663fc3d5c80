package lan

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/times"
)

// A linkKey names an interface as one of the conns has it.
type linkKey struct {
	conn  int
	index int
}

// A linkState is what the owner knows of a link.
type linkState struct {
	link   Link
	answer time.Time // when to send this node's records; zero: not
	sent   time.Time // when they were sent last

	// A question whose known answers go on in further packets (RFC 6762 section
	// 7.2): when to take it that this node is not among them, and who asked.
	doubt   time.Time
	doubtOf netip.Addr
}

// due reports whether to send this node's records now, and notes that they are.
func (s *linkState) due(now time.Time) bool {
	if !s.doubt.IsZero() && !now.Before(s.doubt) {
		s.doubt = time.Time{}
		s.schedule(now)
	}
	if s.answer.IsZero() || now.Before(s.answer) {
		return false
	}
	s.answer, s.sent = time.Time{}, now
	return true
}

// schedule has this node's records sent at a time, but not twice within minGap.
func (s *linkState) schedule(at time.Time) {
	if !s.sent.IsZero() && at.Before(s.sent.Add(minGap)) {
		at = s.sent.Add(minGap)
	}
	s.answer = times.Earliest(s.answer, at)
}

// own returns the addresses that this node tells others of. IPv6 link-local ones
// mean nothing without the link; who hears this node there sees them.
func own(links map[linkKey]*linkState) (out []netip.Addr) {
	for _, s := range links {
		for _, p := range s.link.Addrs {
			if a := p.Addr(); listable(a) && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out[:min(len(out), MaxAddrs)]
}

// listable reports whether an address can be one that others list.
func listable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a.Zone() == "" &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && (a.Is4() || !a.IsLinkLocalUnicast())
}

// believed returns those of the addresses that a node lists which may be on this
// LAN: private ones, and those on a link of this host. This host's own ones are
// left out, unless the node is on this host: many hosts have the same address
// on a bridge of their own.
func believed(addrs []netip.Addr, links map[linkKey]*linkState, from netip.Addr) (out []netip.Addr) {
	here := isOwn(links, from.WithZone(""))
	for _, a := range addrs {
		if !listable(a) || slices.Contains(out, a) || !here && isOwn(links, a) {
			continue
		}
		if a.IsPrivate() || a.IsLinkLocalUnicast() || onLink(links, a) {
			out = append(out, a)
		}
	}
	return out
}

func isOwn(links map[linkKey]*linkState, a netip.Addr) bool {
	return anyPrefix(links, func(p netip.Prefix) bool { return p.Addr().WithZone("") == a })
}

func onLink(links map[linkKey]*linkState, a netip.Addr) bool {
	return anyPrefix(links, func(p netip.Prefix) bool { return p.Contains(a) })
}

func anyPrefix(links map[linkKey]*linkState, f func(netip.Prefix) bool) bool {
	for _, s := range links {
		if slices.ContainsFunc(s.link.Addrs, f) {
			return true
		}
	}
	return false
}
