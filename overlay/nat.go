package overlay

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/direct"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/natprobe"
	"github.com/weftnet/weft/internal/uplink"
)

const (
	// stunLookupTimeout bounds the look-up of one STUN server's host.
	stunLookupTimeout = 5 * time.Second
	// stunLookupEvery is how often names are looked up again.
	stunLookupEvery = 10 * time.Minute
)

// A natWatch knows the node's addresses outside of its NAT.
type natWatch struct {
	d    *directPaths
	wake chan struct{} // capacity 1: the relays in use may have changed

	mu     sync.Mutex
	prober *natprobe.Prober // nil before start

	hosts map[string][]netip.Addr // that were looked up; owned by run
}

// natResult is what natprobe has found, as candidates.
type natResult struct {
	mapping    direct.Mapping
	candidates []direct.Candidate
}

func newNATWatch(d *directPaths) *natWatch {
	return &natWatch{d: d, wake: make(chan struct{}, 1)}
}

// start makes the prober, once there is a socket.
func (w *natWatch) start() {
	p := natprobe.New(natprobe.Config{
		Send:     func(b []byte, to netip.AddrPort) error { return w.d.sock.WriteTo(b, to) },
		OnChange: func(natprobe.Result) { poke(w.d.wake) },
		Logger:   w.d.node.log,
	})
	w.mu.Lock()
	w.prober = p
	w.mu.Unlock()
}

func (w *natWatch) get() *natprobe.Prober {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.prober
}

// run tells the prober which servers there are, until the node closes.
func (w *natWatch) run() {
	tick := time.NewTicker(stunLookupEvery)
	defer tick.Stop()
	var before []netip.AddrPort
	for {
		if servers := w.servers(w.d.node.ctx); !slices.Equal(servers, before) {
			before = servers
			w.get().SetServers(servers)
		}
		select {
		case <-w.wake:
		case <-tick.C:
			w.hosts = nil
		case <-w.d.node.ctx.Done():
			return
		}
	}
}

// servers returns where to ask: the relays that are up, home first, and those
// of the config.
func (w *natWatch) servers(ctx context.Context) (out []netip.AddrPort) {
	for _, s := range w.serverNames() {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			continue
		}
		for _, a := range w.lookup(ctx, host) {
			if ap := netip.AddrPortFrom(a.Unmap(), uint16(n)); !slices.Contains(out, ap) {
				out = append(out, ap)
			}
		}
	}
	return out[:min(len(out), natprobe.MaxServers)]
}

func (w *natWatch) serverNames() []string {
	n := w.d.node
	var names []string
	for _, st := range n.uplinks.Status() {
		a, err := link.ParseAddr(st.Addr)
		if err == nil && st.Phase == uplink.PhaseUp {
			names = append(names, a.DialHostPort())
		}
	}
	return append(names, n.cfg.STUNServers...)
}

// lookup returns the addresses of a host. Only run calls it. Names that are not
// found are tried again when the relays change, or later.
func (w *natWatch) lookup(ctx context.Context, host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}
	}
	if known, ok := w.hosts[host]; ok {
		return known
	}
	var r Resolver = net.DefaultResolver
	switch cfg := w.d.node.cfg; {
	case cfg.Resolver != nil:
		r = cfg.Resolver
	case cfg.DialLink != nil:
		return nil // in a simulation, which has no names
	}
	ctx, cancel := context.WithTimeout(ctx, stunLookupTimeout)
	defer cancel()
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		w.d.node.log.WithError(err).WithField("host", host).Debug("STUN server not found")
		return nil
	}
	if w.hosts == nil {
		w.hosts = make(map[string][]netip.Addr)
	}
	w.hosts[host] = addrs
	return addrs
}

// result returns what is known.
func (w *natWatch) result() natResult {
	p := w.get()
	if p == nil {
		return natResult{}
	}
	res := p.Result()
	out := natResult{mapping: mappingOf(res.Mapping)}
	for _, a := range res.Reflexive {
		out.candidates = append(out.candidates, direct.Candidate{Kind: direct.Reflexive, Addr: a})
	}
	if out.mapping.Hard() && len(res.Reflexive) > 0 {
		out.candidates = append(out.candidates, direct.Predict(res.Reflexive[0], res.Step)...)
	}
	return out
}

func mappingOf(m natprobe.Mapping) direct.Mapping {
	switch m {
	case natprobe.MappingIndependent:
		return direct.MappingSame
	case natprobe.MappingAddress:
		return direct.MappingAddress
	case natprobe.MappingPort:
		return direct.MappingEndpoint
	}
	return direct.MappingUnknown
}

func (w *natWatch) handle(from netip.AddrPort, b []byte) {
	if p := w.get(); p != nil {
		p.Handle(from, b)
	}
}

// unanswered reports whether servers were asked, and none has answered yet.
func (w *natWatch) unanswered() bool {
	p := w.get()
	if p == nil {
		return false
	}
	c := p.Counters()
	return c.Requests > 0 && c.Answers == 0
}

// refresh asks all servers again: the network has changed.
func (w *natWatch) refresh() {
	if p := w.get(); p != nil {
		p.Refresh()
	}
}

func (w *natWatch) close() { _ = w.get().Close() }
