package link

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tcpBelow returns the TCP conn that carries conn, such as a *tls.Conn, nil if
// there is none.
func tcpBelow(conn net.Conn) *net.TCPConn {
	for {
		if t, ok := conn.(*net.TCPConn); ok {
			return t
		}
		upper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = upper.NetConn()
	}
}

// sinceAck returns how long ago the kernel got a TCP acknowledgement from the
// other end.
func (c *StreamConn) sinceAck() (d time.Duration, ok bool) {
	t := tcpBelow(c.conn)
	if t == nil {
		return 0, false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, false
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			d, ok = time.Duration(info.Last_ack_recv)*time.Millisecond, true
		}
	})
	return d, ok
}
