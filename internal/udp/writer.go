package udp

import (
	"errors"
	"net"
)

// A writer is what the goroutine that writes owns.
type writer struct {
	*lane
	b        *batch
	segments int
	single   [1]Outgoing
	wake     []Waker
}

func (l *lane) writeLoop() {
	w := &writer{lane: l, b: newBatch(), segments: min(max(l.conn.MaxSegments(), 1), maxDatagrams)}
	for w.next() {
		w.write()
		w.release()
	}
	w.abandon()
}

// next waits for something to write and takes it. It reports false when the
// socket is closed.
func (w *writer) next() bool {
	for {
		select {
		case <-w.s.down:
			return false
		default:
		}
		w.mu.Lock()
		w.takeLocked(w.b, w.segments)
		if len(w.b.ms) > 0 {
			w.mu.Unlock()
			return true
		}
		w.idle = true
		if w.drained != nil {
			select {
			case <-w.drained:
			default:
				close(w.drained)
			}
		}
		w.mu.Unlock()
		select {
		case <-w.kick:
		case <-w.s.down:
			return false
		}
	}
}

// write writes the batch, and drops and counts what the system refuses.
func (w *writer) write() {
	for i := 0; i < len(w.b.ms); {
		n, err := w.conn.WriteBatch(w.b.ms[i:])
		for range n {
			w.sent(i, 0, len(w.b.ms[i].Bufs))
			i++
		}
		switch {
		case n > 0:
			w.s.count.writes.Add(1)
		case err == nil:
			err = errors.New("udp: the conn took nothing and does not say why")
		}
		if err == nil || i == len(w.b.ms) {
			continue
		}
		if len(w.b.ms[i].Bufs) > 1 && (errors.Is(err, ErrSegments) || errors.Is(err, ErrTooBig)) {
			w.oneByOne(i, errors.Is(err, ErrSegments))
		} else {
			w.refused(i, 0, len(w.b.ms[i].Bufs), err)
		}
		i++
	}
}

// oneByOne writes the datagrams of a message that the system did not take as a
// whole. If it takes them so, it was not for their size, and they are not
// written as one any more. Only a claim that it cannot cut counts: others pass.
func (w *writer) oneByOne(i int, claimed bool) {
	w.s.count.refused.Add(1)
	some := false
	m := w.b.ms[i]
	for j := range m.Bufs {
		w.single[0] = Outgoing{Bufs: m.Bufs[j : j+1], To: m.To}
		n, err := w.conn.WriteBatch(w.single[:])
		if n == 1 {
			w.sent(i, j, 1)
			some = true
		} else {
			w.refused(i, j, 1, err)
		}
	}
	w.single[0] = Outgoing{}
	if claimed && some {
		w.segments = 1
	}
}

// sent counts n datagrams of message i from the one at index from.
func (w *writer) sent(i, from, n int) {
	var frames, others, bytes uint64
	for _, it := range w.b.itemsOf(i)[from : from+n] {
		size := uint64(len(it.bytes()))
		if bytes += size; it.other {
			others++
			continue
		}
		frames++
		w.b.flows[i].bytesOut.Add(size)
	}
	c := &w.s.count
	c.framesOut.Add(frames)
	c.otherOut.Add(others)
	c.bytesOut.Add(bytes)
	if n > 1 {
		c.segmented.Add(1)
	}
}

// refused handles that n datagrams of message i were not written.
func (w *writer) refused(i, from, n int, err error) {
	fl, items := w.b.flows[i], w.b.itemsOf(i)[from:from+n]
	switch {
	case errors.Is(err, net.ErrClosed):
		w.s.count.closed.Add(uint64(n))
	case errors.Is(err, ErrTooBig):
		fl.err.Store(&err)
		for _, it := range items {
			fl.tooBig(it)
		}
	default:
		fl.err.Store(&err)
		w.s.count.failed.Add(uint64(n))
	}
}

// release gives up the batch and wakes who waited for room.
func (w *writer) release() {
	w.mu.Lock()
	w.wake = w.doneLocked(w.b, w.wake[:0])
	w.mu.Unlock()
	for _, it := range w.b.items {
		it.f.Release()
	}
	w.b.reset()
	for _, wk := range w.wake {
		wk.Wake()
	}
	clear(w.wake)
}

// abandon throws away what is queued and wakes everybody, since the socket is
// closed: without frames each flow has room, and nobody waits for an empty one.
func (w *writer) abandon() {
	for {
		w.mu.Lock()
		w.takeLocked(w.b, 1)
		w.mu.Unlock()
		if len(w.b.ms) == 0 {
			return
		}
		w.s.count.closed.Add(uint64(len(w.b.items)))
		w.release()
	}
}
