package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftnet/weft/internal/fairq"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// Why frames are dropped and links end.
var (
	// ErrQueueFull means that the send queue is full: the frame was dropped.
	ErrQueueFull = errors.New("link: send queue is full; wait until the link is ready")
	// ErrClosed means that this side closed the link. It is net.ErrClosed.
	ErrClosed = fmt.Errorf("link: %w", net.ErrClosed)
	// ErrSilent means that the other end stopped answering.
	ErrSilent = errors.New("link: the other end is silent")
	// ErrStalled means that the transport took no data for too long.
	ErrStalled = errors.New("link: the other end takes no data")
)

// HungUp reports whether err, with which a link ended, says that the other end
// hung up: it closed the link, or its process died. Otherwise the network may be
// at fault, or this side.
func HungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// A Waker is told when a link that was full takes frames again. Wake must not
// block.
type Waker = interface{ Wake() }

// writeGrace is how long a link whose write failed still reads: why the other
// end hung up is often on its way.
const writeGrace = time.Second

// A Link is one pipe for frames to a neighbour. All methods are safe for
// concurrent use; Send and Ready never block.
type Link struct {
	fc    FrameConn
	cfg   Config
	ack   acker      // nil if the transport does not know
	half  halfCloser // nil if the transport cannot
	quick tryWriter  // nil if the transport cannot
	start time.Time  // what all instants below count from

	count                     counters
	queuedFrames, queuedBytes atomic.Int64 // changed with mu held
	up                        atomic.Bool  // started, not closed, not draining

	// Instants in nanoseconds since start. Zero means never or not now.
	received   atomic.Int64 // last frame came in
	awaiting   atomic.Int64 // first frame went out that nothing came in after
	writing    atomic.Int64 // the present write began
	progressed atomic.Int64 // a write that had to wait for the other end succeeded
	pinged     atomic.Int64 // the last ping went out; also its content

	looks atomic.Uint64 // how often the timer fired

	kick chan struct{} // wakes the writer; capacity 1
	down chan struct{} // closed when the link fails
	done chan struct{} // closed when its goroutines have ended
	wg   sync.WaitGroup

	mu         sync.Mutex
	queue      fairq.Queue[identity.NodeID, *frame.Frame]
	ping, pong *frame.Frame    // go ahead of the queue
	idle       bool            // the writer waits for kick; whoever clears it writes, or kicks
	rest       bool            // a quick write was not whole
	one        [1]*frame.Frame // scratch of the quick writer
	drained    chan struct{}
	waiters    map[Waker]struct{}
	timer      *time.Timer
	timerAt    int64 // when timer fires; zero while its function runs
	started    bool
	closed     bool
	err        error
}

// New returns a link on fc, which it owns from now on. Start begins to read
// and write.
func New(fc FrameConn, cfg Config) *Link {
	l := &Link{
		fc:      fc,
		cfg:     cfg.withDefaults(),
		start:   time.Now().Add(-1), // so that no instant is zero
		kick:    make(chan struct{}, 1),
		down:    make(chan struct{}),
		done:    make(chan struct{}),
		waiters: make(map[Waker]struct{}),
	}
	powers := fc
	if w, ok := fc.(interface{ base() FrameConn }); ok {
		powers = w.base()
	}
	l.ack, _ = powers.(acker)
	l.half, _ = powers.(halfCloser)
	if w, ok := powers.(tryWriter); ok && w.canTry() {
		l.quick = w
	}
	return l
}

// Start begins to read and write. It is called once.
func (l *Link) Start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.started {
		return
	}
	l.started = true
	l.up.Store(true)
	l.received.Store(l.now())
	l.armLocked()
	l.wg.Go(l.writeLoop)
	go l.run() // ends with done, which Close waits for
}

// run is the reader and the last of the link's goroutines to end.
func (l *Link) run() {
	err := l.readLoop()
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("link: the other end closed the link: %w", err)
	}
	l.fail(err)
	l.wg.Wait()
	if l.cfg.OnDown != nil {
		l.cfg.OnDown(l, l.Err())
	}
	close(l.done)
}

func (l *Link) readLoop() error {
	for {
		f, err := l.fc.ReadFrame()
		if err != nil {
			return err
		}
		l.received.Store(l.now())
		if l.awaiting.Load() != 0 {
			l.awaiting.Store(0)
		}
		l.count.bytesIn.Add(uint64(len(f.Bytes())))
		switch f.Type() {
		case frame.TypePing:
			l.onPing(f)
		case frame.TypePong:
			l.onPong(f)
		default:
			l.count.framesIn.Add(1)
			l.cfg.OnFrame(l, f)
		}
	}
}

// Send takes ownership of f and queues it. It never blocks: a link that ended
// reports why, and a full queue drops f and reports [ErrQueueFull], unless
// another source has more in the queue: then the newest of that one's frames
// are dropped instead.
func (l *Link) Send(f *frame.Frame) error {
	size, urgent := int64(f.Cap()), f.Urgent()
	l.mu.Lock()
	if !l.up.Load() {
		l.mu.Unlock()
		l.count.droppedClosed.Add(1)
		f.Release()
		return l.closedErr()
	}
	if !l.makeRoomLocked(f.Src(), size) {
		l.mu.Unlock()
		l.count.droppedQueue.Add(1)
		f.Release()
		return ErrQueueFull
	}
	l.queuedFrames.Add(1)
	l.queuedBytes.Add(size)
	l.queue.Push(f)
	l.expectAnswerLocked()
	kick := l.takeIdleLocked()
	l.mu.Unlock()
	switch {
	case !kick:
	case urgent && l.quick != nil:
		l.writeQuickly()
	default:
		l.kick <- struct{}{}
	}
	return nil
}

