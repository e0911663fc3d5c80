package bulk

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Caller is what calls go through: a [Dialer] or a [Conn].
type Caller interface {
	// begin returns a conn whose turn it is.
	begin(ctx context.Context) (*Conn, error)
}

// A Dialer makes a conn for each call, so that any number can go on at one time and
// none waits for another. It may be called by many goroutines.
type Dialer func(context.Context) (net.Conn, error)

func (d Dialer) begin(ctx context.Context) (*Conn, error) {
	rw, err := d(ctx)
	if err != nil {
		return nil, err
	}
	c := NewConn(rw)
	<-c.turn
	c.single = true
	return c, nil
}

// A Conn makes one call after the other on one conn, which need not be a net.Conn.
// Many goroutines may call: they wait for their turn, which comes when the answer's
// body was read to the end. A body that is closed before, and a context that ends
// during a call, break the conn, for nothing else stops a server in the middle.
type Conn struct {
	w      *wire
	single bool          // made for one call
	begun  bool          // the preface was sent; owned by who has the turn
	turn   chan struct{} // holds one token while nobody calls

	broken chan struct{} // closed once err is set
	once   sync.Once
	err    error // why no call can be made any more; readable after broken
}

// NewConn makes calls through a conn, which is the Conn's to close from now on.
func NewConn(rw io.ReadWriteCloser) *Conn {
	c := &Conn{w: newWire(rw), turn: make(chan struct{}, 1), broken: make(chan struct{})}
	c.turn <- struct{}{}
	return c
}

// Close ends the conn, with a call that goes on.
func (c *Conn) Close() error {
	c.fail(net.ErrClosed)
	return nil
}

// fail breaks the conn.
func (c *Conn) fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.broken)
	})
	c.w.abort()
}

func (c *Conn) begin(ctx context.Context) (*Conn, error) {
	select {
	case <-c.turn:
	case <-c.broken: // perhaps by a call whose body still waits for something
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another call on this conn: %w", context.Cause(ctx))
	}
	select {
	case <-c.broken:
		return nil, fmt.Errorf("an earlier call broke the conn, make a new one: %w", c.err)
	default:
	}
	return c, nil
}

// Call calls the handler with a name. The body is what it reads besides req, nil for
// nothing; Call does not wait until it was read, and closes it at the end if it is an
// io.Closer. The answer's body is never nil and must be closed. It reads as io.EOF only
// if all has come as it was sent; after any other error, throw away what was read.
//
// ctx is for the whole call, the answer's body included: the server is told its
// deadline, and its end is the end of the conn. Errors of the other side are of type
// *[Error], also in the middle of the answer's body.
func Call[Req, Resp any](ctx context.Context, via Caller, name string, req Req, body io.Reader) (Resp, io.ReadCloser, error) {
	var resp Resp
	var sends *sentBody
	if body != nil {
		sends = &sentBody{Reader: body}
	}
	value, answer, err := call(ctx, via, name, req, sends)
	if err == nil && len(value) > 0 {
		if err = json.Unmarshal(value, &resp); err != nil {
			_ = answer.Close()
		}
	}
	if err != nil {
		sends.close()
		return resp, nil, fmt.Errorf("calling %s: %w", name, err)
	}
	return resp, answer, nil
}

func call(ctx context.Context, via Caller, name string, req any, body *sentBody) (json.RawMessage, io.ReadCloser, error) {
	q := request{Name: name, Body: body != nil}
	var err error
	if q.Value, err = json.Marshal(req); err != nil {
		return nil, nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		q.Timeout = max(1, time.Until(deadline).Milliseconds())
	}
	frame, err := encode("", kindHeader, q)
	if err != nil {
		return nil, nil, err
	}
	c, err := via.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !c.begun {
		c.begun = true
		frame = append([]byte(preface), frame...)
	}
	x := &exchange{c: c, ctx: ctx, body: body, sent: make(chan struct{})}
	return x.start(frame)
}

