package overlay

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/direct"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/lan"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/netmon"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/udp"
	"github.com/weftnet/weft/internal/uplink"
	"golang.org/x/time/rate"
)

// Limits of direct paths.
const (
	// probesPerSecond and probeBurst bound the challenges of all peers together,
	// so that a crowd of peers that name one victim is no weapon: 12 kB a second.
	probesPerSecond, probeBurst = 200, 2000
	// addrsEvery is how often the addresses of a simulated host are looked at.
	addrsEvery = 2 * time.Second
	// maxHostAddrs leaves room for other candidates beside the interfaces'.
	maxHostAddrs = 8
	// maxLinkAddrs is as many as a peer dials.
	maxLinkAddrs = 4
	// udpDrainTimeout is how long Close waits until the last datagrams are
	// written.
	udpDrainTimeout = time.Second
)

// directPaths is what a node has for direct paths: its UDP socket, what it knows
// of its own addresses, and a puncher for each session over a relay. A nil
// *directPaths is a node without.
type directPaths struct {
	node  *Node
	sock  *udp.Socket         // nil: the system gives none
	addrs func() []netip.Addr // of the host
	// lanConns is what a simulated network has for multicast DNS; nil: nothing,
	// or the kernel's.
	lanConns func() []lan.PacketConn
	limit    *rate.Limiter
	nat      *natWatch
	port     *portMapping
	links    *peerLinks
	wake     chan struct{} // capacity 1: the node's addresses may have changed
	up       atomic.Bool   // sock is set
	slept    atomic.Bool   // the host slept: what was known may be wrong
	stray    atomic.Uint64 // frames for others, or that came too early

	mu       sync.Mutex
	local    direct.Local
	punchers map[*session.Session]*puncher
}

// newDirect returns what is not open yet, nil if there are to be no direct paths.
func newDirect(n *Node) *directPaths {
	if n.cfg.NoDirect {
		return nil
	}
	d := &directPaths{
		node:     n,
		addrs:    hostAddrs,
		limit:    rate.NewLimiter(probesPerSecond, probeBurst),
		wake:     make(chan struct{}, 1),
		punchers: make(map[*session.Session]*puncher),
	}
	d.nat = newNATWatch(d)
	d.links = newPeerLinks(n)
	d.port = &portMapping{d: d}
	return d
}

// openDirect opens the node's UDP socket, if it is to have one.
func (n *Node) openDirect() error {
	d := n.direct
	if d == nil {
		return nil
	}
	if err := d.links.listen(); err != nil {
		n.cancel()
		return err
	}
	sock, err := d.listen()
	switch {
	case err == nil:
		d.sock = sock
		d.nat.start()
		d.up.Store(true)
		return nil
	case n.cfg.UDPAddr != "" || n.cfg.ListenUDP != nil:
		d.links.stop()
		n.cancel()
		return fmt.Errorf("overlay: Config.UDPAddr: %w", err)
	}
	n.log.WithError(err).Warn("no direct paths but by TCP: the system gives no UDP socket")
	return nil
}

func (d *directPaths) listen() (*udp.Socket, error) {
	n := d.node
	addr := cmp.Or(n.cfg.UDPAddr, ":0")
	cfg := udp.Config{Self: n.ID(), OnFrame: d.receive, OnOther: d.other}
	if n.cfg.ListenUDP == nil {
		var err error
		if cfg.Addr, err = parseUDPAddr(addr); err != nil {
			return nil, err
		}
		return udp.Open(n.ctx, cfg)
	}
	pc, err := n.cfg.ListenUDP(n.ctx, addr)
	if err != nil {
		return nil, err
	}
	if h, ok := pc.(interface{ LocalAddrs() []netip.Addr }); ok {
		d.addrs = h.LocalAddrs
	}
	if h, ok := pc.(interface{ LANConns() []lan.PacketConn }); ok {
		d.lanConns = h.LANConns
	}
	cfg.Conn = udpConn(pc)
	return udp.Open(n.ctx, cfg)
}

// start begins to watch the network, once the node is complete.
func (d *directPaths) start() {
	if d != nil {
		d.update()
		d.node.wg.Go(d.run)
		if d.sock != nil {
			d.node.wg.Go(d.nat.run)
		}
		d.links.start()
	}
}

