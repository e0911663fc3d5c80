package hostile

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// perPreface is what a conn costs of which nothing is known: its goroutines and what
// the first bytes are read to.
const perPreface = 32 << 10

// Strangers open 20,000 conns to a relay's port within a moment and say nothing, half
// of them from one address and each other one from another. As many are held as
// there may be, each is closed in time, and honest nodes come in within two seconds,
// also from the address of the many.
func TestTwentyThousandConnsSayNothing(t *testing.T) {
	const conns, places, soon = 20_000, relay.DefaultMaxPrefaces, 2 * time.Second
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		b := w.bystanders(r)
		known := r.Stats()
		var held []net.Conn
		b.withstand(assault{
			play: func(ctx context.Context) {
				for i := range conns {
					from := "crowd"
					if i%2 == 0 {
						from = fmt.Sprint("stranger-", i)
					}
					held = append(held, w.stream(from, r))
				}
				opened := time.Now()
				if s := r.Stats(); s.Prefaces != places || s.RefusedAddress-known.RefusedAddress < conns-2*places {
					w.Errorf("of %d conns %d are held, and %d were refused", conns, s.Prefaces, s.RefusedAddress)
				}
				var all sync.WaitGroup
				for _, name := range []string{"kv-1", "crowd"} {
					h := w.start(name, overlay.Config{Relays: []string{r.addr}})
					all.Go(func() {
						if err := h.WaitReady(ctx); err != nil || time.Since(opened) > soon {
							w.Errorf("%s came in after %v: %v", name, time.Since(opened), err)
						}
						w.Logf("%s came in after %v", name, time.Since(opened))
					})
				}
				all.Wait()
				<-ctx.Done()
			},
			may: []cost{
				{"MaxPrefaces", places, perPreface},
				{"the attackers' own ends", conns, 2 << 10},
				{"honest nodes", 2, perNode + perLink + perSimulatedConn + perSession},
			},
		})
		time.Sleep(relay.DefaultPrefaceTimeout)
		if s := r.Stats(); s.Prefaces != 0 || s.Links != known.Links+2 {
			w.Errorf("%d conns are held, and %d links", s.Prefaces, s.Links)
		}
		for _, c := range held {
			_ = c.Close()
		}
	})
}
