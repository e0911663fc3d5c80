package overlaytest

import (
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// Without UDP, nodes use a link to the one that accepts links if it can be
// reached, and a new one when that breaks.
func TestLinksWhereUDPIsBlocked(t *testing.T) {
	for name, test := range map[string]struct {
		dialler, listener string // NATs
		direct            bool
	}{
		"out of a NAT": {"blocked", "", true},
		"into a NAT":   {"", "blocked", false},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
				l.NAT("blocked", NAT{Kind: UDPBlocked})
				l.Place("a", test.dialler)
				l.Place("b", test.listener)
				a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{LinkAddr: ":5000"})
				echo(t, b, 7)
				c := dial(t, a, "b:7")
				for _, fault := range []func(){func() {}, func() { l.Roam("b") }, func() { l.Roam("a") }} {
					fault()
					roundTrip(t, c)
					time.Sleep(time.Minute)
					if bothDirect(a, b) != test.direct {
						t.Errorf("there must be a direct path: %v\n%s", test.direct, paths(a, b))
					}
				}
				roundTrip(t, c)
			})
		})
	}
}
