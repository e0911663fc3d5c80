package natnet

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// inboxDatagrams bounds what waits at a socket to be read: some hundred
	// datagrams are what a kernel's default receive buffer holds.
	inboxDatagrams = 512
	// maxPayload is the most that a UDP datagram over IPv4 carries.
	maxPayload = 65507
)

type received struct {
	src     netip.AddrPort
	payload []byte
}

// A Conn is a UDP socket that is not connected, bound to all addresses of its
// host. Reads and writes may run together, from any number of goroutines. It
// never waits for the network: what there is no room for is lost and counted.
type Conn struct {
	host  *Host
	port  uint16
	inbox chan received // never closed
	done  chan struct{}
	once  sync.Once

	read, write deadline
}

var _ net.PacketConn = (*Conn)(nil)

func newConn(h *Host, port uint16) *Conn {
	return &Conn{
		host:  h,
		port:  port,
		inbox: make(chan received, inboxDatagrams),
		done:  make(chan struct{}),
		read:  deadline{passed: make(chan struct{})},
		write: deadline{passed: make(chan struct{})},
	}
}

// ReadFromUDPAddrPort waits for the next datagram. What does not fit into b is
// cut off, as with the kernel. The error is a *net.OpError around
// net.ErrClosed or os.ErrDeadlineExceeded.
func (c *Conn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	d, err := c.next()
	if err != nil {
		return 0, netip.AddrPort{}, c.opError("read", nil, err)
	}
	return copy(b, d.payload), d.src, nil
}

func (c *Conn) next() (received, error) {
	passed := c.read.wait()
	if err := c.await(passed); err != nil {
		return received{}, err
	}
	select {
	case d := <-c.inbox:
		return d, nil
	case <-c.done:
		return received{}, net.ErrClosed
	case <-passed:
		return received{}, os.ErrDeadlineExceeded
	}
}

// await returns once the host is awake, or with an error.
func (c *Conn) await(passed <-chan struct{}) error {
	c.host.net.mu.Lock()
	awake := c.host.awake
	c.host.net.mu.Unlock()
	// A closed socket and a deadline that has passed come before all else.
	select {
	case <-c.done:
		return net.ErrClosed
	default:
	}
	select {
	case <-passed:
		return os.ErrDeadlineExceeded
	default:
	}
	select {
	case <-awake:
		return nil
	case <-c.done:
		return net.ErrClosed
	case <-passed:
		return os.ErrDeadlineExceeded
	}
}

// WriteToUDPAddrPort sends a datagram with a copy of b. The error is a
// *net.OpError around net.ErrClosed, os.ErrDeadlineExceeded,
// syscall.ENETUNREACH if the host has no address of that kind, or
// syscall.EMSGSIZE.
func (c *Conn) WriteToUDPAddrPort(b []byte, dst netip.AddrPort) (int, error) {
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	err := c.await(c.write.wait())
	if err == nil {
		payload := slices.Clone(b)
		c.host.net.mu.Lock()
		err = c.host.sendLocked(c.port, dst, payload)
		c.host.net.mu.Unlock()
	}
	if err != nil {
		return 0, c.opError("write", net.UDPAddrFromAddrPort(dst), err)
	}
	return len(b), nil
}

// ReadFrom is ReadFromUDPAddrPort; the address is a *net.UDPAddr.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, src, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(src), nil
}

// WriteTo is WriteToUDPAddrPort; the address is a *net.UDPAddr.
func (c *Conn) WriteTo(b []byte, dst net.Addr) (int, error) {
	a, ok := dst.(*net.UDPAddr)
	if !ok {
		return 0, c.opError("write", dst, &net.AddrError{Err: "address is not a *net.UDPAddr", Addr: dst.String()})
	}
	return c.WriteToUDPAddrPort(b, a.AddrPort())
}

// LocalAddr returns [::] and the port, a *net.UDPAddr.
func (c *Conn) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv6Unspecified(), c.port))
}

// LocalAddrs returns the addresses of the host: see Host.Addrs.
func (c *Conn) LocalAddrs() []netip.Addr { return c.host.Addrs() }

// Port returns the port.
func (c *Conn) Port() uint16 { return c.port }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on, those that wait included. The
// zero time is never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.read, t) }

// SetWriteDeadline makes writes fail from t on. Writes wait only while the host
// sleeps.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.write, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	select {
	case <-c.done:
		return c.opError("set", nil, net.ErrClosed)
	default:
	}
	d.set(t)
	select {
	case <-c.done: // closed meanwhile: leave no timer
		d.set(time.Time{})
	default:
	}
	return nil
}

// Close ends reads and writes and frees the port.
func (c *Conn) Close() error {
	err := c.opError("close", nil, net.ErrClosed)
	c.once.Do(func() {
		n := c.host.net
		n.mu.Lock()
		delete(c.host.socks, c.port)
		delete(n.conns, c)
		n.mu.Unlock()
		close(c.done)
		c.read.set(time.Time{})
		c.write.set(time.Time{})
		err = nil
	})
	return err
}

func (c *Conn) opError(op string, dst net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Addr: dst, Err: err}
}

// A deadline closes a channel when it passes.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	moved  int // how often set was called, so that an old timer does nothing
	passed chan struct{}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

// set changes the deadline. Calls that wait with one that has not passed wait
// for the new one.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.moved++
	select {
	case <-d.passed:
		d.passed = make(chan struct{})
	default:
	}
	switch wait, moved := time.Until(t), d.moved; {
	case t.IsZero():
	case wait <= 0:
		close(d.passed)
	default:
		d.timer = time.AfterFunc(wait, func() { d.pass(moved) })
	}
}

func (d *deadline) pass(moved int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moved == moved {
		close(d.passed)
	}
}
