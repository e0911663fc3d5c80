//go:build unix

package link

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A trial writes to a TCP conn without waiting.
type trial struct {
	raw  syscall.RawConn
	call func(fd uintptr) bool // made once, lest each write allocates it
	b    []byte                // what to write
	n    int                   // what was written of it
	rest []byte                // what a trial did not take
}

func (t *trial) init(conn net.Conn) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	t.raw = raw
	t.call = func(fd uintptr) bool {
		if n, err := unix.Write(int(fd), t.b); err == nil {
			t.n = n
		}
		return true
	}
}

func (t *trial) can() bool { return t.raw != nil }

// write returns how much of b the kernel took. Of errors the next Write tells.
func (t *trial) write(b []byte) int {
	t.b, t.n = b, 0
	_ = t.raw.Write(t.call)
	t.b = nil
	return t.n
}
