package session

import (
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/simnet"
)

// A link to a relay is not bound for a moment after it was made anew, and other
// nodes' packets come in on it then.
func TestForwardedPacketsDoNotTieTheSenderToTheLink(t *testing.T) {
	for name, test := range map[string]struct {
		hops  uint8
		bound bool
	}{
		"forwarded":        {frame.DefaultHopLimit - 1, false},
		"of the neighbour": {frame.DefaultHopLimit, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var bound []Path
				p := newPairWith(t, ten, ten, 1, 1200, Config{
					OnBind: func(_ identity.Peer, via Path) { bound = append(bound, via) },
				})
				defer p.close()
				link := &wirePath{name: "link", self: p.b.self, wire: p.bOut.wire, mtu: 1200}
				p.aOut.wire = simnet.NewWire(ten, 1, func(f *frame.Frame) {
					f.SetHopLimit(test.hops)
					p.b.Receive(f, link)
				})
				p.bOut.wire.Close()
				p.bOut.wire = simnet.NewWire(ten, 2, func(f *frame.Frame) { p.a.Receive(f, nil) })
				link.wire = p.bOut.wire
				a, b := p.dial(t)
				x, y := open(t, a, b)
				transfer(t, x, y, 10_000, 1)
				<-time.After(time.Minute)
				if got := len(bound) == 1 && bound[0] == Path(link); got != test.bound || !got && len(bound) > 0 {
					t.Errorf("bound to %v, want the link: %v", bound, test.bound)
				}
				want := Path(p.bOut)
				if test.bound {
					want = link // which does not change its ID here
				}
				if got := b.Path(); got != want {
					t.Errorf("the session uses %v, want %v", got, want)
				}
			})
		})
	}
}
