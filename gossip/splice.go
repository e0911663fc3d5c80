package gossip

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// spliceChunk is read at once, in bytes.
	spliceChunk = 64 << 10
	// spliceChunks are how many chunks may wait for the relay at the other end.
	// mesh's reader of one conn waits while it writes to another, so that what
	// one relay does not take in time would stop others; with the datagrams on
	// their way bounded by window, this much room is rarely needed.
	spliceChunks = 64
	// stuckAfter is how long the other end may take nothing.
	stuckAfter = 10 * time.Second
)

var errStuck = errors.New("gossip: the relay takes nothing any more")

// splice copies between a conn with another relay and one with mesh until either
// ends or ctx does, closes both, and returns why it ended.
func splice(ctx context.Context, relay, router net.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end := func(err error) { cancel(err) }
	stop := context.AfterFunc(ctx, func() {
		_ = relay.Close()
		_ = router.Close()
	})
	var wg sync.WaitGroup
	waiting := make(chan []byte, spliceChunks)
	wg.Go(func() { end(copyChunks(router, relay)) })
	wg.Go(func() { end(readChunks(ctx, router, waiting)) })
	wg.Go(func() { end(writeChunks(ctx, relay, waiting)) })
	wg.Wait()
	if stop() {
		_ = relay.Close()
		_ = router.Close()
	}
	return context.Cause(ctx)
}

// copyChunks gives mesh what the relay sends. When mesh does not read because
// the next relay is slow, the relay has to wait.
func copyChunks(to, from net.Conn) error {
	buf := make([]byte, spliceChunk)
	for {
		n, err := from.Read(buf)
		if _, werr := to.Write(buf[:n]); werr != nil {
			return werr
		}
		if err != nil {
			return err
		}
	}
}

// readChunks reads what mesh writes.
func readChunks(ctx context.Context, from net.Conn, to chan<- []byte) error {
	buf := make([]byte, spliceChunk)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return err
		}
		if n < spliceChunk/2 { // small ones do not hold on to large buffers
			small := append([]byte(nil), buf[:n]...)
			if !offer(ctx, to, small) {
				return context.Cause(ctx)
			}
			continue
		}
		if !offer(ctx, to, buf[:n]) {
			return context.Cause(ctx)
		}
		buf = make([]byte, spliceChunk)
	}
}

func offer(ctx context.Context, to chan<- []byte, b []byte) bool {
	select {
	case to <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// writeChunks writes them to the relay, which must take each in time.
func writeChunks(ctx context.Context, to net.Conn, from <-chan []byte) error {
	for {
		select {
		case b := <-from:
			_ = to.SetWriteDeadline(time.Now().Add(stuckAfter))
			if _, err := to.Write(b); err != nil {
				if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
					return errStuck
				}
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
