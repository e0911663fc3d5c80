// Package racetest is for tests that care whether the race detector watches.
package racetest

import "runtime"

// OneProcessor is for TestMain of packages whose tests run in testing/synctest
// bubbles. Go 1.26's race detector crashes ("ThreadSanitizer: CHECK failed", or
// a segmentation fault below runtime.(*timer).maybeRunChan) when two threads
// run timers of one bubble at the same moment, for which all share a context.
// With one processor they cannot; what the detector finds depends on the order
// of events, not on their being simultaneous.
func OneProcessor() {
	if Enabled {
		runtime.GOMAXPROCS(1)
	}
}

// AllProcessors undoes OneProcessor for a test without bubbles, until it ends. No
// other test may run meanwhile.
func AllProcessors(t interface{ Cleanup(f func()) }) {
	before := runtime.GOMAXPROCS(runtime.NumCPU())
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}
