package link

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/weftnet/weft/internal/frame"
)

// How a link knows that the other end is there. One timer looks when the other
// end will have been silent for KeepAlive, or ProbeAfter after a frame that
// nothing came in after, whichever is first; frames only leave instants behind,
// so traffic costs no timers.

// pingLen is the length of a ping's packet: the instant it was sent.
const pingLen = 8

// maxPing bounds the packets of pings that are answered.
const maxPing = 64

// expectAnswerLocked notes that a frame goes out, and has the timer look in
// time.
func (l *Link) expectAnswerLocked() {
	if l.awaiting.Load() != 0 {
		return
	}
	now := l.now()
	l.awaiting.Store(now)
	probe := now + int64(l.cfg.ProbeAfter)
	if l.timerAt > probe && l.timer.Stop() {
		l.timer.Reset(l.cfg.ProbeAfter)
		l.timerAt = probe
	}
}

// look is the timer's function.
func (l *Link) look() {
	defer l.wg.Done()
	l.looks.Add(1)
	l.mu.Lock()
	l.timerAt = 0
	l.mu.Unlock()

	now := l.now()
	if err := l.verdict(now); err != nil {
		l.fail(err)
		return
	}
	silent := time.Duration(now - l.received.Load())
	awaited := since(now, l.awaiting.Load())
	if silent >= l.cfg.KeepAlive || awaited >= l.cfg.ProbeAfter {
		l.sendPing(now)
	}
	l.mu.Lock()
	l.armLocked()
	l.mu.Unlock()
}

// verdict returns why the link is dead, nil if it is not.
func (l *Link) verdict(now int64) error {
	if d := time.Duration(now - l.received.Load()); d >= l.cfg.DeadAfter {
		return fmt.Errorf("%w: nothing received for %v", ErrSilent, d.Round(time.Millisecond))
	}
	if d := since(now, l.writing.Load()); d >= l.cfg.DeadAfter {
		return fmt.Errorf("%w: one write has taken %v", ErrStalled, d.Round(time.Millisecond))
	}
	if d := since(now, l.awaiting.Load()); d >= l.cfg.ProbeTimeout && !l.acknowledged(now) {
		return fmt.Errorf("%w: no answer for %v to frames and pings", ErrSilent, d.Round(time.Millisecond))
	}
	return nil
}

// acknowledged reports whether the transport still gets through to the other
// end, even if our pings wait behind what is in flight.
func (l *Link) acknowledged(now int64) bool {
	if d := l.progressed.Load(); d != 0 && time.Duration(now-d) < l.cfg.ProbeTimeout {
		return true
	}
	if l.ack == nil {
		return false
	}
	d, ok := l.ack.sinceAck()
	return ok && d < l.cfg.ProbeTimeout
}

// armLocked sets the timer for the next look.
func (l *Link) armLocked() {
	if l.closed {
		return
	}
	now := l.now()
	// When the silence will have lasted for KeepAlive, or that long from now if
	// it has: then there was a ping.
	next := l.received.Load() + int64(l.cfg.KeepAlive)
	if next <= now {
		next = now + int64(l.cfg.KeepAlive)
	}
	next = min(next, l.received.Load()+int64(l.cfg.DeadAfter))
	if a := l.awaiting.Load(); a != 0 {
		probe := a + int64(l.cfg.ProbeAfter)
		if probe <= now { // once more before the verdict: a ping may get lost
			probe = min(now+int64(l.cfg.ProbeAfter)/2, a+int64(l.cfg.ProbeTimeout))
		}
		if probe <= now { // the transport vouched for the other end
			probe = now + int64(l.cfg.ProbeAfter)
		}
		next = min(next, probe)
	}
	if w := l.writing.Load(); w != 0 {
		next = min(next, w+int64(l.cfg.DeadAfter))
	}
	d := time.Duration(max(next-now, 1))
	l.wg.Add(1) // released by look, or by who stops the timer
	if l.timer == nil {
		l.timer = time.AfterFunc(d, l.look)
	} else {
		l.timer.Reset(d)
	}
	l.timerAt = now + int64(d)
}

// sendPing puts a ping ahead of the queue, unless one waits there.
func (l *Link) sendPing(now int64) {
	l.mu.Lock()
	if l.closed || l.ping != nil || l.drained != nil || !l.up.Load() {
		l.mu.Unlock()
		return
	}
	f := frame.New(pingLen)
	f.SetType(frame.TypePing)
	f.SetDst(0)
	f.SetSrc(0)
	binary.BigEndian.PutUint64(f.Packet(), uint64(now))
	l.pinged.Store(now)
	l.ping = f
	kick := l.takeIdleLocked()
	l.mu.Unlock()
	l.count.pings.Add(1)
	if kick {
		l.kick <- struct{}{}
	}
}

// onPing answers a ping. Of several that came in during one write, the last is
// answered.
func (l *Link) onPing(f *frame.Frame) {
	if len(f.Packet()) > maxPing {
		l.count.droppedMalformed.Add(1)
		f.Release()
		return
	}
	f.SetType(frame.TypePong)
	l.mu.Lock()
	old := f
	if l.up.Load() {
		old, l.pong = l.pong, f
	}
	kick := l.takeIdleLocked()
	l.mu.Unlock()
	if old != nil {
		old.Release()
	}
	if kick {
		l.kick <- struct{}{}
	}
}

// onPong measures the round trip if f answers the last ping.
func (l *Link) onPong(f *frame.Frame) {
	defer f.Release()
	p := f.Packet()
	if len(p) < pingLen {
		l.count.droppedMalformed.Add(1)
		return
	}
	sent := l.pinged.Load()
	if sent == 0 || binary.BigEndian.Uint64(p) != uint64(sent) {
		return
	}
	if l.pinged.CompareAndSwap(sent, 0) {
		l.count.pongs.Add(1)
		l.count.rtt.Store(l.now() - sent)
	}
}

// since is the time from then to now, zero if then is none.
func since(now, then int64) time.Duration {
	if then == 0 {
		return 0
	}
	return time.Duration(now - then)
}
