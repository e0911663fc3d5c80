package hostile

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/simnet/natnet"
	"github.com/weftnet/weft/overlay"
)

// udpPort is the port of all nodes' UDP sockets.
const udpPort = 4000

// place gives hosts UDP, and with it direct paths to each other, before their
// nodes start. A datagram takes as long from one to the other as a frame to a relay,
// and each has as much bandwidth besides that of its link. Other hosts
// use relays for everything.
func (w *world) place(hosts ...string) {
	w.Helper()
	slow := simnet.Impairment{Delay: latency / 2, Rate: bandwidth, MaxPacket: 1472}
	for _, name := range hosts {
		w.placed[name] = w.udp.Host(name, natnet.HostConfig{NoIPv6: true, Up: slow, Down: slow})
	}
}

// udpOf is the end of a host's UDP socket.
func (w *world) udpOf(host string) netip.AddrPort {
	return netip.AddrPortFrom(w.placed[host].Addrs()[0], udpPort)
}

// listenUDP opens a host's socket.
func (w *world) listenUDP(name string) (net.PacketConn, error) {
	c, err := w.placed[name].ListenPacket(udpPort)
	if err != nil {
		return nil, err
	}
	return &socket{Conn: c, w: w, host: name}, nil
}

// A socket is the UDP socket of a node. Everything that the node sends and gets
// passes it, so that attackers who are on the way have their place here.
type socket struct {
	*natnet.Conn
	w    *world
	host string
	held []datagram // the reader's
}

// A datagram comes from an address.
type datagram struct {
	b    []byte
	from netip.AddrPort
}

// onDirect puts somebody on the direct path between a host and a peer, until it is
// called with nil: up is to the peer, down to the host.
func (w *world) onDirect(h, peer *host, p *onPath) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.directs[directKey{h.name, w.udpOf(peer.name)}] = p
}

// A directKey is a host and the end of a peer's socket.
type directKey struct {
	host string
	peer netip.AddrPort
}

// look watches a datagram that passes, and returns what becomes of it.
func (s *socket) look(b []byte, peer netip.AddrPort, of func(*onPath) func(*frame.Frame) []*frame.Frame) [][]byte {
	f, err := frame.Decode(b)
	if err != nil {
		return [][]byte{b} // STUN
	}
	if s.w.seen(f) {
		s.w.Errorf("what nodes say to each other can be read between %s and %v", s.host, peer)
	}
	s.w.mu.Lock()
	p := s.w.directs[directKey{s.host, peer}]
	s.w.mu.Unlock()
	if p == nil || of(p) == nil {
		f.Release()
		return [][]byte{b}
	}
	var out [][]byte
	all := of(p)(f)
	for _, f := range all {
		out = append(out, slices.Clone(f.Bytes()))
	}
	release(all)
	return out
}

// ReadFromUDPAddrPort returns what comes from others.
func (s *socket) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for len(s.held) == 0 {
		n, from, err := s.Conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		for _, out := range s.look(b[:n], from, func(p *onPath) func(*frame.Frame) []*frame.Frame { return p.down }) {
			s.held = append(s.held, datagram{slices.Clone(out), from})
		}
	}
	d := s.held[0]
	s.held = s.held[1:]
	return copy(b, d.b), d.from, nil
}

// WriteToUDPAddrPort sends to others.
func (s *socket) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	for _, out := range s.look(b, to, func(p *onPath) func(*frame.Frame) []*frame.Frame { return p.up }) {
		if _, err := s.Conn.WriteToUDPAddrPort(out, to); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// nearby adds a pair with a direct path, which the attack does not concern.
func (b bystanders) nearby(w *world, relays ...*host) bystanders {
	w.Helper()
	w.place("carol", "dave")
	c, d := w.node("carol", overlay.Config{}, relays...), w.node("dave", overlay.Config{}, relays...)
	return append(b, w.newPair(c, d, share))
}

// isDirect reports whether both ends of a pair use a direct path.
func (p *pair) isDirect() bool {
	here, _ := overlay.PathOf(p.talk)
	there, _ := overlay.PathOf(p.far)
	return strings.HasPrefix(here, "udp ") && strings.HasPrefix(there, "udp ")
}

// A sink is a host that has no part in anything, and counts what it gets.
type sink struct {
	host *natnet.Host
	ends []*end
}

// An end is a port of a sink.
type end struct {
	netip.AddrPort
	datagrams, bytes atomic.Int64 // UDP payload that came
	forged           atomic.Int64 // that raiders sent as if from here
}

// sink makes one with so many ports.
func (w *world) sink(name string, ports int) *sink {
	w.Helper()
	fast := simnet.Impairment{Delay: latency / 2}
	s := &sink{host: w.udp.Host(name, natnet.HostConfig{NoIPv6: true, Up: fast, Down: fast})}
	for range ports {
		c, err := s.host.ListenPacket(0)
		if err != nil {
			w.Fatal(err)
		}
		e := &end{AddrPort: netip.AddrPortFrom(s.host.Addrs()[0], c.Port())}
		s.ends = append(s.ends, e)
		w.wg.Go(func() {
			b := make([]byte, 2048)
			for {
				n, _, err := c.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				e.datagrams.Add(1)
				e.bytes.Add(int64(n))
			}
		})
	}
	return s
}

// A raider is a host that sends from any address, as fast as it likes.
type raider struct {
	w    *world
	host *natnet.Host
}

// raider makes one.
func (w *world) raider(name string) *raider {
	fast := simnet.Impairment{Delay: latency / 2}
	return &raider{w, w.udp.Host(name, natnet.HostConfig{NoIPv6: true, Up: fast, Down: fast})}
}

// forge sends a datagram to a host as if it came from an address.
func (r *raider) forge(b []byte, from, to netip.AddrPort) {
	if err := r.host.Forge(b, from, to); err != nil {
		r.w.Errorf("forging a datagram from %v to %v: %v", from, to, err)
	}
}

// answerSTUN has a relay that has UDP answer STUN on two ports, the first of which
// is udpPort.
func (w *world) answerSTUN(r *host) {
	w.Helper()
	pc, err := w.placed[r.name].ListenPacket(udpPort)
	if err != nil {
		w.Fatal(err)
	}
	alternate, err := w.placed[r.name].ListenPacket(0)
	if err != nil {
		w.Fatal(err)
	}
	w.wg.Go(func() { _ = r.ServePackets(pc, alternate) })
}
