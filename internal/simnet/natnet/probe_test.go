package natnet

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// answerTime is after how long a question counts as unanswered.
const answerTime = time.Second

// reflectors are two hosts with two sockets each that tell who asks its
// address, from whichever of the four sockets the question names (RFC 5780).
type reflectors struct {
	socks [2][2]*Conn
	addrs [2][2]netip.AddrPort // IPv4
	addr6 netip.AddrPort       // of socks[0][0]
}

func newReflectors(t *testing.T, n *Network) *reflectors {
	r := &reflectors{}
	var wg sync.WaitGroup
	for i := range r.socks {
		h := n.Host("reflector", HostConfig{})
		for j := range r.socks[i] {
			c := listen(t, h, uint16(3478+j))
			r.socks[i][j] = c
			r.addrs[i][j] = netip.AddrPortFrom(h.v4, c.port)
			wg.Go(func() { r.serve(c) })
		}
	}
	r.addr6 = netip.AddrPortFrom(r.socks[0][0].host.v6, 3478)
	t.Cleanup(wg.Wait)
	t.Cleanup(n.Close)
	return r
}

func (r *reflectors) serve(c *Conn) {
	b := make([]byte, 2)
	for {
		_, src, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		answer, _ := src.MarshalBinary()
		_, _ = r.socks[b[0]][b[1]].WriteToUDPAddrPort(answer, src)
	}
}

// ask sends a question from c to a reflector that is answered from another,
// and returns what address c has there; false if no answer comes.
func (r *reflectors) ask(t *testing.T, c *Conn, to netip.AddrPort, host, port byte) (netip.AddrPort, bool) {
	t.Helper()
	write(t, c, to, string([]byte{host, port}))
	answer, _, ok := read(t, c)
	if !ok {
		return netip.AddrPort{}, false
	}
	var seen netip.AddrPort
	if err := seen.UnmarshalBinary([]byte(answer)); err != nil {
		t.Fatal(err)
	}
	return seen, true
}

// seen returns the address that c has at the first reflector.
func (r *reflectors) seen(t *testing.T, c *Conn) netip.AddrPort {
	t.Helper()
	a, ok := r.ask(t, c, r.addrs[0][0], 0, 0)
	if !ok {
		t.Fatalf("%s gets no answer from the reflector", c.host)
	}
	return a
}

// mapping finds the mapping behaviour of what is in front of c.
func (r *reflectors) mapping(t *testing.T, c *Conn) Behaviour {
	t.Helper()
	var seen [3]netip.AddrPort
	for i, at := range [][2]byte{{0, 0}, {0, 1}, {1, 0}} {
		var ok bool
		if seen[i], ok = r.ask(t, c, r.addrs[at[0]][at[1]], at[0], at[1]); !ok {
			t.Fatalf("no answer from reflector %v", at)
		}
	}
	switch {
	case seen[0] != seen[1]:
		return PerEndpoint
	case seen[0] != seen[2]:
		return PerAddress
	}
	return AnyEndpoint
}

// filtering finds the filtering behaviour of what is in front of c, which must
// not have asked before.
func (r *reflectors) filtering(t *testing.T, c *Conn) Behaviour {
	t.Helper()
	if _, ok := r.ask(t, c, r.addrs[0][0], 1, 1); ok {
		return AnyEndpoint
	}
	if _, ok := r.ask(t, c, r.addrs[0][0], 0, 1); ok {
		return PerAddress
	}
	return PerEndpoint
}

// inBubble runs a test on a network with reflectors.
func inBubble(t *testing.T, seed uint64, test func(t *testing.T, n *Network, r *reflectors)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := New(seed)
		test(t, n, newReflectors(t, n))
	})
}

// elapse lets the bubble's time go by.
func elapse(d time.Duration) { time.Sleep(d) }

func listen(t *testing.T, h *Host, port uint16) *Conn {
	t.Helper()
	c, err := h.ListenPacket(port)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, c *Conn, to netip.AddrPort, s string) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(s), to); err != nil {
		t.Fatal(err)
	}
}

// read returns the next datagram, false if none comes for a while.
func read(t *testing.T, c *Conn) (string, netip.AddrPort, bool) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(answerTime))
	b := make([]byte, 2000)
	n, src, err := c.ReadFromUDPAddrPort(b)
	_ = c.SetReadDeadline(time.Time{})
	if err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return "", src, false
	}
	return string(b[:n]), src, true
}

// reaches reports whether a datagram from c to addr comes out of to, and from
// where.
func reaches(t *testing.T, c *Conn, addr netip.AddrPort, to *Conn) (netip.AddrPort, bool) {
	t.Helper()
	write(t, c, addr, "knock")
	got, src, ok := read(t, to)
	if ok && got != "knock" {
		t.Fatalf("%s got %q, want a knock", to.host, got)
	}
	return src, ok
}
