package overlaytest

import (
	"fmt"
	"time"

	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/simnet/natnet"
)

// A NATKind says what a [NAT] does to UDP: which public endpoints it maps those
// of its hosts to, and whom it lets in. The terms are those of RFC 4787,
// sections 4.1 and 5.
type NATKind int

// The kinds of NATs.
const (
	// PortRestricted is the router of most homes: endpoint-independent mapping,
	// address and port-dependent filtering. A host keeps one public endpoint,
	// to which only those endpoints get through that it has sent to.
	PortRestricted NATKind = iota
	// AddressRestricted has endpoint-independent mapping and address-dependent
	// filtering: the ports of those that may answer do not matter.
	AddressRestricted
	// EndpointIndependent has endpoint-independent mapping and filtering, and is
	// known as full cone: everybody gets through once there is a mapping.
	EndpointIndependent
	// Symmetric has address and port-dependent mapping and filtering: another
	// public port, at random, for each endpoint that a host sends to. Large
	// companies and mobile carriers have those.
	Symmetric
	// Firewall maps nothing, so that hosts have public addresses, and has address
	// and port-dependent filtering.
	Firewall
	// Open is a plain router, without mapping and filtering.
	Open
	// Leaky is PortRestricted as Linux does it with masquerade and no rule that
	// drops input: what arrives from a stranger takes the port, and what a host
	// then sends to him leaves from another one.
	Leaky
	// UDPBlocked loses all UDP.
	UDPBlocked
)

var natKinds = [...]struct {
	name string
	cfg  func() natnet.NATConfig
}{
	PortRestricted:      {"port-restricted", natnet.PortRestricted},
	AddressRestricted:   {"address-restricted", natnet.AddressRestricted},
	EndpointIndependent: {"endpoint-independent", natnet.EndpointIndependent},
	Symmetric:           {"symmetric", natnet.Symmetric},
	Firewall:            {"firewall", natnet.Firewall},
	Open:                {"open", natnet.Open},
	Leaky:               {"leaky", natnet.Leaky},
	UDPBlocked:          {"UDP blocked", natnet.Blocked},
}

func (k NATKind) valid() bool { return k >= 0 && int(k) < len(natKinds) }

// String returns a name such as "port-restricted".
func (k NATKind) String() string {
	if !k.valid() {
		return fmt.Sprintf("NATKind(%d)", int(k))
	}
	return natKinds[k].name
}

// A NAT is what hosts are behind. The zero value is the router of most homes.
type NAT struct {
	Kind NATKind
	// Hairpin lets hosts behind the NAT reach each other by their public
	// endpoints (RFC 4787, section 6).
	Hairpin bool
	// Timeout is how long a mapping lasts without a datagram from inside. Zero:
	// 30 s. Negative: for ever.
	Timeout time.Duration
	// RefreshInbound lets datagrams from outside keep mappings, too.
	RefreshInbound bool
	// SequentialPorts gives new mappings the next port each, so that the ports
	// of a symmetric NAT can be predicted. False: at random if it is symmetric,
	// otherwise the host's own port if that is free.
	SequentialPorts bool
	// IPv6 gives the hosts IPv6 addresses besides, which are filtered and not
	// mapped. False: they have none.
	IPv6 bool
	// Behind is the name of the NAT outside of this one, such as a provider's.
	// Empty: the internet.
	Behind string
}

// instant is the link of a host or NAT. It takes no time: what is between hosts
// is in [Impairment].
var instant = simnet.Impairment{Delay: 1, MaxPacket: 1500 - headers}

// NAT adds a NAT. Hosts get behind it by [Lab.Place].
func (l *Lab) NAT(name string, nat NAT) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	outside := l.nats[nat.Behind]
	switch {
	case name == "":
		l.t.Fatalf("overlaytest: a NAT needs a name; the empty one stands for the internet")
	case l.nats[name] != nil:
		l.t.Fatalf("overlaytest: NAT %q is there already", name)
	case !nat.Kind.valid():
		l.t.Fatalf("overlaytest: NAT %q: there is no %v", name, nat.Kind)
	case nat.Behind != "" && outside == nil:
		l.t.Fatalf("overlaytest: NAT %q: Behind is %q; make that one first", name, nat.Behind)
	}
	cfg := natKinds[nat.Kind].cfg()
	cfg.Behind = outside
	cfg.Hairpin, cfg.Timeout, cfg.RefreshInbound = nat.Hairpin, nat.Timeout, nat.RefreshInbound
	if nat.SequentialPorts {
		cfg.Ports = natnet.SequentialPort
	}
	cfg.NoIPv6 = !nat.IPv6
	cfg.Up, cfg.Down = instant, instant
	l.nats[name] = l.udp.NAT(name, cfg)
}

// Place gives a host UDP, and with it direct paths to others, behind a NAT, or
// with "" on the internet. Before the node starts, that says where it will be;
// hosts that are placed nowhere use relays for everything. Later, a host that
// has been placed moves: it gets another address, and its links break as by
// [Lab.Roam].
func (l *Lab) Place(host, nat string) {
	l.t.Helper()
	l.mu.Lock()
	at, u, h := l.nats[nat], l.placed[host], l.hosts[host]
	l.mu.Unlock()
	switch {
	case nat != "" && at == nil:
		l.t.Fatalf("overlaytest: host %q: there is no NAT %q", host, nat)
	case h != nil && h.relay != nil:
		l.t.Fatalf("overlaytest: host %q is a relay, which is always on the internet", host)
	case h != nil && u == nil:
		l.t.Fatalf("overlaytest: host %q was started without UDP; place it before", host)
	case u == nil:
		l.settle(host, at)
	default:
		u.Move(at)
		if h != nil {
			h.silence()
		}
	}
}

// settle gives a host UDP.
func (l *Lab) settle(host string, at *natnet.NAT) *natnet.Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.udp.Host(host, natnet.HostConfig{NAT: at, Up: instant, Down: instant})
	l.placed[host] = u
	for pair, i := range l.pairs {
		if pair[0] == host || pair[1] == host {
			l.impairUDPLocked(pair, i)
		}
	}
	return u
}

// impairUDPLocked impairs what one host sends to another if both have UDP.
func (l *Lab) impairUDPLocked(pair [2]string, i Impairment) {
	if from, to := l.placed[pair[0]], l.placed[pair[1]]; from != nil && to != nil {
		l.udp.SetPair(from, to, i.simulatedUDP())
	}
}

// RebootNAT makes a NAT forget its mappings, as a router does that was switched
// off and on. Links to relays survive it.
func (l *Lab) RebootNAT(name string) {
	l.t.Helper()
	l.nat(name).Flush()
}

// RenumberNAT gives a NAT another public address, as some providers do every
// night: it forgets its mappings, and the links of the hosts behind it break as
// by [Lab.Roam].
func (l *Lab) RenumberNAT(name string) {
	l.t.Helper()
	t := l.nat(name)
	t.Renumber()
	l.mu.Lock()
	var behind []*host
	for _, h := range l.hosts {
		if u := l.placed[h.name]; u != nil && u.IsBehind(t) {
			behind = append(behind, h)
		}
	}
	l.mu.Unlock()
	for _, h := range behind {
		h.silence()
	}
}

// nat returns the NAT of that name.
func (l *Lab) nat(name string) *natnet.NAT {
	l.t.Helper()
	l.mu.Lock()
	t := l.nats[name]
	l.mu.Unlock()
	if t == nil {
		l.t.Fatalf("overlaytest: there is no NAT %q", name)
	}
	return t
}
