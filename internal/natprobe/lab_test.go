package natprobe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/natprobe"
	"github.com/weftnet/weft/internal/simnet/natnet"
)

// A lab is an internet with STUN servers.
type lab struct {
	t *testing.T
	*natnet.Network
	wg sync.WaitGroup
}

// inLab runs a test in a bubble.
func inLab(t *testing.T, seed uint64, test func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, Network: natnet.New(seed)}
		defer l.wg.Wait()
		defer l.Close()
		test(l)
	})
}

// elapse lets the bubble's time go by.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A stunHost answers STUN as relays do, on two ports if it is a pair.
type stunHost struct {
	l     *lab
	host  *natnet.Host
	addr  netip.AddrPort // IPv4
	addr6 netip.AddrPort
	socks []*natnet.Conn
}

const stunPort = 3478

func (l *lab) relay(pair bool) *stunHost { return l.relayBehind(pair, natnet.HostConfig{}) }

func (l *lab) relayBehind(pair bool, cfg natnet.HostConfig) *stunHost {
	h := l.Host("relay", cfg)
	s := &stunHost{l: l, host: h, addr: netip.AddrPortFrom(h.Addrs()[0], stunPort), addr6: netip.AddrPortFrom(h.Addrs()[1], stunPort)}
	s.start(pair)
	return s
}

// start makes the host answer, until the test ends or stop.
func (s *stunHost) start(pair bool) {
	pc := s.l.listen(s.host, stunPort)
	s.socks = []*natnet.Conn{pc}
	if !pair {
		s.l.serve(pc, nil, netip.AddrPort{})
		return
	}
	other := s.l.listen(s.host, stunPort+1)
	s.socks = append(s.socks, other)
	s.l.serve(pc, map[byte]*natnet.Conn{2: other}, netip.AddrPortFrom(netip.IPv4Unspecified(), stunPort+1))
	s.l.serve(other, map[byte]*natnet.Conn{2: pc}, netip.AddrPortFrom(netip.IPv4Unspecified(), stunPort))
}

func (s *stunHost) stop() {
	for _, c := range s.socks {
		_ = c.Close()
	}
}

// twoHosts is a server of RFC 5780 with all it may have.
func (l *lab) twoHosts() netip.AddrPort {
	var c [2][2]*natnet.Conn
	var addr [2]netip.Addr
	for i := range c {
		h := l.Host("server", natnet.HostConfig{})
		addr[i] = h.Addrs()[0]
		for j := range c[i] {
			c[i][j] = l.listen(h, uint16(stunPort+j))
		}
	}
	for i := range c {
		for j := range c[i] {
			l.serve(c[i][j], map[byte]*natnet.Conn{2: c[i][1-j], 4: c[1-i][j], 6: c[1-i][1-j]},
				netip.AddrPortFrom(addr[1-i], uint16(stunPort+1-j)))
		}
	}
	return netip.AddrPortFrom(addr[0], stunPort)
}

// serve answers requests that come to pc, those with a flag of CHANGE-REQUEST
// from another socket, and tells of other if it is valid.
func (l *lab) serve(pc *natnet.Conn, change map[byte]*natnet.Conn, other netip.AddrPort) {
	l.wg.Go(func() {
		b := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n < 20 {
				continue
			}
			by := pc
			if i := bytes.Index(b[20:n], []byte{0, 3, 0, 4}); i >= 0 {
				by = change[b[20+i+7]]
			}
			if by == nil {
				_, _ = pc.WriteToUDPAddrPort(slices.Concat([]byte{1, 0x11, 0, 0}, b[4:20]), from)
				continue
			}
			_, _ = by.WriteToUDPAddrPort(answer(b[8:20], from, other), from)
		}
	})
}

func (l *lab) listen(h *natnet.Host, port uint16) *natnet.Conn {
	l.t.Helper()
	c, err := h.ListenPacket(port)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// A client is a prober with its socket and all that it told of.
type client struct {
	*natprobe.Prober
	conn    *natnet.Conn
	changes chan natprobe.Result
}

const clientPort = 4000

// client makes a prober that asks servers.
func (l *lab) client(cfg natnet.HostConfig, keep time.Duration, servers ...netip.AddrPort) *client {
	l.t.Helper()
	conn := l.listen(l.Host("client", cfg), clientPort)
	c := &client{conn: conn, changes: make(chan natprobe.Result, 100)}
	c.Prober = natprobe.New(natprobe.Config{
		Send: func(b []byte, to netip.AddrPort) error {
			_, err := conn.WriteToUDPAddrPort(b, to)
			return err
		},
		OnChange:  func(r natprobe.Result) { c.changes <- r },
		KeepAlive: keep,
	})
	l.wg.Go(func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			c.Handle(from, b[:n])
		}
	})
	l.t.Cleanup(func() { _ = c.Close() })
	c.SetServers(servers)
	return c
}

// reflect answers on a socket with what see makes of the sender's address.
func (l *lab) reflect(pc *natnet.Conn, see func(netip.AddrPort) netip.AddrPort) {
	l.wg.Go(func() {
		b := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n >= 20 {
				_, _ = pc.WriteToUDPAddrPort(answer(b[8:20], see(from), netip.AddrPort{}), from)
			}
		}
	})
}

// answer is a response to the request with that ID.
func answer(id []byte, mapped, other netip.AddrPort) []byte {
	b := append([]byte{1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, id...)
	b = appendAddress(b, 0x0001, mapped) // MAPPED-ADDRESS
	if other.IsValid() {
		b = appendAddress(b, 0x802c, other) // OTHER-ADDRESS
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	return b
}

func appendAddress(b []byte, kind uint16, a netip.AddrPort) []byte {
	ip := a.Addr().AsSlice()
	b = binary.BigEndian.AppendUint16(b, kind)
	b = append(b, 0, byte(4+len(ip)), 0, byte(1+len(ip)/16))
	b = binary.BigEndian.AppendUint16(b, a.Port())
	return append(b, ip...)
}
