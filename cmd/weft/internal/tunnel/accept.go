package tunnel

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/stream"
)

// acceptPause is how long nothing is accepted when the process has no file descriptors
// left.
const acceptPause = 100 * time.Millisecond

// accept serves the conns of a listener until ctx ends, and closes them all. The error
// says why there can be no more before that.
func (f *forward) accept(ctx context.Context, ln net.Listener) error {
	handle, end := f.handler()
	defer end()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errStopped) // before waiting
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil
		case passing(err):
			f.log.WithError(err).Warn("no conn can be accepted at the moment")
			if !pause(ctx, acceptPause) {
				return nil
			}
			continue
		default:
			return err
		}
		if f.count.open.Load() >= int64(f.cfg.MaxConns) {
			f.count.refused.Add(1)
			join.Reset(conn, stream.CodeBacklogFull)
			f.limited.Do(func() {
				f.log.WithField("from", conn.RemoteAddr().String()).Warnf("conns are reset: %d are open, which is the limit (--max-conns)", f.cfg.MaxConns)
			})
			continue
		}
		f.count.open.Add(1)
		f.count.total.Add(1)
		wg.Go(func() {
			defer f.count.open.Add(-1)
			handle(ctx, conn)
		})
	}
}

// passing reports whether accepting may succeed later.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// pause waits, and reports whether ctx still goes on then.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
