//go:build linux

package netns

import (
	"fmt"
	"strings"
)

// A natKind is what stands between a site and the internet.
type natKind string

const (
	// open routes: the site's hosts have public addresses.
	open natKind = "open"
	// portRestricted keeps one port for one socket and lets in who was sent to:
	// the ordinary NAT. A packet that is not for a host of the site makes no
	// conntrack entry.
	portRestricted natKind = "port-restricted"
	// symmetric has another, random port for each address that is sent to.
	symmetric natKind = "symmetric"
	// fullCone keeps one port for one socket and lets everybody in through it.
	fullCone natKind = "full cone"
	// leaky is portRestricted without a firewall for the NAT itself. A packet
	// that comes too early makes a conntrack entry that takes the port, and what
	// the host then sends to there leaves from another one.
	leaky natKind = "leaky"
	// blocked is portRestricted for TCP, and lets no UDP through.
	blocked natKind = "UDP blocked"
	// firewall routes, and lets in answers only. It is what IPv6 has for a NAT.
	firewall natKind = "firewall"
)

var (
	natsOfIPv4 = []natKind{open, fullCone, portRestricted, leaky, symmetric, blocked}
	natsOfIPv6 = []natKind{open, firewall, blocked}
)

// routed reports whether the site's hosts have public addresses.
func (k natKind) routed() bool { return k == open || k == firewall }

const (
	masquerade = `
table ip nat {
	chain post {
		type nat hook postrouting priority srcnat
		oifname "wan" masquerade %s
	}
}`
	// fullConeNAT remembers which socket has which port. Ports are kept, unless
	// two hosts want one, which these tests do not.
	fullConeNAT = `
table ip nat {
	map sockets {
		type inet_service : ipv4_addr . inet_service
		flags dynamic, timeout
		timeout 5m
	}
	chain pre {
		type nat hook prerouting priority dstnat
		iifname "wan" meta l4proto udp dnat ip to udp dport map @sockets
	}
	chain post {
		type nat hook postrouting priority srcnat
		oifname "wan" meta l4proto udp update @sockets { udp sport : ip saddr . udp sport }
		oifname "wan" masquerade
	}
}`
	// noInput keeps what nobody asked for from making conntrack entries.
	noInput = `
table inet input {
	chain input {
		type filter hook input priority filter
		iifname "wan" meta l4proto { tcp, udp } ct state != { established, related } drop
	}
}`
	answersOnly = `
table inet forward {
	chain forward {
		type filter hook forward priority filter
		iifname "wan" ct state != { established, related } drop
	}
}`
	noUDP = `
table inet noudp {
	chain forward {
		type filter hook forward priority filter
		meta l4proto udp drop
	}
}`
)

// rules returns what nft is given, for IPv4 and IPv6; there is no address
// translation for IPv6.
func (k natKind) rules() string {
	switch k {
	case portRestricted:
		return fmt.Sprintf(masquerade, "") + noInput + answersOnly
	case symmetric:
		return fmt.Sprintf(masquerade, "fully-random") + noInput + answersOnly
	case fullCone:
		return fullConeNAT
	case leaky:
		return fmt.Sprintf(masquerade, "")
	case blocked:
		return fmt.Sprintf(masquerade, "") + noInput + answersOnly + noUDP
	case firewall:
		return noInput + answersOnly
	default: // open
		return ""
	}
}

// lossRules makes a router lose so many percent of the packets that it forwards.
func lossRules(percent int) string {
	return fmt.Sprintf(`
table inet loss {
	chain forward {
		type filter hook forward priority -200
		numgen random mod 100 < %d drop
	}
}`, percent)
}

// punchable is which pairs can send each other UDP if both begin at about the
// same time, of which a pair of NATs alone can tell. Both orders are the same.
func punchable(a, b natKind) bool {
	if a == blocked || b == blocked {
		return false
	}
	if a == open || b == open {
		return true
	}
	pair := string(a) + "+" + string(b)
	switch {
	case strings.Contains(pair, string(fullCone)):
		return true
	case strings.Contains(pair, string(symmetric)):
		return false
	default:
		return !strings.Contains(pair, string(leaky))
	}
}
