package hostile

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
)

// A conn is the dialling end of a link. Everything that crosses the link in both
// directions passes it, so that attackers who are on the way have their place here.
type conn struct {
	*simnet.Conn
	w    *world
	pair [2]string // who dialled, and whom
	held []*frame.Frame
}

// An onPath is somebody on the way between a host and a relay, or the relay
// itself. Its functions return what becomes of a frame, nil for nothing; they own it,
// and must not block.
type onPath struct {
	up, down func(*frame.Frame) []*frame.Frame // to the relay, and to the node; nil: as it is
}

// onPath puts somebody between a host and a relay, until it is called with nil.
func (w *world) onPath(h, relay *host, p *onPath) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paths[[2]string{h.name, relay.name}] = p
}

// watch makes c the dialling end of a link from host to addr.
func (w *world) watch(c *simnet.Conn, host, addr string) *conn {
	to, _, err := net.SplitHostPort(addr)
	if err != nil {
		to = addr
	}
	d := &conn{Conn: c, w: w, pair: [2]string{host, to}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[d.pair] = append(w.conns[d.pair], d)
	return d
}

// send sends frames over the newest link from a host to a relay, as the host could
// if it were bad. It takes them.
func (w *world) send(h, relay *host, fs ...*frame.Frame) error {
	w.mu.Lock()
	all := w.conns[[2]string{h.name, relay.name}]
	w.mu.Unlock()
	if len(all) == 0 {
		return net.ErrClosed
	}
	err := all[len(all)-1].Conn.WriteFrames(fs)
	for _, f := range fs {
		f.Release()
	}
	return err
}

// feed has a host receive a frame over its newest link with a relay, as the relay
// could send it if it were bad. It takes the frame.
func (w *world) feed(h, relay *host, f *frame.Frame) {
	defer f.Release()
	w.mu.Lock()
	all := w.conns[[2]string{h.name, relay.name}]
	var far *simnet.Conn
	if len(all) > 0 {
		far = w.accepted[all[len(all)-1].LocalAddr().String()]
	}
	w.mu.Unlock()
	if far != nil {
		_ = far.WriteFrames([]*frame.Frame{f})
	}
}

// addressed returns a data frame.
func addressed(src, dst identity.NodeID, packet []byte) *frame.Frame {
	f := frame.New(len(packet))
	copy(f.Packet(), packet)
	f.SetSrc(src)
	f.SetDst(dst)
	return f
}

// secrets has all links searched for text from now on.
func (w *world) secrets(text ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, text...)
}

// seen reports whether a frame holds what nobody on the way may see.
func (w *world) seen(f *frame.Frame) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.told, func(text string) bool { return bytes.Contains(f.Bytes(), []byte(text)) })
}

// look watches a frame that passes, and returns who else stands there.
func (c *conn) look(f *frame.Frame) *onPath {
	if c.w.seen(f) {
		c.w.Errorf("what nodes say to each other can be read between %s and %s", c.pair[0], c.pair[1])
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.w.paths[c.pair]
}

// ReadFrame returns what comes from the relay.
func (c *conn) ReadFrame() (*frame.Frame, error) {
	for len(c.held) == 0 {
		f, err := c.Conn.ReadFrame()
		if err != nil {
			return nil, err
		}
		p := c.look(f)
		if p == nil || p.down == nil {
			return f, nil
		}
		c.held = p.down(f)
	}
	f := c.held[0]
	c.held = c.held[1:]
	return f, nil
}

// WriteFrames sends to the relay.
func (c *conn) WriteFrames(fs []*frame.Frame) error {
	for _, f := range fs {
		out := []*frame.Frame{f}
		if p := c.look(f); p != nil && p.up != nil {
			out = p.up(f.Clone())
			defer release(out)
		}
		if err := c.Conn.WriteFrames(out); err != nil {
			return err
		}
	}
	return nil
}

func release(fs []*frame.Frame) {
	for _, f := range fs {
		f.Release()
	}
}

// What a net.Conn has and nobody uses here.
func (*conn) Read([]byte) (int, error)         { return 0, errors.ErrUnsupported }
func (*conn) Write([]byte) (int, error)        { return 0, errors.ErrUnsupported }
func (*conn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (*conn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (*conn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
