package uplink

import (
	"math"
	"sync"
	"time"
)

// versions numbers a node's registrations. All uplinks of a node share one, so
// that of any two registrations the later is the newer.
type versions struct {
	mu         sync.Mutex
	epoch, seq uint64
}

// newVersions starts an epoch: the time in nanoseconds, so that a restarted
// node's registrations are newer than those of its former self.
func newVersions() *versions { return &versions{epoch: uint64(time.Now().UnixNano())} }

// next returns the version of a new registration.
func (v *versions) next() (epoch, seq uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seq++
	return v.epoch, v.seq
}

// raise makes later versions newer than an epoch that a relay knows: the
// node's clock was set back since. It reports whether that is possible.
func (v *versions) raise(known uint64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if known == math.MaxUint64 {
		return false
	}
	if known >= v.epoch {
		v.epoch, v.seq = known+1, 0
	}
	return true
}
