package checkup

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// MaxClockOffset is how wrong the clock may be: others refuse certificates that
	// are not valid yet, or not any more, by their own clock.
	MaxClockOffset = 5 * time.Minute
	// smallMTU is the least that IPv6 needs (RFC 8200 section 5), and what a packet of
	// 1200 bytes fits into with room for a tunnel.
	smallMTU = 1280
)

// A Network is what is known of a node's surroundings. Its JSON is only ever added to.
type Network struct {
	Node       string      `json:"node"`
	Relays     []Relay     `json:"relays"`
	UDPAddr    string      `json:"udp_addr,omitempty"` // empty: no socket
	Mapping    string      `json:"nat_mapping,omitempty"`
	Filtering  string      `json:"nat_filtering,omitempty"`
	Candidates []string    `json:"candidates,omitempty"` // such as "host 192.0.2.7:4000"
	Seen       []string    `json:"seen,omitempty"`       // where relays see the socket
	Interfaces []Interface `json:"interfaces,omitempty"`
	LAN        int         `json:"lan_nodes"`
	MaxPacket  int         `json:"max_packet,omitempty"` // largest that a direct path carries, in bytes; 0: no such path
}

// A Relay is one that the node uses or could use.
type Relay struct {
	Addr  string  `json:"addr"`
	Up    bool    `json:"up"`
	Home  bool    `json:"home"`
	State string  `json:"state"`
	RTT   float64 `json:"rtt_ms,omitempty"` // of packets to the relay
	Error string  `json:"error,omitempty"`
	Port  Answer  `json:"port"` // what its port says to a request
}

// Judge says what of it is good, and what could be better.
func (n *Network) Judge() (s Steps) {
	n.judgeRelays(&s)
	n.judgeUDP(&s)
	n.judgeNAT(&s)
	n.judgeFamilies(&s)
	n.judgeMTU(&s)
	n.judgeClock(&s)
	switch n.LAN {
	case 0:
		s.Add("LAN", Note, "", "no other node of the network announces itself; that is as it should be if there is none, or with --no-lan")
	default:
		s.Add("LAN", OK, "", "%d other nodes of the network", n.LAN)
	}
	n.judgeProxies(&s)
	return s
}

func (n *Network) judgeRelays(s *Steps) {
	if len(n.Relays) == 0 {
		s.Add("relays", Warning, "say --relay HOST:PORT, unless all nodes are on one LAN", "none is configured: only nodes on the LAN are reached")
		return
	}
	home := slices.ContainsFunc(n.Relays, func(r Relay) bool { return r.Home })
	for _, r := range n.Relays {
		name := "relay " + r.Addr
		switch {
		case r.Up:
			role := "spare"
			if r.Home {
				role = "home"
			}
			s.Add(name, OK, "", "%s, round trip %s", role, milliseconds(r.RTT))
		case home && r.Port.OK():
			s.Add(name, OK, "", "not in use, and answers within %s", milliseconds(r.Port.Total))
		case r.Port.OK():
			s.Add(name, Failure, "compare the network's name and secret with those of the relay; weft doctor shows each step", "its port answers, but does not serve this node: %s", reason(r))
		default:
			v := Failure
			if home {
				v = Warning
			}
			s.Add(name, v, r.Port.Advice(), "%s", r.Port.Problem())
		}
	}
	if !home {
		s.Add("home relay", Failure, "repair one of the relays above; until then only nodes on the LAN reach this one", "there is none")
	}
}

// reason is why a relay is not in use.
func reason(r Relay) string {
	if r.Error != "" {
		return r.Error
	}
	return r.State
}

func (n *Network) judgeUDP(s *Steps) {
	switch seen := n.seen(); {
	case n.UDPAddr == "":
		s.Add("UDP", Warning, "leave out --relay-only, and look in the log for why there is no socket", "there is no socket: everything goes over relays")
	case len(seen) > 0:
		s.Add("UDP", OK, "", "answers come; seen from outside this node is %s", join(seen))
	case !slices.ContainsFunc(n.Relays, func(r Relay) bool { return r.Up }):
		s.Add("UDP", Note, "", "unknown: there is no relay to ask")
	default:
		s.Add("UDP", Warning, "let UDP out to the relays' ports, and its answers in; where that cannot be, start one of two nodes with --link-addr",
			"no relay answers: a firewall drops it, or the relays have no UDP port, and peers are reached over relays or by TCP")
	}
}

