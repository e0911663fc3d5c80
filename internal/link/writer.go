package link

import (
	"fmt"
	"time"

	"github.com/weftnet/weft/internal/frame"
)

const (
	// batchFrames and batchBytes bound what one write takes off the queue: few
	// enough that a ping does not wait long, many enough to save system calls.
	batchFrames = 256
	batchBytes  = 256 << 10

	// slowWrite is how long a write takes that had to wait for the other end
	// rather than for a processor.
	slowWrite = 100 * time.Millisecond
)

// writeLoop is the writer: the only goroutine that calls WriteFrames.
func (l *Link) writeLoop() {
	var batch []*frame.Frame
	for {
		var ok bool
		if batch, ok = l.next(batch[:0]); !ok {
			return
		}
		began := l.now()
		l.writing.Store(began)
		err := l.fc.WriteFrames(batch)
		ended := l.now()
		l.writing.Store(0)
		if err == nil && time.Duration(ended-began) >= slowWrite {
			l.progressed.Store(ended)
		}
		l.written(batch, err == nil)
		if err != nil {
			l.writeFailed(err)
			return
		}
	}
}

// next waits for frames and returns what the next write takes, or false when
// the link is down.
func (l *Link) next(batch []*frame.Frame) ([]*frame.Frame, bool) {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return nil, false
		}
		batch = appendControl(batch, &l.pong, &l.ping)
		batch = l.queue.Take(batch, batchFrames, batchBytes)
		rest := l.rest
		l.rest = false
		l.idle = len(batch) == 0 && !rest
		if l.idle && l.drained != nil && l.queuedFrames.Load() == 0 {
			close(l.drained)
			l.drained = nil
		}
		l.mu.Unlock()
		if len(batch) > 0 || rest {
			return batch, true
		}
		select {
		case <-l.kick:
		case <-l.down:
			return nil, false
		}
	}
}

// writeQuickly writes the frame that the queue has in the goroutine of the sender, who
// has found the writer idle: waking that takes longer than a small write. It never waits.
func (l *Link) writeQuickly() {
	l.mu.Lock()
	batch := l.queue.Take(l.one[:0], 1, batchBytes)
	l.mu.Unlock()
	whole := true
	for _, f := range batch {
		whole = l.quick.tryWrite(f)
	}
	l.written(batch, true)
	l.mu.Lock()
	l.rest = !whole
	more := l.rest || l.ping != nil || l.pong != nil || l.queuedFrames.Load() > 0 || l.drained != nil
	l.idle = !more && !l.closed
	l.mu.Unlock()
	if more {
		l.kick <- struct{}{}
	}
}

// appendControl moves waiting pings and pongs to batch.
func appendControl(batch []*frame.Frame, fs ...**frame.Frame) []*frame.Frame {
	for _, f := range fs {
		if *f != nil {
			batch = append(batch, *f)
			*f = nil
		}
	}
	return batch
}

// written gives up the frames of a batch and wakes who waited for room.
func (l *Link) written(batch []*frame.Frame, ok bool) {
	var frames, held, length int64
	for i, f := range batch {
		length += int64(len(f.Bytes()))
		if t := f.Type(); t != frame.TypePing && t != frame.TypePong {
			frames++
			held += int64(f.Cap())
		}
		f.Release()
		batch[i] = nil
	}
	if ok {
		l.count.framesOut.Add(uint64(frames))
		l.count.bytesOut.Add(uint64(length))
	} else {
		l.count.droppedClosed.Add(uint64(frames))
	}
	l.mu.Lock()
	l.queuedFrames.Add(-frames)
	l.queuedBytes.Add(-held)
	var waiters map[Waker]struct{}
	if l.roomyLocked() {
		waiters = l.takeWaitersLocked()
	}
	l.mu.Unlock()
	for w := range waiters {
		w.Wake()
	}
}

// writeFailed ends the link, but lets the reader first find out why the other
// end hung up.
func (l *Link) writeFailed(err error) {
	grace := time.NewTimer(writeGrace)
	defer grace.Stop()
	select {
	case <-l.down:
	case <-grace.C:
		l.fail(fmt.Errorf("link: writing: %w", err))
	}
}
