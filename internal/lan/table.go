package lan

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/times"
)

// refreshAt is when a record that was not heard again is asked for, in percent
// of its TTL, up to refreshSpread later, so that one of many askers comes first
// and spares the others the question (RFC 6762 section 5.2).
var refreshAt = [...]int64{80, 85, 90, 95}

const refreshSpread = 2

// A record is what one instance says.
type record struct {
	instance string
	sealed   []byte // as it came, so that it need not be opened again
	claim    claim
	listed   []netip.Addr // of claim.addrs, those that are believed
	sources  []source     // the latest new one first
	first    netip.Addr   // the first source
	born     time.Time
	heard    time.Time
	ttl      time.Duration
	expires  time.Time
	asked    int // how many of refreshAt have passed
	jitter   time.Duration
}

// A source is an address that the record came from.
type source struct {
	addr    netip.Addr
	expires time.Time
}

// A table is the records of the other nodes. The owner has it.
type table map[string]*record

// put notes that a record was heard; c is what it claims, and listed the
// addresses in it that are believed. It reports false if there is no room.
func (t table) put(now time.Time, f found, c claim, listed []netip.Addr, from netip.Addr) bool {
	r := t[f.instance]
	if r == nil {
		if !t.room(c.id, from) {
			return false
		}
		r = &record{instance: f.instance, born: now, first: from}
		t[f.instance] = r
	}
	r.sealed, r.claim, r.listed = bytes.Clone(f.sealed), c, listed
	r.heard, r.ttl = now, min(max(f.ttl, minTTL), maxTTL)
	r.expires = now.Add(r.ttl)
	r.asked, r.jitter = 0, rand.N(r.ttl*refreshSpread/100)
	r.sources = slices.DeleteFunc(r.sources, func(s source) bool { return now.After(s.expires) })
	for i := range r.sources {
		if r.sources[i].addr == from {
			r.sources[i].expires = r.expires
			return true
		}
	}
	r.sources = slices.Insert(r.sources, 0, source{from, r.expires})
	r.sources = r.sources[:min(len(r.sources), MaxAddrs)]
	return true
}

// room reports whether one more record of a node, from an address, is within
// the limits.
func (t table) room(id identity.NodeID, from netip.Addr) bool {
	if len(t) >= MaxPeers {
		return false
	}
	sameNode, sameSource := 0, 0
	for _, r := range t {
		if r.claim.id == id {
			sameNode++
		}
		if r.first == from {
			sameSource++
		}
	}
	return sameNode < maxPerNode && sameSource < maxPerSource
}

// goodbye has a record live for a moment only. Who is still there says so
// before.
func (t table) goodbye(now time.Time, instance string) {
	if r := t[instance]; r != nil && r.expires.After(now.Add(goodbyeWait)) {
		r.expires = now.Add(goodbyeWait)
		r.asked = len(refreshAt)
	}
}

// expire removes what has expired. It returns the nodes of which something was
// removed, whether it is time to ask for records again, and when to come next;
// zero: never.
func (t table) expire(now time.Time) (gone []identity.NodeID, ask bool, next time.Time) {
	for _, r := range t {
		if !now.Before(r.expires) {
			delete(t, r.instance)
			gone = append(gone, r.claim.id)
			continue
		}
		for r.asked < len(refreshAt) && !now.Before(r.refresh()) {
			r.asked++
			ask = true
		}
		at := r.expires
		if r.asked < len(refreshAt) {
			at = r.refresh()
		}
		next = times.Earliest(next, at)
	}
	return gone, ask, next
}

// refresh is when to ask for the record next.
func (r *record) refresh() time.Time {
	return r.heard.Add(time.Duration(int64(r.ttl)*refreshAt[r.asked]/100) + r.jitter)
}

// known returns the records that have more than half of their TTL left, the
// freshest first (RFC 6762 section 7.1).
func (t table) known(now time.Time) (out []knownAnswer) {
	for _, r := range t {
		if left := r.expires.Sub(now); left > r.ttl/2 {
			out = append(out, knownAnswer{r.instance, left})
		}
	}
	slices.SortFunc(out, func(a, b knownAnswer) int {
		return cmp.Or(cmp.Compare(b.ttl, a.ttl), cmp.Compare(a.instance, b.instance))
	})
	return out
}

// peer puts together what the records of a node say: of each in turn one
// address, so that none crowds out the others; false if there is none.
func (t table) peer(id identity.NodeID) (Peer, bool) {
	var of []*record
	for _, r := range t {
		if r.claim.id == id {
			of = append(of, r)
		}
	}
	if len(of) == 0 {
		return Peer{}, false
	}
	slices.SortFunc(of, func(a, b *record) int {
		return cmp.Or(b.born.Compare(a.born), cmp.Compare(a.instance, b.instance))
	})
	p := Peer{ID: id}
	for i := 0; len(p.Addrs) < MaxAddrs; i++ {
		more := false
		for _, r := range of {
			if a, ok := r.addr(i); ok {
				more = true
				if ap := netip.AddrPortFrom(a, r.claim.port); !slices.Contains(p.Addrs, ap) && len(p.Addrs) < MaxAddrs {
					p.Addrs = append(p.Addrs, ap)
				}
			}
		}
		if !more {
			break
		}
	}
	for _, r := range of {
		p.names = append(p.names, r.claim.names...)
	}
	return p, true
}

// addr returns the i-th address of a record: its sources, then what it lists.
func (r *record) addr(i int) (netip.Addr, bool) {
	if i < len(r.sources) {
		return r.sources[i].addr, true
	}
	if i -= len(r.sources); i < len(r.listed) {
		return r.listed[i], true
	}
	return netip.Addr{}, false
}
