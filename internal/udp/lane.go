package udp

import "sync"

// A lane is one conn with its queue, reader and writer. Flows with something to
// send take turns, one message a turn.
type lane struct {
	s    *Socket
	conn PacketConn
	kick chan struct{} // wakes the writer; capacity 1

	mu            sync.Mutex
	head, tail    *Flow // flows whose turn comes
	frames, bytes int   // waiting or being written
	idle          bool  // the writer waits for kick
	closed        bool  // takes nothing more
	drained       chan struct{}
	waiters       map[Waker]struct{} // who waits for room of the socket
}

func newLane(s *Socket, conn PacketConn) *lane {
	return &lane{s: s, conn: conn, kick: make(chan struct{}, 1), waiters: make(map[Waker]struct{})}
}

func (l *lane) queued() (frames, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frames, l.bytes
}

// push queues a datagram of a flow, or drops it.
func (l *lane) push(fl *Flow, it item) error {
	size := it.f.Cap()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		l.s.count.closed.Add(1)
		it.f.Release()
		return ErrClosed
	}
	if !l.roomLocked(fl, size) {
		l.mu.Unlock()
		l.s.count.queue.Add(1)
		it.f.Release()
		return ErrQueueFull
	}
	l.frames++
	l.bytes += size
	fl.frames++
	fl.bytes += size
	fl.queue.push(it)
	if !fl.active {
		l.enlistLocked(fl)
	}
	kick := l.takeIdleLocked()
	l.mu.Unlock()
	if kick {
		l.kick <- struct{}{}
	}
	return nil
}

// roomLocked reports whether there is room for a datagram of a flow. A flow
// without any may send one of any size.
func (l *lane) roomLocked(fl *Flow, size int) bool {
	cfg := &l.s.cfg
	if l.frames > 0 && (l.frames >= cfg.QueueFrames || l.bytes+size > cfg.QueueBytes) {
		return false
	}
	return fl.frames == 0 || fl.frames < cfg.FlowFrames && fl.bytes+size <= cfg.FlowBytes
}

// takeIdleLocked reports whether the caller must wake the writer.
func (l *lane) takeIdleLocked() bool {
	idle := l.idle
	l.idle = false
	return idle
}

func (l *lane) enlistLocked(fl *Flow) {
	fl.active, fl.next = true, nil
	if l.tail == nil {
		l.head = fl
	} else {
		l.tail.next = fl
	}
	l.tail = fl
}

func (l *lane) delistLocked() *Flow {
	fl := l.head
	if l.head = fl.next; l.head == nil {
		l.tail = nil
	}
	fl.active, fl.next = false, nil
	return fl
}

// ready is [Flow.Ready].
func (l *lane) ready(fl *Flow, w Waker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return false
	case !l.flowRoomyLocked(fl):
		if fl.waiters == nil {
			fl.waiters = make(map[Waker]struct{})
		}
		fl.waiters[w] = struct{}{}
		return false
	case !l.roomyLocked():
		l.waiters[w] = struct{}{}
		return false
	}
	return true
}

func (l *lane) flowRoomyLocked(fl *Flow) bool {
	return fl.frames <= l.s.cfg.FlowFrames/2 && fl.bytes <= l.s.cfg.FlowBytes/2
}

func (l *lane) roomyLocked() bool {
	return l.frames <= l.s.cfg.QueueFrames/2 && l.bytes <= l.s.cfg.QueueBytes/2
}

// takeLocked fills b from the flows in turn.
func (l *lane) takeLocked(b *batch, segments int) {
	for l.head != nil && !b.full(segments) {
		fl := l.delistLocked()
		b.take(fl, segments)
		if !fl.queue.empty() {
			l.enlistLocked(fl)
		}
	}
}

// doneLocked accounts for what a batch held, and appends who may go on to wake.
func (l *lane) doneLocked(b *batch, wake []Waker) []Waker {
	for i, fl := range b.flows {
		for _, it := range b.itemsOf(i) {
			size := it.f.Cap()
			l.frames--
			l.bytes -= size
			fl.frames--
			fl.bytes -= size
		}
		if l.flowRoomyLocked(fl) {
			wake = takeWaiters(fl.waiters, wake)
		}
	}
	if l.roomyLocked() {
		wake = takeWaiters(l.waiters, wake)
	}
	return wake
}

func takeWaiters(from map[Waker]struct{}, to []Waker) []Waker {
	if len(from) == 0 {
		return to
	}
	for w := range from {
		to = append(to, w)
	}
	clear(from)
	return to
}

// drain takes no more datagrams and returns a channel that is closed when all
// that were queued are written.
func (l *lane) drain() <-chan struct{} {
	l.mu.Lock()
	l.closed = true
	if l.drained == nil {
		l.drained = make(chan struct{})
	}
	done := l.drained
	kick := l.takeIdleLocked()
	l.mu.Unlock()
	if kick {
		l.kick <- struct{}{}
	}
	return done
}

// shut takes no more datagrams. The writer throws away what is queued.
func (l *lane) shut() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
}
