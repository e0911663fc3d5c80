package natnet

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// A verdict is what a table says about an inbound datagram.
type verdict int

const (
	pass verdict = iota
	noMapping
	filtered
)

// A mapping is a row of a NAT's or firewall's table.
type mapping struct {
	inside  flow
	port    uint16 // the public one; 0 if nothing is translated
	expires time.Time
	// permits are the remote endpoints that may send to it, reduced to what the
	// filter looks at, and until when.
	permits map[netip.AddrPort]time.Time
}

// A flow selects a mapping: an inner endpoint, and of the remote one what the
// mapping depends on.
type flow struct{ inner, remote netip.AddrPort }

// A stranger is who took a public port of a leaky NAT for himself.
type stranger struct {
	port   uint16
	remote netip.AddrPort
}

// table is a NAT's state. It has no lock: the network's is held.
type table struct {
	cfg      *NATConfig
	rand     *rand.Rand
	next     uint16 // for SequentialPort
	byInside map[flow]*mapping
	byPort   map[uint16]*mapping
	taken    map[stranger]time.Time

	full, strangers, displaced uint64 // see NATCounters
}

func newTable(cfg *NATConfig, r *rand.Rand) table {
	t := table{cfg: cfg, rand: r, next: uint16(firstPort + r.IntN(1<<15))}
	t.flush()
	return t
}

func (t *table) flush() {
	t.byInside = make(map[flow]*mapping)
	t.byPort = make(map[uint16]*mapping)
	t.taken = make(map[stranger]time.Time)
}

