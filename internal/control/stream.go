package control

import (
	"context"
	"io"
	"sync"
	"time"
)

// A Stream is what the protocol needs of a session's stream.
type Stream interface {
	io.Reader
	io.Writer
	SetWriteDeadline(t time.Time) error
	Close() error
	Reset(code uint64) error
}

// The codes with which a control stream is reset.
const (
	CodeMalformed uint64 = 0x20 + iota // the peer sent what the protocol does not allow
	CodeTooSlow                        // the peer did not read for WriteTimeout
)

// WriteTimeout is how long one message may wait for a peer that does not read.
// After that the stream is reset.
const WriteTimeout = 10 * time.Second

// queueLen is how many messages wait for the stream's writer.
const queueLen = 16

// An outbox writes messages to a stream from a goroutine of its own, so that
// whoever sends one can stop waiting.
type outbox struct {
	stream Stream
	queue  chan []byte
	done   chan struct{} // closed by stop
	stop   func()
	wg     sync.WaitGroup
}

// newOutbox returns an outbox that start sets going.
func newOutbox(s Stream) *outbox {
	o := &outbox{stream: s, queue: make(chan []byte, queueLen), done: make(chan struct{})}
	o.stop = sync.OnceFunc(func() { close(o.done) })
	return o
}

// start starts the writer. onError is called when a write fails, which also
// stops the outbox.
func (o *outbox) start(onError func(error)) {
	o.wg.Go(func() {
		defer o.stop()
		if err := o.run(); err != nil {
			onError(err)
		}
	})
}

func (o *outbox) run() error {
	for {
		select {
		case b := <-o.queue:
			if err := o.write(b); err != nil {
				return err
			}
		case <-o.done:
			return nil
		}
	}
}

func (o *outbox) write(b []byte) error {
	if err := o.stream.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
		return err
	}
	_, err := o.stream.Write(b)
	return err
}

// put queues b; it waits while the queue is full. It returns false when the
// outbox has stopped, and ctx's error.
func (o *outbox) put(ctx context.Context, b []byte) (bool, error) {
	select {
	case o.queue <- b:
		return true, nil
	default:
	}
	select {
	case o.queue <- b:
		return true, nil
	case <-o.done:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// tryPut queues b unless the queue is full.
func (o *outbox) tryPut(b []byte) bool {
	select {
	case o.queue <- b:
		return true
	default:
		return false
	}
}