// makeRoomLocked reports whether there is room for a frame of src, if need be
// at the cost of a source that has more in the queue.
func (l *Link) makeRoomLocked(src identity.NodeID, size int64) bool {
	for {
		n := l.queuedFrames.Load()
		if n == 0 || n < int64(l.cfg.QueueFrames) && l.queuedBytes.Load()+size <= int64(l.cfg.QueueBytes) {
			return true
		}
		f, ok := l.queue.PushOut(src, int(size))
		if !ok {
			return false
		}
		l.queuedFrames.Add(-1)
		l.queuedBytes.Add(-int64(f.Cap()))
		l.count.droppedQueue.Add(1)
		f.Release()
	}
}

// takeIdleLocked reports whether the caller must wake the writer.
func (l *Link) takeIdleLocked() bool {
	idle := l.idle
	l.idle = false
	return idle
}

// Ready reports whether the queue is less than half full, or this node's share
// of it is. If it is not, w is woken once, when it is or when the link ends. A
// link that has ended is not ready and wakes nobody.
func (l *Link) Ready(w Waker) bool {
	if !l.up.Load() {
		return false
	}
	if l.roomy() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.up.Load():
		return false
	case l.roomyLocked():
		return true
	}
	l.waiters[w] = struct{}{}
	return false
}

func (l *Link) roomy() bool {
	return l.queuedBytes.Load() <= int64(l.cfg.QueueBytes)/2 &&
		l.queuedFrames.Load() <= int64(l.cfg.QueueFrames)/2
}

// roomyLocked is roomy, or else whether this node's frames are few among those
// of others that are forwarded.
func (l *Link) roomyLocked() bool {
	if l.roomy() {
		return true
	}
	if l.cfg.Self == 0 {
		return false
	}
	own, others := l.queue.Share(l.cfg.Self)
	return others > 0 && own*2*(others+2) <= l.cfg.QueueBytes
}

// Up reports whether the link takes frames: it was started, and has neither
// ended nor been told to drain.
func (l *Link) Up() bool { return l.up.Load() }

// MaxPacket is the largest packet that the link carries.
func (l *Link) MaxPacket() int { return l.fc.MaxPacket() }

// LocalAddr returns the local address of the transport.
func (l *Link) LocalAddr() net.Addr { return l.fc.LocalAddr() }

// RemoteAddr returns the remote address of the transport.
func (l *Link) RemoteAddr() net.Addr { return l.fc.RemoteAddr() }

// Done is closed when the link has ended and will not call back any more.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err says why the link ended, nil while it lives.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *Link) closedErr() error {
	if err := l.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// Close ends the link at once and waits for its goroutines. What is queued is
// thrown away.
func (l *Link) Close() error {
	l.fail(ErrClosed)
	<-l.done
	return nil
}

// CloseWithError ends the link at once with the reason err and does not wait,
// so callbacks may call it.
func (l *Link) CloseWithError(err error) { l.fail(err) }

// Drain takes no more frames, writes what is queued, waits until the other end
// has read it where the transport can tell, and closes the link. It returns
// ctx's error if that came first.
func (l *Link) Drain(ctx context.Context) error {
	defer l.Close()
	l.mu.Lock()
	if l.closed || !l.started {
		l.mu.Unlock()
		return nil
	}
	l.up.Store(false)
	if l.drained == nil {
		l.drained = make(chan struct{})
	}
	drained := l.drained
	kick := l.takeIdleLocked()
	l.mu.Unlock()
	if kick {
		l.kick <- struct{}{}
	}
	select {
	case <-drained:
	case <-l.down:
		return l.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if l.half == nil || l.half.CloseWrite() != nil {
		return nil
	}
	select {
	case <-l.down:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fail ends the link with err unless it has ended already.
func (l *Link) fail(err error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed, l.err = true, err
	l.up.Store(false)
	waiters := l.takeWaitersLocked()
	dropped := l.queue.TakeAll()
	for _, f := range dropped {
		l.queuedFrames.Add(-1)
		l.queuedBytes.Add(-int64(f.Cap()))
	}
	dropped = appendControl(dropped, &l.ping, &l.pong)
	if l.timer != nil && l.timer.Stop() {
		l.wg.Done()
	}
	started := l.started
	l.mu.Unlock()

	close(l.down)
	_ = l.fc.Close()
	if !started {
		close(l.done)
	}
	l.count.droppedClosed.Add(uint64(len(dropped)))
	for _, f := range dropped {
		f.Release()
	}
	for w := range waiters {
		w.Wake()
	}
}

func (l *Link) takeWaitersLocked() map[Waker]struct{} {
	if len(l.waiters) == 0 {
		return nil
	}
	ws := l.waiters
	l.waiters = make(map[Waker]struct{})
	return ws
}

func (l *Link) now() int64 { return int64(time.Since(l.start)) }
