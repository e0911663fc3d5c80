package yamux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	hyamux "github.com/hashicorp/yamux"

	"github.com/weftnet/weft/stream"
)

// requestBacklog is how many requests may wait for Accept. The mux's user takes
// them at once; what exceeds the backlog is refused.
const requestBacklog = 256

var errOpenTwice = errors.New("yamux: the peer opened a stream that is open")

var errTooManyStreams = fmt.Errorf("yamux: more than %d streams are open or closing", MaxStreams)

// past is a deadline that has passed: the call must not wait.
var past = time.Unix(1, 0)

// A mux is the layer on one side of a session.
type mux struct {
	sess     stream.Session
	cfg      *hyamux.Config
	ctx      context.Context // ends with the mux
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	requests chan *request

	ready   chan struct{}   // closed when the three below are set
	carrier *carrier        // below yamux
	yamux   *hyamux.Session // makes the streams
	control *hyamux.Stream  // the first of them

	// Of the mux's goroutine.
	unopened map[uint32]*hyamux.Stream // accepted from yamux, opOpen not yet here

	mu    sync.Mutex
	err   error // why the mux has ended
	conns map[uint32]*conn
}

func newMux(s stream.Session, cfg *hyamux.Config) *mux {
	m := &mux{
		sess:     s,
		cfg:      cfg,
		requests: make(chan *request, requestBacklog),
		ready:    make(chan struct{}),
		unopened: make(map[uint32]*hyamux.Stream),
		conns:    make(map[uint32]*conn),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// run is the mux's goroutine.
func (m *mux) run() {
	st, err := m.layerStream()
	if err != nil {
		m.end(err)
		return
	}
	m.carrier = newCarrier(st, m.end)
	if m.sess.Initiator() {
		m.yamux, err = hyamux.Client(m.carrier, m.cfg)
	} else {
		m.yamux, err = hyamux.Server(m.carrier, m.cfg)
	}
	if err != nil { // the config is wrong
		m.carrier.Close()
		m.end(err)
		return
	}
	defer m.yamux.Close()
	defer context.AfterFunc(m.ctx, func() { m.yamux.Close() })()
	m.end(m.serve())
}

// layerStream opens or accepts the stream of the session that carries all.
func (m *mux) layerStream() (stream.Stream, error) {
	if m.sess.Initiator() {
		return m.sess.OpenStream(m.ctx, stream.KindLayer)
	}
	for {
		st, err := m.sess.AcceptStream(m.ctx)
		if err != nil {
			return nil, err
		}
		if st.Kind() == stream.KindLayer {
			return st, st.Accept()
		}
		st.Refuse(stream.CodeLayer)
	}
}

// serve reads the control stream until it ends.
func (m *mux) serve() (err error) {
	if m.sess.Initiator() {
		m.control, err = m.yamux.OpenStream()
	} else {
		m.control, err = m.yamux.AcceptStream()
	}
	if err != nil {
		return err
	}
	// A control message never waits: when 4 MiB of them are unread, the peer
	// has stopped for good.
	m.control.SetWriteDeadline(past)
	if _, err := m.control.Write([]byte{controlVersion}); err != nil {
		return err
	}
	close(m.ready)

	buf := make([]byte, messageLen)
	if _, err := io.ReadFull(m.control, buf[:1]); err != nil {
		return err
	}
	if buf[0] != controlVersion {
		return errControlVersion
	}
	for {
		if _, err := io.ReadFull(m.control, buf); err != nil {
			return err
		}
		msg, err := parseMessage(buf)
		if err != nil {
			return err
		}
		if err := m.handle(msg); err != nil {
			return err
		}
	}
}

// send sends a control message.
func (m *mux) send(op op, id, arg uint32) {
	if _, err := m.control.Write(message{op, id, arg}.append(make([]byte, 0, messageLen))); err != nil {
		m.end(errQueueFull)
	}
}

// incoming is the peer's opOpen. The SYN of the stream came before, so that
// yamux has it ready.
func (m *mux) incoming(id uint32, port uint16) error {
	m.mu.Lock()
	known := m.conns[id] != nil
	m.mu.Unlock()
	if known {
		return errOpenTwice
	}
	ys := m.unopened[id]
	for ys == nil {
		next, err := m.yamux.AcceptStream()
		if err != nil {
			return err
		}
		m.unopened[next.StreamID()] = next
		ys = m.unopened[id]
	}
	delete(m.unopened, id)
	streams := m.yamux.NumStreams()
	if streams > 2*MaxStreams {
		return errTooManyStreams
	}
	c, err := m.newConn(ys,
		stream.Addr{Node: m.sess.LocalID(), Port: port},
		stream.Addr{Node: m.sess.PeerID(), Port: stream.DialerPort(uint64(id))})
	if err != nil {
		return err
	}
	r := &request{c}
	if streams > MaxStreams {
		return r.Refuse(stream.CodeBacklogFull)
	}
	select {
	case m.requests <- r:
		return nil
	default:
		return r.Refuse(stream.CodeBacklogFull)
	}
}

// Open implements [stream.Mux].
func (m *mux) Open(ctx context.Context, port uint16, opts stream.OpenOptions) (stream.Conn, error) {
	select {
	case <-m.ready:
	case <-m.ctx.Done():
		return nil, m.why()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if m.yamux.NumStreams() >= MaxStreams {
		return nil, errTooManyStreams
	}
	ys, err := m.yamux.OpenStream()
	if err != nil {
		<-m.ctx.Done() // yamux has ended, and the mux follows
		return nil, m.why()
	}
	id := ys.StreamID()
	c, err := m.newConn(ys,
		stream.Addr{Node: m.sess.LocalID(), Port: stream.DialerPort(uint64(id))},
		stream.Addr{Node: m.sess.PeerID(), Port: port})
	if err != nil {
		return nil, err
	}
	m.send(opOpen, id, uint32(port))
	if !opts.EarlyData {
		if err := c.accepted(ctx); err != nil {
			c.Reset(stream.CodeCanceled)
			return nil, err
		}
	}
	return c, nil
}

// Accept implements [stream.Mux].
func (m *mux) Accept(ctx context.Context) (stream.Request, error) {
	select {
	case r := <-m.requests:
		return r, nil
	default:
	}
	select {
	case r := <-m.requests:
		return r, nil
	case <-m.ctx.Done():
		return nil, m.why()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close implements [stream.Mux].
func (m *mux) Close() error {
	m.end(net.ErrClosed)
	m.wg.Wait()
	return nil
}

// end makes all calls fail with err; only the first counts. It does not wait.
func (m *mux) end(err error) {
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return
	}
	m.err = m.cause(err)
	err = m.err
	conns := m.conns
	m.conns = nil
	m.mu.Unlock()
	m.cancel()
	for _, c := range conns {
		c.lose(err)
	}
}

// cause turns what ended the carrier into what conns say.
func (m *mux) cause(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	select {
	case <-m.sess.Done():
		return m.sess.Err()
	default:
	}
	if err == io.EOF { // the carrier's, at the end of a frame: the peer has closed its mux
		return &stream.ResetError{Code: stream.CodeShuttingDown, Remote: true}
	}
	return err
}

// why returns why the mux has ended, nil if it has not.
func (m *mux) why() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// newConn enters a stream in the table.
func (m *mux) newConn(ys *hyamux.Stream, local, remote stream.Addr) (*conn, error) {
	c := &conn{mux: m, ys: ys, id: ys.StreamID(), local: local, remote: remote}
	ys.SetWriteDeadline(past)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	m.conns[c.id] = c
	return c, nil
}

// remove takes a stream off the table: nothing that the peer says of it
// matters any more.
func (m *mux) remove(id uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, id)
}

// A request is a stream that the peer opened.
type request struct{ c *conn }

func (r *request) Port() uint16 { return r.c.local.Port }

func (r *request) Accept() (stream.Conn, error) {
	r.c.mux.send(opAccept, r.c.id, 0)
	return r.c, nil
}

func (r *request) Refuse(code stream.Code) error { return r.c.Reset(code) }
