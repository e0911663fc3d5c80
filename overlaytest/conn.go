package overlaytest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/simnet"
)

// Traffic counts what went over the links of a host so far, in all its lives. A
// frame is what a UDP datagram would be in a real network.
type Traffic struct {
	FramesSent, FramesReceived uint64
	BytesSent, BytesReceived   uint64 // headers included

	// What went over UDP is counted apart, and with the headers of IP and UDP:
	// direct paths, attempts to find them, and STUN.
	DatagramsSent, DatagramsReceived         uint64
	DatagramBytesSent, DatagramBytesReceived uint64
}

type traffic struct {
	framesSent, framesReceived, bytesSent, bytesReceived atomic.Uint64
}

// Traffic returns what went over the links of a host so far. Frames and datagrams
// that were lost on their way count as sent.
func (l *Lab) Traffic(host string) Traffic {
	l.t.Helper()
	h := l.host(host)
	t := Traffic{
		FramesSent: h.count.framesSent.Load(), FramesReceived: h.count.framesReceived.Load(),
		BytesSent: h.count.bytesSent.Load(), BytesReceived: h.count.bytesReceived.Load(),
	}
	if h.udp != nil {
		up, down := h.udp.LinkCounters()
		t.DatagramsSent, t.DatagramBytesSent = up.Sent, up.BytesSent
		t.DatagramsReceived, t.DatagramBytesReceived = down.Delivered, down.BytesDelivered
	}
	return t
}

// A conn is one end of a link. It keeps frames whole by itself, so that nodes
// use it by those of its methods that a net.Conn does not have.
type conn struct {
	*simnet.Conn
	host *host
}

// track makes c an end of a link of the host.
func (h *host) track(c *simnet.Conn) *conn {
	t := &conn{c, h}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[t] = struct{}{}
	return t
}

// ReadFrame counts what arrives.
func (c *conn) ReadFrame() (*frame.Frame, error) {
	f, err := c.Conn.ReadFrame()
	if err == nil {
		c.host.count.framesReceived.Add(1)
		c.host.count.bytesReceived.Add(uint64(len(f.Bytes())))
	}
	return f, err
}

// WriteFrames counts what leaves.
func (c *conn) WriteFrames(fs []*frame.Frame) error {
	for _, f := range fs {
		c.host.count.framesSent.Add(1)
		c.host.count.bytesSent.Add(uint64(len(f.Bytes())))
	}
	return c.Conn.WriteFrames(fs)
}

// Close ends the link at both ends.
func (c *conn) Close() error {
	c.host.mu.Lock()
	delete(c.host.conns, c)
	c.host.mu.Unlock()
	return c.Conn.Close()
}

// silence ends the link at this end, and lets the other end wait.
func (c *conn) silence() {
	c.Wire().Set(simnet.Impairment{Down: true})
	_ = c.Close()
}

// What a net.Conn has and nobody uses here.
func (*conn) Read([]byte) (int, error)         { return 0, errors.ErrUnsupported }
func (*conn) Write([]byte) (int, error)        { return 0, errors.ErrUnsupported }
func (*conn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (*conn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (*conn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
