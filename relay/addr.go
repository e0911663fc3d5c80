package relay

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// prefixes are networks, or single addresses as the narrowest ones.
type prefixes []netip.Prefix

// loopback is this machine.
var loopback = prefixes{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func (ps prefixes) has(addr netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// addrOf returns the IP address of a, invalid if it has none.
func addrOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// client returns the address from which a request comes: of the last client
// that is no proxy of ours. A request that says it was forwarded by anybody
// else comes from nowhere that is known: the address then is invalid. It is
// false if what a proxy says is not understood.
func (w *web) client(req *http.Request) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		return netip.Addr{}, true // not of IP
	}
	addr := ap.Addr().Unmap().WithZone("")
	hops := req.Header.Values("X-Forwarded-For")
	if len(hops) == 0 {
		return addr, true
	}
	if !w.proxies.has(addr) {
		return netip.Addr{}, true
	}
	list := strings.Split(strings.Join(hops, ","), ",")
	for len(list) > 0 && w.proxies.has(addr) {
		hop, err := netip.ParseAddr(strings.TrimSpace(list[len(list)-1]))
		if err != nil {
			return netip.Addr{}, false
		}
		addr, list = hop.Unmap().WithZone(""), list[:len(list)-1]
	}
	return addr, true
}

// A quota counts what addresses take of something.
type quota struct {
	limit, perAddress int // negative: none

	mu sync.Mutex
	by map[string]int
	n  int
}

func newQuota(limit, perAddress int) *quota {
	return &quota{limit: limit, perAddress: perAddress, by: make(map[string]int)}
}

// take takes one for an address, unless that would be more than the limit or,
// for an address that is not shared, than that of one address.
func (q *quota) take(addr string, shared bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if exceeds(q.n, q.limit) || !shared && exceeds(q.by[addr], q.perAddress) {
		return false
	}
	q.n++
	q.by[addr]++
	return true
}

// give gives one back.
func (q *quota) give(addr string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.n--
	if q.by[addr]--; q.by[addr] == 0 {
		delete(q.by, addr)
	}
}

// taken is how many are taken.
func (q *quota) taken() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n
}
