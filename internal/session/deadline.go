package session

import "time"

// A deadline is a point in time after which a blocked call must return. It is
// guarded by its stream's lock.
type deadline struct {
	t     time.Time
	timer *time.Timer
}

// set changes the deadline; wake is called when it passes, and at once so
// that blocked calls look at the new one.
func (d *deadline) set(t time.Time, wake func()) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.t = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, wake)
	}
	wake()
}

// passed reports whether the deadline has passed.
func (d *deadline) passed() bool { return !d.t.IsZero() && !time.Now().Before(d.t) }

// stop frees the timer.
func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// A signal wakes goroutines that wait for a state to change. Whoever receives
// from it looks at the state again, and sets it again for the others if there
// is more to be had.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
