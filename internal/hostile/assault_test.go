package hostile

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// An assault is an attack and what it may cost.
type assault struct {
	// play attacks. It returns when ctx ends, or before if the harm is done.
	play func(ctx context.Context)
	// may is what memory the attack may take while it goes on.
	may []cost
}

// A cost is memory that a limit bounds.
type cost struct {
	limit string // as the config calls it
	n     int    // what the limit is
	each  int    // bytes that one entry takes at most
}

// noise is how much the live heap may grow for other reasons: buffers in flight,
// what the simulated network keeps, timers.
const noise = 2 << 20

// Sizes of what limits count, in bytes and generous.
const (
	perSimulatedConn = 96 << 10  // both ends of one, in the simulation, whoever has it
	perNode          = 512 << 10 // an attacker's own overlay.Node, which lives in this process, too
	perLink          = 64 << 10  // a link's goroutines, queues and port
	perSession       = 128 << 10 // a session, its handshake and its buffers
	perHandshake     = 128 << 10 // an unfinished handshake: crypto/tls, and 96 KiB of what cannot be taken yet at most
)

// withstand measures the bystanders without the attack and under it.
func (b bystanders) withstand(a assault) {
	w := b[0].w
	w.Helper()
	before := b.measure()
	heap := liveHeap()
	ctx, cancel := context.WithCancel(w.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		a.play(ctx)
	}()
	time.Sleep(leadIn)
	after := b.measure()
	grown := liveHeap() - heap
	cancel()
	<-over
	b.compare(before, after)
	if complaint := tooMuch(grown, a.may); complaint != "" {
		w.Error(complaint)
	}
	w.Logf("the heap grew by %d KiB", grown>>10)
}

// tooMuch says that the heap grew by more than the costs allow.
func tooMuch(grown int, may []cost) string {
	allowed, named := noise, []string{fmt.Sprintf("%d of noise", noise)}
	for _, c := range may {
		allowed += c.n * c.each
		named = append(named, fmt.Sprintf("%s: %d of %d bytes", c.limit, c.n, c.each))
	}
	if grown <= allowed {
		return ""
	}
	return fmt.Sprintf("the heap grew by %d bytes; allowed are %d (%s)", grown, allowed, strings.Join(named, ", "))
}

// liveHeap returns how many bytes live on the heap. Pools keep what they have for
// two collections.
func liveHeap() int {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
