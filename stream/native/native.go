// Package native is the reliability layer without anything in between: its
// conns are the session's own streams, so that a loss on one does not stall
// another, windows grow with the path, and a conn follows the session from one
// path to the next.
package native

import (
	"context"
	"net"
	"sync"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/stream"
)

// Layer is the native layer. It has no settings; the zero value is ready.
type Layer struct{}

var _ stream.Layer = Layer{}

// Name returns "native".
func (Layer) Name() string { return "native" }

// Start implements [stream.Layer]. It starts no goroutine.
func (Layer) Start(s stream.Session, _ logrus.FieldLogger) (stream.Mux, error) {
	m := &mux{sess: s, conns: make(map[*conn]struct{})}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m, nil
}

// A mux opens and accepts streams of one session.
type mux struct {
	sess   stream.Session
	ctx    context.Context // ends with Close, and with it what blocks
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{} // open ones, for Close
}

// Open opens a stream whose kind is the port.
func (m *mux) Open(ctx context.Context, port uint16, opts stream.OpenOptions) (stream.Conn, error) {
	ctx, cancel := m.until(ctx)
	defer cancel()
	st, err := m.sess.OpenStream(ctx, stream.Kind(port))
	if err != nil {
		return nil, m.why(err)
	}
	if !opts.EarlyData {
		if err := st.Accepted(ctx); err != nil {
			st.Reset(stream.CodeCanceled)
			return nil, m.why(err)
		}
	}
	own := stream.DialerPort(st.ID())
	return m.newConn(st,
		stream.Addr{Node: m.sess.LocalID(), Port: own},
		stream.Addr{Node: m.sess.PeerID(), Port: port})
}

// Accept returns the peer's next stream whose kind is a port. Others are
// refused: they belong to a layer that this side does not speak.
func (m *mux) Accept(ctx context.Context) (stream.Request, error) {
	ctx, cancel := m.until(ctx)
	defer cancel()
	for {
		st, err := m.sess.AcceptStream(ctx)
		if err != nil {
			return nil, m.why(err)
		}
		if st.Kind() <= stream.MaxPort {
			return &request{m: m, st: st}, nil
		}
		st.Refuse(stream.CodeLayer)
	}
}

// Close implements [stream.Mux]. Open conns are reset, unless the session has
// ended: then they have failed already, and say why.
func (m *mux) Close() error {
	m.mu.Lock()
	m.closed = true
	conns := m.conns
	m.conns = nil
	m.mu.Unlock()
	m.cancel()
	if m.sess.Err() == nil {
		for c := range conns {
			c.Stream.Reset(stream.CodeShuttingDown)
		}
	}
	return nil
}

// until returns a ctx that ends with the mux, too.
func (m *mux) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.ctx, func() { cancel(net.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// why makes net.ErrClosed of all errors after Close, and the session's error of
// all after its end.
func (m *mux) why(err error) error {
	if ended := m.sess.Err(); ended != nil {
		return ended
	}
	if m.ctx.Err() != nil {
		return net.ErrClosed
	}
	return err
}

// A request is a stream that the peer opened.
type request struct {
	m  *mux
	st stream.Stream
}

func (r *request) Port() uint16 { return uint16(r.st.Kind()) }

func (r *request) Refuse(code stream.Code) error { return r.st.Refuse(code) }

func (r *request) Accept() (stream.Conn, error) {
	if err := r.st.Accept(); err != nil {
		return nil, err
	}
	return r.m.newConn(r.st,
		stream.Addr{Node: r.m.sess.LocalID(), Port: r.Port()},
		stream.Addr{Node: r.m.sess.PeerID(), Port: stream.DialerPort(r.st.ID())})
}