// An exchange is a call that goes on: somebody reads the answer, a goroutine sends the
// body.
type exchange struct {
	c     *Conn
	ctx   context.Context
	watch func() bool // ends the watch over ctx

	body    *sentBody
	stopped atomic.Bool   // nobody wants the rest of body
	sent    chan struct{} // body was sent, or not

	answer bodyReader
	over   sync.Once
}

func (x *exchange) start(frame []byte) (json.RawMessage, io.ReadCloser, error) {
	x.watch = context.AfterFunc(x.ctx, func() { x.c.fail(context.Cause(x.ctx)) })
	_, err := x.c.w.rw.Write(frame)
	if err != nil || x.body == nil {
		close(x.sent)
	} else {
		go x.send()
	}
	var p response
	if err == nil {
		err = x.c.w.header(&p)
	}
	if err != nil {
		return nil, nil, x.finish(err)
	}
	if p.Error != nil {
		err := blame(x.body.failed(), p.Error)
		_ = x.finish(nil)
		return nil, nil, err
	}
	x.answer = bodyReader{w: x.c.w, ended: x.ended}
	if !p.Body {
		x.answer.end(io.EOF)
	}
	return p.Value, x, nil
}

// ended is told how the answer's body has ended.
func (x *exchange) ended(err error) {
	if err == io.EOF {
		_ = x.finish(nil)
		return
	}
	own := x.body.failed()
	if x.answer.inSync() {
		_ = x.finish(nil)
	} else {
		err = x.finish(err)
	}
	x.answer.err = blame(own, err)
}

// blame returns this side's error if there is one: the server's is then what it made of
// that.
func blame(own, err error) error {
	if own != nil {
		return fmt.Errorf("reading the body to send: %w", own)
	}
	return err
}

func (x *exchange) send() {
	_, broken := x.c.w.send(x.body, x.stopped.Load)
	x.body.close()
	if broken != nil {
		x.c.fail(broken) // who reads the answer sees it, too
	}
	close(x.sent)
}

// finish ends the exchange when the answer has ended, err being nil if it is whole, and
// gives the conn to the next call once the body to send has ended, too. It returns what
// to tell.
func (x *exchange) finish(err error) error {
	x.over.Do(func() {
		inTime := x.watch()
		x.stopped.Store(true)
		if err != nil {
			x.c.fail(err)
			if !inTime {
				err = context.Cause(x.ctx)
			}
		}
		if x.c.single {
			_ = x.c.w.rw.Close()
		}
		x.body.close() // so that a Read that waits comes back
		select {
		case <-x.sent:
			x.c.turn <- struct{}{}
		default:
			go func() {
				<-x.sent
				x.c.turn <- struct{}{}
			}()
		}
	})
	return err
}

// Read reads the answer's body.
func (x *exchange) Read(p []byte) (int, error) { return x.answer.Read(p) }

// WriteTo is for io.Copy.
func (x *exchange) WriteTo(w io.Writer) (int64, error) { return x.answer.WriteTo(w) }

// Close ends the call. If the answer's body has not ended, that breaks the conn. Read
// must not be called meanwhile.
func (x *exchange) Close() error {
	if x.answer.err == nil {
		x.answer.err = net.ErrClosed
		_ = x.finish(net.ErrClosed)
	}
	return nil
}

// A sentBody is a body to send: it knows its own error, and is closed once.
type sentBody struct {
	io.Reader
	once sync.Once
	err  atomic.Pointer[error]
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && err != io.EOF {
		b.err.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (b *sentBody) failed() error {
	if b == nil || b.err.Load() == nil {
		return nil
	}
	return *b.err.Load()
}

func (b *sentBody) close() {
	if b == nil {
		return
	}
	b.once.Do(func() {
		if c, ok := b.Reader.(io.Closer); ok {
			_ = c.Close()
		}
	})
}
