package sctp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pion/datachannel"
	psctp "github.com/pion/sctp"
	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/stream"
)

// requestBacklog is how many requests may wait for Accept. The mux's user takes
// them at once; what exceeds the backlog is refused.
const requestBacklog = 1024

var errTooManyStreams = fmt.Errorf("sctp: %d conns to this peer are open or closing, which is all that stream numbers of 16 bits allow; close some", MaxStreams)

var errProtocol = errors.New("sctp: the peer broke the protocol; the log says how at debug level")

// A mux is the layer on one side of a session.
type mux struct {
	sess     stream.Session
	log      logger
	window   int             // to which that of a conn grows
	ctx      context.Context // ends with the mux
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	carrier  *carrier
	assoc    *psctp.Association // once ready
	ready    chan struct{}      // closed when the association stands
	room     writeRoom
	requests chan *request

	// Of the goroutine in which pion reads.
	touched   []*channel // got something with the packet under way
	resetting []*channel // the peer resets them, as soon as all data are here
	answered  []uint16   // of our resets, with the packet under way
	buf       *[maxMessage]byte

	mu       sync.Mutex
	err      error // why the mux has ended
	channels map[uint16]*channel
	numbers  numbers
	resets   resets
	lastTSN  uint32 // all data up to it have come, once anything was reset
	anyReset bool
	unhold   func()        // of the session; nil if it is not held
	progress chan struct{} // closed when packets came; nil if nobody waits
}

// A channel is one stream of SCTP, from before the DCEP OPEN until both
// directions have been reset.
type channel struct {
	id uint16
	st *psctp.Stream

	// writing orders writes and the reset behind them: what pion queued after
	// a reset would arrive at the number's next user.
	writing sync.Mutex

	// Set before anybody else knows the channel, or by the goroutine in which
	// pion reads, which alone looks at them.
	dc        *datachannel.DataChannel
	conn      *conn  // nil before DCEP's OPEN
	resetting bool   // is in mux.resetting, or was
	lastTSN   uint32 // of the reset

	// mux.mu guards these.
	released bool // our direction is to be reset
	asked    bool // the association was told so
	answered bool // and the peer did
	eof      bool // the peer's direction was reset
}

// write queues a message.
func (ch *channel) write(b []byte, isString bool) error {
	ch.writing.Lock()
	defer ch.writing.Unlock()
	_, err := ch.dc.WriteDataChannel(b, isString)
	return err
}

// reset queues the reset of our direction. It fails only if the association has
// ended.
func (ch *channel) reset() {
	ch.writing.Lock()
	defer ch.writing.Unlock()
	_ = ch.st.Close()
}

// read returns the next message. At the end, which follows a reset, package
// datachannel resets our direction, too.
func (ch *channel) read(b []byte) (n int, isString bool, err error) {
	if ch.resetting {
		ch.writing.Lock()
		defer ch.writing.Unlock()
	}
	return ch.dc.ReadDataChannel(b)
}