// reduce leaves of a remote endpoint what b looks at.
func (b Behaviour) reduce(remote netip.AddrPort) netip.AddrPort {
	switch b {
	case AnyEndpoint:
		return netip.AddrPort{}
	case PerAddress:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}

// out returns the public port for an outbound datagram; false if there is no
// room for another.
func (t *table) out(inner, remote netip.AddrPort, now time.Time) (uint16, bool) {
	m := t.live(flow{inner, remote}, now) // because of a stranger, or if the mapping depends on all
	if m == nil {
		key := flow{inner, t.cfg.Mapping.reduce(remote)}
		if m = t.live(key, now); m == nil {
			m = t.add(key, t.cfg.Ports, now)
		}
		if m != nil && t.isTaken(m.port, remote, now) {
			t.displaced++
			m = t.add(flow{inner, remote}, RandomPort, now)
		}
	}
	if m == nil || !t.use(m, remote, now) {
		t.full++
		return 0, false
	}
	return m.port, true
}

// outPlain remembers an outbound datagram that is not translated.
func (t *table) outPlain(inner, remote netip.AddrPort, now time.Time) bool {
	key := flow{inner: inner}
	m := t.live(key, now)
	if m == nil && t.room(now) {
		m = &mapping{inside: key, permits: make(map[netip.AddrPort]time.Time)}
		t.byInside[key] = m
	}
	if m == nil || !t.use(m, remote, now) {
		t.full++
		return false
	}
	return true
}

// in returns where an inbound datagram to a public port goes.
func (t *table) in(port uint16, remote netip.AddrPort, now time.Time) (netip.AddrPort, verdict) {
	m := t.byPort[port]
	if m != nil && t.expired(m.expires, now) {
		t.remove(m)
		m = nil
	}
	v := noMapping
	if m != nil {
		if v = t.admit(m, remote, now); v == pass {
			return m.inside.inner, pass
		}
	}
	if t.cfg.Leaky {
		t.take(stranger{port, remote}, now)
	}
	return netip.AddrPort{}, v
}

// inPlain says whether an inbound datagram that is not translated passes.
func (t *table) inPlain(inner, remote netip.AddrPort, now time.Time) verdict {
	m := t.live(flow{inner: inner}, now)
	if m == nil {
		return filtered
	}
	return t.admit(m, remote, now)
}

// admit is the filter for what comes in to a mapping.
func (t *table) admit(m *mapping, remote netip.AddrPort, now time.Time) verdict {
	key := t.cfg.Filtering.reduce(remote)
	until, ok := m.permits[key]
	if !ok || t.expired(until, now) {
		if !t.cfg.Unfiltered {
			return filtered
		}
	} else if t.cfg.RefreshInbound {
		m.permits[key] = t.until(now)
	}
	if t.cfg.RefreshInbound {
		m.expires = t.until(now)
	}
	return pass
}

// use keeps a mapping alive and lets remote answer; false if it remembers too
// many already.
func (t *table) use(m *mapping, remote netip.AddrPort, now time.Time) bool {
	key := t.cfg.Filtering.reduce(remote)
	if _, ok := m.permits[key]; !ok && len(m.permits) >= maxPermits {
		for k, until := range m.permits {
			if t.expired(until, now) {
				delete(m.permits, k)
			}
		}
		if len(m.permits) >= maxPermits {
			return false
		}
	}
	m.expires = t.until(now)
	m.permits[key] = m.expires
	return true
}

// until is when something that is used now expires; zero is never.
func (t *table) until(now time.Time) time.Time {
	if t.cfg.Timeout < 0 {
		return time.Time{}
	}
	return now.Add(t.cfg.Timeout)
}

func (t *table) expired(until, now time.Time) bool { return !until.IsZero() && !now.Before(until) }

// live returns a mapping that has not expired, or nil.
func (t *table) live(key flow, now time.Time) *mapping {
	m := t.byInside[key]
	if m != nil && t.expired(m.expires, now) {
		t.remove(m)
		return nil
	}
	return m
}

func (t *table) remove(m *mapping) {
	delete(t.byInside, m.inside)
	delete(t.byPort, m.port)
}

// room makes room for another mapping; false if there is none.
func (t *table) room(now time.Time) bool {
	if len(t.byInside) < t.cfg.MaxMappings {
		return true
	}
	for _, m := range t.byInside {
		if t.expired(m.expires, now) {
			t.remove(m)
		}
	}
	return len(t.byInside) < t.cfg.MaxMappings
}

// add makes a mapping that is translated, or returns nil if there is no room.
func (t *table) add(key flow, ports PortAllocation, now time.Time) *mapping {
	if !t.room(now) {
		return nil
	}
	port, ok := t.freePort(key.inner.Port(), ports, now)
	if !ok {
		return nil
	}
	m := &mapping{inside: key, port: port, permits: make(map[netip.AddrPort]time.Time), expires: t.until(now)}
	t.byInside[key] = m
	t.byPort[port] = m
	return m
}

// freePort returns a public port that no mapping has.
func (t *table) freePort(inner uint16, ports PortAllocation, now time.Time) (uint16, bool) {
	const count = 1<<16 - firstPort
	first := inner
	switch ports {
	case SequentialPort:
		first = t.next
	case RandomPort:
		first = uint16(firstPort + t.rand.IntN(count))
	}
	for i := range count {
		port := uint16(firstPort + (int(max(first, firstPort))-firstPort+i)%count)
		if m := t.byPort[port]; m != nil {
			if !t.expired(m.expires, now) {
				continue
			}
			t.remove(m)
		}
		if ports == SequentialPort {
			t.next = port + 1
		}
		return port, true
	}
	return 0, false
}

// take gives a stranger the port for what concerns him.
func (t *table) take(s stranger, now time.Time) {
	if until, ok := t.taken[s]; !ok {
		if len(t.taken) >= maxTaken {
			for k, until := range t.taken {
				if t.expired(until, now) {
					delete(t.taken, k)
				}
			}
		}
		if len(t.taken) >= maxTaken {
			t.full++
			return
		}
		t.strangers++
	} else if t.expired(until, now) {
		t.strangers++
	}
	t.taken[s] = t.until(now)
}

func (t *table) isTaken(port uint16, remote netip.AddrPort, now time.Time) bool {
	until, ok := t.taken[stranger{port, remote}]
	return ok && !t.expired(until, now)
}