// run looks for changes of the node's addresses until the node closes.
func (d *directPaths) run() {
	var simulated <-chan time.Time // where netmon sees nothing
	if d.node.cfg.ListenUDP != nil {
		tick := time.NewTicker(addrsEvery)
		defer tick.Stop()
		simulated = tick.C
	}
	for {
		select {
		case <-d.wake:
		case <-simulated:
		case <-d.node.ctx.Done():
			return
		}
		d.update()
	}
}

// changed makes run look at the node's addresses. It never blocks, and is called
// when the relays' state changes, too.
func (d *directPaths) changed() {
	if d != nil {
		poke(d.wake)
		poke(d.nat.wake)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// update finds the node's candidates, and tells the punchers if they are new.
func (d *directPaths) update() {
	l, hosts := d.candidates()
	d.mu.Lock()
	before := hostCandidates(d.local.Candidates)
	same := l.Mapping == d.local.Mapping && l.Loopback == d.local.Loopback && slices.Equal(l.Candidates, d.local.Candidates)
	first := d.local.Candidates == nil
	d.local = l
	var all []*puncher
	for _, p := range d.punchers {
		all = append(all, p)
	}
	d.mu.Unlock()
	slept := d.slept.Swap(false)
	moved := !first && !slices.Equal(before, hosts) || slept
	// A new address alone spoils no path.
	lost := slept || slices.ContainsFunc(before, func(c direct.Candidate) bool { return !slices.Contains(hosts, c) })
	if same && !moved {
		return
	}
	d.node.log.WithField("candidates", l.Candidates).Debug("addresses for direct paths")
	if moved {
		d.nat.refresh()
		d.node.lan.refresh()
	}
	for _, p := range all {
		p.tell(func(e *punchEvents) { e.local, e.restart = &l, e.restart || moved })
		if lost {
			p.sess.Recheck()
		}
	}
}

// candidates returns what the node tells its peers, and its interfaces' part.
func (d *directPaths) candidates() (l direct.Local, hosts []direct.Candidate) {
	addrs, at := d.addrs(), d.links.addr()
	bound := at
	if d.sock != nil {
		bound = d.sock.LocalAddr()
	}
	l.Loopback = bound.Addr().IsLoopback() || at.Addr().IsLoopback() || d.node.relayOnLoopback() ||
		!slices.ContainsFunc(addrs, netip.Addr.IsGlobalUnicast)
	if d.sock != nil {
		hosts = candidatesAt(direct.Host, bound, addrs, maxHostAddrs, l.Loopback)
	}
	l.Candidates = hosts
	if at.IsValid() {
		l.Candidates = append(slices.Clone(hosts), candidatesAt(direct.TCP, at, addrs, maxLinkAddrs, l.Loopback)...)
	}
	nat := d.nat.result()
	l.Mapping = nat.mapping
	if d.sock != nil {
		d.port.need(hosts, nat.candidates)
	}
	for _, c := range append(d.port.candidates(), nat.candidates...) {
		if !slices.ContainsFunc(hosts, func(h direct.Candidate) bool { return h.Addr == c.Addr }) {
			l.Candidates = append(l.Candidates, c)
		}
	}
	return l, hosts
}

// candidatesAt returns where a socket that is bound to an address is reached on a
// host with such addresses.
func candidatesAt(kind direct.Kind, bound netip.AddrPort, addrs []netip.Addr, limit int, loopback bool) (out []direct.Candidate) {
	if a := bound.Addr(); a.IsValid() && !a.IsUnspecified() {
		addrs = []netip.Addr{a}
	}
	var local []direct.Candidate
	for _, a := range addrs {
		c := direct.Candidate{Kind: kind, Addr: netip.AddrPortFrom(a.Unmap(), bound.Port())}
		switch {
		case a.IsLoopback():
			local = append(local, c)
		case a.IsGlobalUnicast() && len(out) < limit:
			out = append(out, c)
		}
	}
	if loopback {
		out = append(out, local[:min(len(local), 2)]...)
	}
	return out
}

func hostCandidates(list []direct.Candidate) (out []direct.Candidate) {
	for _, c := range list {
		if c.Kind == direct.Host {
			out = append(out, c)
		}
	}
	return out
}

// hostAddrs returns the system's addresses.
func hostAddrs() []netip.Addr {
	return append(netmon.LocalAddrs(), netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
}

// receive hands a frame that came on a flow to the sessions.
func (d *directPaths) receive(fl *udp.Flow, f *frame.Frame) {
	if dst := f.Dst(); !d.up.Load() || f.Type() != frame.TypeData || dst != d.node.ID() && dst != 0 {
		d.stray.Add(1)
		f.Release()
		return
	}
	d.node.ep.Receive(f, fl)
}

// relayOnLoopback reports whether a relay in use is on this host, so that peers
// may be, too.
func (n *Node) relayOnLoopback() bool {
	return slices.ContainsFunc(n.uplinks.Status(), func(st uplink.Status) bool {
		a, err := link.ParseAddr(st.Addr)
		if err != nil {
			return false
		}
		ip, err := netip.ParseAddr(a.Host)
		return err == nil && ip.Unmap().IsLoopback() || a.IP.IsLoopback() || a.Host == "localhost"
	})
}

// other takes datagrams that are not frames.
func (d *directPaths) other(from netip.AddrPort, b []byte) { d.nat.handle(from, b) }

// established makes a puncher for a session that is not with a neighbour.
func (d *directPaths) established(s *session.Session) {
	n := d.node
	if port := n.sw.Port(s.Peer().ID); port != nil && !d.links.has(port) {
		return // a relay, or a node that is attached to this one
	}
	p := newPuncher(d, s)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == closing {
		return
	}
	d.mu.Lock()
	d.punchers[s] = p
	local := d.local
	p.events.local = &local
	d.mu.Unlock()
	n.wg.Go(p.run)
}

func (d *directPaths) puncher(s *session.Session) *puncher {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.punchers[s]
}

// pokePeer makes the punchers of a peer look at its paths.
func (d *directPaths) pokePeer(id NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s, p := range d.punchers {
		if s.Peer().ID == id {
			poke(p.wake)
		}
	}
}

func (d *directPaths) forget(s *session.Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.punchers, s)
}

// told is session.Config.OnCandidates.
func (d *directPaths) told(s *session.Session, b []byte) {
	if p := d.puncher(s); p != nil {
		b = slices.Clone(b)
		p.tell(func(e *punchEvents) { e.remote = b })
	}
}

// close writes what is queued and closes the socket. Sessions and goroutines
// have ended.
func (d *directPaths) close() {
	if d == nil {
		return
	}
	d.links.stop()
	if d.sock == nil {
		return
	}
	d.nat.close()
	ctx, cancel := context.WithTimeout(context.Background(), udpDrainTimeout)
	defer cancel()
	_ = d.sock.Drain(ctx)
}

// udpConn makes a net.PacketConn what a udp.Socket takes.
func udpConn(pc net.PacketConn) udp.PacketConn {
	if c, ok := pc.(udp.SingleConn); ok {
		return udp.OneByOne(c)
	}
	return udp.OneByOne(addrConn{pc})
}

// An addrConn is a net.PacketConn with addresses as values.
type addrConn struct{ net.PacketConn }

func (c addrConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := c.ReadFrom(b)
	if u, ok := from.(*net.UDPAddr); ok {
		return n, u.AddrPort(), err
	}
	return n, netip.AddrPort{}, err
}

func (c addrConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return c.WriteTo(b, net.UDPAddrFromAddrPort(to))
}

// parseUDPAddr reads Config.UDPAddr.
func parseUDPAddr(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		ap, err := netip.ParseAddrPort("[::]:" + port)
		return netip.AddrPortFrom(netip.Addr{}, ap.Port()), err
	}
	return netip.ParseAddrPort(net.JoinHostPort(host, port))
}

// checkDirect checks the fields about direct paths.
func (c Config) checkDirect() error {
	if c.UDPAddr != "" {
		if _, err := parseUDPAddr(c.UDPAddr); err != nil {
			return fmt.Errorf("overlay: Config.UDPAddr: %w; say an IP address, or nothing, and a port such as \":4000\"", err)
		}
	}
	if c.LinkAddr != "" {
		if _, err := parseUDPAddr(c.LinkAddr); err != nil {
			return fmt.Errorf("overlay: Config.LinkAddr: %w; say an IP address, or nothing, and a port such as \":4000\"", err)
		}
	}
	for i, s := range c.STUNServers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return fmt.Errorf("overlay: Config.STUNServers[%d]: %w; say host:port", i, err)
		}
	}
	return nil
}
