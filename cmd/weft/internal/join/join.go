// Package join connects two conns with each other, so that what happens to one
// happens to the other: bytes, the end of one direction, and resets.
package join

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/stream"
)

// bufferSize is how much is read at a time: large enough that system calls do not
// count, small enough that a thousand idle conns are no matter.
const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// A reset throws away what was written and is not delivered, which of an overlay's conn
// may be much. TCP delivers what came before a reset in most cases, and programs rely on
// it: they say why they refuse a request, and close the conn with the rest of it unread.
// So what was written less than lastWords ago gets that much time before a reset.
const lastWords = 200 * time.Millisecond

// ErrGone is what Read of a conn may return (or wrap) to say that the other end has
// closed the conn in both directions, in good order: it reads nothing any more.
var ErrGone = errors.New("the other end has closed the conn")

// CodeTarget is the code with which a conn is reset whose target could not be
// reached.
const CodeTarget = stream.CodeApplication + 1

// Counters count the bytes of conns. The zero value is ready for use, by many
// goroutines at once.
type Counters struct {
	AtoB, BtoA atomic.Uint64
}

// Conns carries bytes between a and b in both directions until both have ended, and
// closes both. The end of one direction is passed on as such (CloseWrite), while the
// other one goes on. A conn that is reset, or breaks, resets the other one: TCP
// conns with RST, those of an overlay with a code. The error says who did it, and is
// nil after a clean end. When ctx ends, both are reset, and the error is ctx's cause.
// Counters may be nil.
func Conns(ctx context.Context, a, b net.Conn, count *Counters) error {
	if count == nil {
		count = new(Counters)
	}
	j := &joint{a: a, b: b, ended: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { j.abort(context.Cause(ctx)) })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { j.carry(b, a, &count.AtoB) })
	j.carry(a, b, &count.BtoA)
	wg.Wait()
	j.close()
	return j.err
}

// A joint is two conns.
type joint struct {
	a, b net.Conn

	once  sync.Once
	ended chan struct{} // closed by abort and close
	err   error         // why it was aborted; readable when both directions have ended
}

// carry carries one direction until it ends.
func (j *joint) carry(to, from net.Conn, count *atomic.Uint64) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	deaf := false // to does not read any more
	var last time.Time
	for {
		n, err := from.Read(buf[:])
		if n > 0 && !deaf {
			written, werr := to.Write(buf[:n])
			count.Add(uint64(written)) //nolint:gosec // never negative
			last = time.Now()
			switch {
			case werr == nil:
			case stoppedReading(werr):
				deaf = true // and may still have something to say
			default:
				j.abort(fmt.Errorf("writing to %v: %w", to.RemoteAddr(), werr))
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = CloseWrite(to)
			return
		case errors.Is(err, ErrGone):
			j.close()
			return
		default:
			j.deliver(to, last)
			j.abort(fmt.Errorf("reading from %v: %w", from.RemoteAddr(), err))
			return
		}
	}
}

// deliver waits until what was written to an overlay's conn just now should have arrived.
func (j *joint) deliver(to net.Conn, last time.Time) {
	if _, ok := to.(interface{ Reset(code stream.Code) error }); !ok || time.Since(last) > lastWords {
		return
	}
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-t.C:
	case <-j.ended:
	}
}

// stoppedReading reports whether a write failed only because the peer has said that
// it reads no more; what the peer wrote before is still to come.
func stoppedReading(err error) bool {
	reset, ok := errors.AsType[*stream.ResetError](err)
	return ok && reset.Remote && reset.Code == stream.CodeCanceled
}

// abort resets both conns, with the code of the reset that is the reason, if one is.
func (j *joint) abort(why error) {
	j.once.Do(func() {
		j.err = why
		close(j.ended)
		code := stream.CodeCanceled
		if reset, ok := errors.AsType[*stream.ResetError](why); ok && reset.Remote {
			code = reset.Code
		}
		Reset(j.a, code)
		Reset(j.b, code)
	})
}

// close closes both conns, which delivers what was written.
func (j *joint) close() {
	j.once.Do(func() {
		close(j.ended)
		_ = j.a.Close()
		_ = j.b.Close()
	})
}

// CloseWrite ends the direction of a conn in which this side writes, and closes a conn
// that has only one end for both directions.
func CloseWrite(c net.Conn) error {
	for inner := c; ; {
		switch w := inner.(type) {
		case interface{ CloseWrite() error }:
			return w.CloseWrite()
		case interface{ NetConn() net.Conn }:
			inner = w.NetConn()
		default:
			return c.Close()
		}
	}
}

// Reset closes a conn so that the other end sees that it was not in good order.
func Reset(c net.Conn, code stream.Code) {
	for inner := c; ; {
		switch w := inner.(type) {
		case interface{ Reset(code stream.Code) error }:
			_ = w.Reset(code)
			_ = c.Close() // what is around it may have something to do, too
			return
		case interface{ SetLinger(seconds int) error }:
			_ = w.SetLinger(0) // Close sends RST
			_ = c.Close()
			return
		case interface{ NetConn() net.Conn }:
			inner = w.NetConn()
		default:
			_ = c.Close()
			return
		}
	}
}

// Why says in words why a joint ended in disorder, for logs.
func Why(err error) string {
	reset, ok := errors.AsType[*stream.ResetError](err)
	switch {
	case ok && reset.Remote && reset.Code == CodeTarget:
		return "the node could not reach the target behind the port"
	case ok && reset.Remote && reset.Code == stream.CodeBacklogFull:
		return "the node has as many conns on the port as it allows"
	}
	return err.Error()
}
