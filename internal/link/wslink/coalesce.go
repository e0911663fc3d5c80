package wslink

import (
	"net"
	"sync"
)

// coalesceLen is how many bytes a coalescer holds back at most.
const coalesceLen = 64 << 10

// A coalescer is a conn that makes few large writes of many small ones. The
// WebSocket library writes a client's messages, which it has to mask, in pieces
// of 4 KiB, and each would be a system call and a TLS record.
type coalescer struct {
	net.Conn

	// mu is held during writes below, as the conn there does itself: what
	// waits for it are only writes to the same conn. The library answers pings
	// from the reader's goroutine.
	mu   sync.Mutex
	held bool
	buf  []byte
}

// hold begins to hold back what is written.
func (c *coalescer) hold() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// release writes what was held back, and everything that follows at once.
func (c *coalescer) release() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	return c.flushLocked()
}

func (c *coalescer) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held {
		return c.Conn.Write(p)
	}
	if len(c.buf)+len(p) > coalesceLen {
		if err := c.flushLocked(); err != nil {
			return 0, err
		}
	}
	if c.buf == nil {
		c.buf = make([]byte, 0, coalesceLen)
	}
	if len(p) > cap(c.buf) {
		return c.Conn.Write(p)
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

func (c *coalescer) flushLocked() error {
	if len(c.buf) == 0 {
		return nil
	}
	b := c.buf
	c.buf = b[:0]
	_, err := c.Conn.Write(b)
	return err
}

// NetConn returns the conn below.
func (c *coalescer) NetConn() net.Conn { return c.Conn }