func (n *Network) judgeNAT(s *Steps) {
	seen, hosts := n.seen(), n.addrs("host")
	mapped := n.addrs("mapped")
	if len(seen) == 0 {
		return // nothing is known
	}
	translated := slices.ContainsFunc(seen, func(a netip.AddrPort) bool {
		return a.Addr().Is4() && !slices.ContainsFunc(hosts, func(h netip.AddrPort) bool { return h.Addr() == a.Addr() })
	})
	if !translated {
		s.Add("NAT", OK, "", "none; filtering %s", known(n.Filtering))
		return
	}
	hard := strings.Contains(n.Mapping, "dependent") && !strings.Contains(n.Mapping, "independent")
	switch {
	case hard && len(mapped) == 0:
		s.Add("NAT", Warning, "turn on UPnP, NAT-PMP or PCP at the gateway, or use IPv6; else peers behind such a NAT are reached over relays",
			"symmetric: mapping %s, filtering %s", n.Mapping, known(n.Filtering))
	case known(n.Mapping) == unknown:
		s.Add("NAT", Note, "a second relay, at another address, tells which kind", "of unknown kind: only one server answers; filtering %s", known(n.Filtering))
	default:
		s.Add("NAT", OK, "", "mapping %s, filtering %s", n.Mapping, known(n.Filtering))
	}
	if len(mapped) > 0 {
		s.Add("port mapping", OK, "", "the gateway gives %s", join(mapped))
	} else {
		s.Add("port mapping", Note, "", "the gateway has given no port by PCP, NAT-PMP or UPnP (--verbose, with a node of the command's own, says what it answers)")
	}
}

const unknown = "unknown"

func known(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

// judgeFamilies says which versions of IP there are.
func (n *Network) judgeFamilies(s *Steps) {
	local, outside := n.addrs("host"), n.seen()
	for _, f := range []struct {
		name string
		is   func(netip.Addr) bool
	}{
		{"IPv4", netip.Addr.Is4},
		{"IPv6", func(a netip.Addr) bool { return a.Is6() && !a.IsLinkLocalUnicast() }},
	} {
		has := func(addrs []netip.AddrPort) bool {
			return slices.ContainsFunc(addrs, func(a netip.AddrPort) bool { return f.is(a.Addr()) })
		}
		switch {
		case has(outside):
			s.Add(f.name, OK, "", "works")
		case has(local):
			s.Add(f.name, Note, "", "this machine has addresses; no relay has confirmed that they work")
		default:
			s.Add(f.name, Note, "", "no address that a peer could use")
		}
	}
}

func (n *Network) judgeMTU(s *Steps) {
	if len(n.Interfaces) == 0 {
		return
	}
	least := slices.MinFunc(n.Interfaces, func(a, b Interface) int { return a.MTU - b.MTU })
	text := fmt.Sprintf("%s has the least, %d bytes", least.Name, least.MTU)
	if n.MaxPacket > 0 {
		text += fmt.Sprintf("; direct paths carry packets of %d bytes", n.MaxPacket)
	}
	if least.MTU < smallMTU {
		s.Add("MTU", Warning, fmt.Sprintf("set it to %d or more, if packets to peers go there; direct paths need packets of 1200 bytes", smallMTU), "%s", text)
		return
	}
	s.Add("MTU", OK, "", "%s", text)
}

// judgeClock takes the relay whose answer came soonest, whose time is the most exact.
func (n *Network) judgeClock(s *Steps) {
	var best *Answer
	for i := range n.Relays {
		if a := &n.Relays[i].Port; a.HasDate && (best == nil || a.Total < best.Total) {
			best = a
		}
	}
	if best == nil {
		s.Add("clock", Note, "compare it with another machine's: certificates depend on it", "no relay has told the time")
		return
	}
	offset := time.Duration(best.Offset * float64(time.Second)).Round(time.Second)
	switch {
	case offset.Abs() > MaxClockOffset:
		s.Add("clock", Warning, "set the clock, best by NTP: others take this node's certificate for expired, or not valid yet", "%s", apart(offset))
	default:
		s.Add("clock", OK, "", "%s", apart(offset))
	}
}

// apart says how the clock differs from a relay's.
func apart(offset time.Duration) string {
	switch {
	case offset.Abs() <= time.Second:
		return "as the relay's"
	case offset > 0:
		return fmt.Sprintf("%v behind the relay's", offset)
	}
	return fmt.Sprintf("%v ahead of the relay's", -offset)
}

func (n *Network) judgeProxies(s *Steps) {
	said := false
	for _, r := range n.Relays {
		if r.Port.Proxy != "" {
			said = true
			s.Add("proxy", Note, "", "relay %s is reached through %s, as HTTPS_PROXY says", r.Addr, r.Port.Proxy)
		}
	}
	if !said {
		s.Add("proxy", OK, "", "none")
	}
}

// seen are the addresses at which relays see the node.
func (n *Network) seen() (out []netip.AddrPort) {
	for _, s := range n.Seen {
		if a, err := netip.ParseAddrPort(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// addrs are the candidates of one kind.
func (n *Network) addrs(kind string) (out []netip.AddrPort) {
	for _, c := range n.Candidates {
		k, addr, _ := strings.Cut(c, " ")
		if a, err := netip.ParseAddrPort(addr); err == nil && k == kind {
			out = append(out, a)
		}
	}
	return out
}

func join(addrs []netip.AddrPort) string {
	var each []string
	for _, a := range addrs {
		each = append(each, a.String())
	}
	return strings.Join(each, ", ")
}

func milliseconds(ms float64) string {
	switch {
	case ms == 0:
		return unknown
	case ms < 1:
		return fmt.Sprintf("%.0f µs", ms*1000)
	}
	return fmt.Sprintf("%.1f ms", ms)
}