func newMux(s stream.Session, window int, log logrus.FieldLogger) *mux {
	m := &mux{
		sess:     s,
		log:      logger{log},
		window:   window,
		ready:    make(chan struct{}),
		requests: make(chan *request, requestBacklog),
		buf:      new([maxMessage]byte),
		channels: make(map[uint16]*channel),
		resets:   newResets(),
	}
	if !s.Initiator() {
		m.numbers.side = 1
	}
	m.carrier = newCarrier(m)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// run is one of the mux's two goroutines. It waits for the end, which the peer tells on a
// stream of the session, so that it is not lost as a datagram may be.
func (m *mux) run() {
	err := m.serve()
	m.end(err)
	_ = m.assoc.Close()
	if _, told := errors.AsType[*stream.ResetError](err); told {
		return
	}
	// m.ctx has ended: this does not wait.
	if st, err := m.sess.OpenStream(m.ctx, stream.KindLayer); err == nil {
		_ = st.Close()
	}
}

// watch waits for the end of the association. pion tells it nowhere else when
// the peer aborts. The streams that it accepts are those of numbers that the
// peer may not use.
func (m *mux) watch() {
	for {
		if _, err := m.assoc.AcceptStream(); err != nil {
			m.end(errProtocol)
			return
		}
	}
}

// serve accepts streams of the session until one is the peer's farewell.
func (m *mux) serve() error {
	for {
		st, err := m.sess.AcceptStream(m.ctx)
		if err != nil {
			return err
		}
		if st.Kind() == stream.KindLayer {
			_ = st.Accept()
			_ = st.Close()
			return &stream.ResetError{Code: stream.CodeShuttingDown, Remote: true}
		}
		_ = st.Refuse(stream.CodeLayer)
	}
}

// Open implements [stream.Mux].
func (m *mux) Open(ctx context.Context, port uint16, opts stream.OpenOptions) (stream.Conn, error) {
	if err := m.why(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c, err := m.open(port)
	if err != nil {
		return nil, err
	}
	if !opts.EarlyData {
		if err := c.accepted(ctx); err != nil {
			_ = c.Reset(stream.CodeCanceled)
			return nil, err
		}
	}
	return c, nil
}

// open opens a channel.
func (m *mux) open(port uint16) (*conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	id, ok := m.numbers.take()
	if !ok {
		return nil, errTooManyStreams
	}
	ch, err := m.newChannelLocked(id)
	if err == nil {
		ch.dc, err = datachannel.Client(ch.st, openConfig(port, m.log))
	}
	if err != nil { // the association has ended, and the mux follows
		return nil, fmt.Errorf("sctp: opening a channel: %w", err)
	}
	ch.conn = newConn(m, ch,
		stream.Addr{Node: m.sess.LocalID(), Port: stream.DialerPort(uint64(id >> 1))},
		stream.Addr{Node: m.sess.PeerID(), Port: port})
	return ch.conn, nil
}

// newChannelLocked makes a channel. m.mu is held.
func (m *mux) newChannelLocked(id uint16) (*channel, error) {
	st, err := m.assoc.OpenStream(id, psctp.PayloadTypeWebRTCBinary)
	if err != nil {
		return nil, err
	}
	// Reads must not wait: they are made when a packet has come. The deadline is
	// a moment ahead, for pion makes a timer of it, and timers that have expired
	// before they are waited for crash Go 1.26's race detector when two
	// goroutines of one synctest bubble have them.
	_ = st.SetReadDeadline(time.Now().Add(time.Nanosecond))
	ch := &channel{id: id, st: st}
	if len(m.channels) == 0 && m.unhold == nil {
		m.unhold = m.sess.Hold()
	}
	m.channels[id] = ch
	return ch, nil
}

// releaseSession lets the session end if it is idle. m.mu is held.
func (m *mux) releaseSession() {
	if m.unhold != nil {
		m.unhold()
		m.unhold = nil
	}
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

// Flush implements [stream.Flusher].
func (m *mux) Flush(ctx context.Context) error {
	for {
		m.mu.Lock()
		if m.progress == nil {
			m.progress = make(chan struct{})
		}
		progress := m.progress
		m.mu.Unlock()
		if m.assoc.BufferedAmount() == 0 {
			return nil
		}
		select {
		case <-progress:
		case <-m.ctx.Done():
			return m.why()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
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
	var conns []*conn
	for _, ch := range m.channels {
		if ch.conn != nil {
			conns = append(conns, ch.conn)
		}
	}
	m.channels = make(map[uint16]*channel)
	m.releaseSession()
	m.mu.Unlock()
	m.cancel()
	for _, c := range conns {
		c.lose(err)
	}
}

// cause turns what ended the association into what conns say.
func (m *mux) cause(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	select {
	case <-m.sess.Done():
		return m.sess.Err()
	default:
		return err
	}
}

// why returns why the mux has ended, nil if it has not.
func (m *mux) why() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// A request is a channel that the peer opened.
type request struct{ c *conn }

func (r *request) Port() uint16 { return r.c.local.Port }

func (r *request) Accept() (stream.Conn, error) {
	r.c.say(message{op: opAccept})
	return r.c, nil
}

func (r *request) Refuse(code stream.Code) error { return r.c.Reset(code) }
