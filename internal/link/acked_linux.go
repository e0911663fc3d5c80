package link

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// sinceAck returns how long ago the kernel got a TCP acknowledgement from the
// other end.
func (c *StreamConn) sinceAck() (d time.Duration, ok bool) {
	t, ok := c.conn.(*net.TCPConn)
	if !ok {
		return 0, false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, false
	}
	ok = false
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			d, ok = time.Duration(info.Last_ack_recv)*time.Millisecond, true
		}
	})
	return d, ok
}
