package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSegments is the kernel's limit (UDP_MAX_SEGMENTS), which newer ones have
// raised.
const maxSegments = 64

// A kernelConn is a socket of Linux, which moves many datagrams with one system
// call. All that a call needs is allocated once.
type kernelConn struct {
	*net.UDPConn
	raw      syscall.RawConn
	v6       bool // addresses are IPv6, those of IPv4 in the mapped form
	segments int

	in struct {
		mmsgCall
		iovs [readMessages]unix.Iovec
	}
	out struct {
		mmsgCall
		iovs [maxDatagrams]unix.Iovec
	}
}

// An mmsgCall is the memory of one call of recvmmsg or sendmmsg.
type mmsgCall struct {
	hdrs  [maxMessages]mmsghdr
	names [maxMessages]unix.RawSockaddrInet6
	ctls  [maxMessages]control
	call  func(fd uintptr) bool
	n     int // messages given, then done
	errno syscall.Errno
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// control is one control message with a uint16 or an int.
type control struct {
	hdr  unix.Cmsghdr
	data [8]byte
}

// newKernelConn sets the socket's options. With segments the kernel cuts what
// is sent and joins what is received, if it can.
func newKernelConn(c *net.UDPConn, v6, segments bool) (PacketConn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	k := &kernelConn{UDPConn: c, raw: raw, v6: v6, segments: 1}
	err = raw.Control(func(fd uintptr) { setOptions(int(fd), v6) })
	if err != nil {
		return nil, err
	}
	if segments {
		err = raw.Control(func(fd uintptr) {
			if _, err := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT); err == nil {
				k.segments = maxSegments
			}
			_ = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1) // Linux 5.0; without it datagrams come one by one
		})
	}
	k.in.call = func(fd uintptr) bool { return k.in.run(unix.SYS_RECVMMSG, fd) }
	k.out.call = func(fd uintptr) bool { return k.out.run(unix.SYS_SENDMMSG, fd) }
	return k, err
}

// setOptions sets the DF bit and has the kernel ignore what it learned of path
// MTUs: a packet that is too big fails here or is lost, and is never fragmented
// (RFC 8899 section 3). Old kernels know no better than to leave it out.
func setOptions(fd int, v6 bool) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	}
}

// run makes the call, and reports false to wait until the socket is ready.
func (c *mmsgCall) run(trap, fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&c.hdrs[0])), uintptr(c.n), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case 0:
			c.n, c.errno = int(n), 0
		default:
			c.n, c.errno = 0, errno
		}
		return true
	}
}

// MaxSegments is how many datagrams the kernel cuts a message into.
func (k *kernelConn) MaxSegments() int { return k.segments }

// LocalAddr returns the address that the socket is bound to.
func (k *kernelConn) LocalAddr() netip.AddrPort { return localAddr(k.UDPConn) }

// ReadBatch reads what has come, and waits if that is nothing.
func (k *kernelConn) ReadBatch(ms []Incoming) (int, error) {
	c := &k.in
	c.n = min(len(ms), readMessages)
	for i := range c.n {
		c.iovs[i].Base = &ms[i].Buf[0]
		c.iovs[i].SetLen(len(ms[i].Buf))
		h := &c.hdrs[i].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&c.names[i])), unix.SizeofSockaddrInet6
		h.Iov = &c.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&c.ctls[i]))
		h.SetControllen(int(unsafe.Sizeof(c.ctls[i])))
		h.Flags = 0
	}
	if err := k.raw.Read(c.call); err != nil {
		return 0, err
	}
	if c.errno != 0 {
		return 0, c.errno
	}
	for i := range c.n {
		m := &ms[i]
		m.N, m.Size = int(c.hdrs[i].len), 0
		m.From = c.from(i)
		ctl := &c.ctls[i]
		if int(c.hdrs[i].hdr.Controllen) >= unix.CmsgLen(4) && ctl.hdr.Level == unix.SOL_UDP && ctl.hdr.Type == unix.UDP_GRO {
			m.Size = int(binary.NativeEndian.Uint32(ctl.data[:]))
		}
	}
	return c.n, nil
}

// WriteBatch writes messages, and waits if the socket's buffer is full.
func (k *kernelConn) WriteBatch(ms []Outgoing) (int, error) {
	c := &k.out
	ms = ms[:min(len(ms), maxMessages)]
	given, iovs := 0, c.iovs[:]
	for i := range ms {
		bufs := ms[i].Bufs
		if len(bufs) > len(iovs) {
			break
		}
		for j, b := range bufs {
			iovs[j].Base = &b[0]
			iovs[j].SetLen(len(b))
		}
		h := &c.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&c.names[i]))
		h.Namelen = c.setTo(i, ms[i].To, k.v6)
		h.Iov = &iovs[0]
		h.SetIovlen(len(bufs))
		h.Control = nil
		h.SetControllen(0)
		if len(bufs) > 1 {
			c.setSegment(i, len(bufs[0]))
		}
		iovs = iovs[len(bufs):]
		given++
	}
	c.n = given
	if err := k.raw.Write(c.call); err != nil {
		return 0, err
	}
	if c.errno != 0 {
		return 0, writeError(c.errno, len(ms[0].Bufs))
	}
	return c.n, nil
}

// setSegment has message i cut into datagrams of n bytes.
func (c *mmsgCall) setSegment(i, n int) {
	ctl := &c.ctls[i]
	ctl.hdr.Level, ctl.hdr.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	ctl.hdr.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(ctl.data[:], uint16(n))
	c.hdrs[i].hdr.Control = (*byte)(unsafe.Pointer(ctl))
	c.hdrs[i].hdr.SetControllen(unix.CmsgSpace(2))
}

// from returns the source of message i.
func (c *mmsgCall) from(i int) netip.AddrPort {
	sa := &c.names[i]
	port := ntohs(sa.Port) // at the same place in both kinds
	if sa.Family == unix.AF_INET {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), port)
	}
	a := netip.AddrFrom16(sa.Addr).Unmap()
	if sa.Scope_id != 0 && a.Is6() {
		a = a.WithZone(strconv.Itoa(int(sa.Scope_id)))
	}
	return netip.AddrPortFrom(a, port)
}

// setTo sets the destination of message i and returns the length of its form.
func (c *mmsgCall) setTo(i int, to netip.AddrPort, v6 bool) uint32 {
	sa := &c.names[i]
	if !v6 {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*sa4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: ntohs(to.Port()), Addr: to.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(to.Port()), Addr: to.Addr().As16()}
	if z := to.Addr().Zone(); z != "" {
		n, _ := strconv.ParseUint(z, 10, 32) // flows have numbers; see canonical
		sa.Scope_id = uint32(n)
	}
	return unix.SizeofSockaddrInet6
}

// ntohs turns a port from network to host byte order, or back.
func ntohs(p uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], p)
	return binary.BigEndian.Uint16(b[:])
}
