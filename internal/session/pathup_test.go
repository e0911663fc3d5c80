package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
)

func TestHandshakeGoesOnAtOnceWhenThePathIsBack(t *testing.T) {
	for _, lost := range []string{"what the client sends", "what the server sends"} {
		t.Run(lost, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newPair(t, ten, ten, 1, 1200)
				defer p.close()
				wire := p.aOut.wire
				if lost == "what the server sends" {
					wire = p.bOut.wire
				}
				wire.Set(simnet.Impairment{Down: true})
				done := make(chan time.Time)
				go func() {
					if _, err := p.a.Dial(t.Context(), identity.Target{ID: p.b.self}); err != nil {
						t.Error(err)
					}
					done <- time.Now()
				}()
				time.Sleep(4 * time.Second) // probes went out after 1 and 3 s; the next is due after 7
				synctest.Wait()
				wire.Set(ten)
				p.a.PathUp()
				p.b.PathUp()
				back := time.Now()
				if d := (<-done).Sub(back); d > time.Second {
					t.Errorf("the handshake took %v from then on, want two round trips", d)
				}
			})
		})
	}
}
