package overlaytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
)

// Two nodes that begin at different relays, and know no others, lose nothing
// when both of these are gone for good.
func TestConnSurvivesTheEndOfBothHomes(t *testing.T) {
	for _, test := range []struct {
		name    string
		end     func(t *testing.T, l *Lab, r *Relay)
		silence time.Duration // at most
	}{
		{"killed", func(_ *testing.T, l *Lab, r *Relay) { l.Kill(r.name) }, 2 * time.Second},
		{"power cut", func(_ *testing.T, l *Lab, r *Relay) { l.Cut(r.name); l.Kill(r.name) }, maxSilence},
		{"cable pulled", func(_ *testing.T, l *Lab, r *Relay) { l.Cut(r.name) }, maxSilence},
		{"drained", func(t *testing.T, _ *Lab, r *Relay) { drain(t, r) }, 500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBackbone(t, 4, func(t *testing.T, l *Lab, relays []*Relay) {
				a, b := l.Node("a", at(relays[0])), l.Node("b", at(relays[1]))
				time.Sleep(10 * time.Second)
				k := talkBetween(t, a, b)
				time.Sleep(5 * time.Second)
				for _, r := range relays[:2] {
					k.forget()
					test.end(t, l, r)
					time.Sleep(20 * time.Second)
					k.wantSilence(test.silence)
				}
				for _, n := range []*overlay.Node{a, b} {
					home, spare := homeOf(t, n)
					if !home.Learned || !spare.Learned || spare.ID == home.ID {
						t.Errorf("home of %s is %+v, spare %+v", n.Name(), home, spare)
					}
				}
				k.survived()
			})
		})
	}
}

// While one direction after the other loses its relay, transfers in both
// directions arrive as they were written.
func TestNothingIsLostWhileHomesComeAndGo(t *testing.T) {
	inBackbone(t, 4, func(t *testing.T, l *Lab, relays []*Relay) {
		a, b := l.Node("a", at(relays[0])), l.Node("b", at(relays[1]))
		time.Sleep(10 * time.Second)
		k := talkBetween(t, a, b)
		for range 3 {
			for _, r := range relays {
				l.Kill(r.name)
				time.Sleep(3 * time.Second)
				l.Restart(r.name)
				time.Sleep(7 * time.Second)
			}
		}
		k.wantSilence(maxSilence)
		k.survived()
	})
}

func TestNodeIsFoundWhereItHasMovedTo(t *testing.T) {
	inBackbone(t, 3, func(t *testing.T, l *Lab, relays []*Relay) {
		a := l.Node("a", at(relays[0]))
		echo(t, a, 7)
		time.Sleep(10 * time.Second)
		drain(t, relays[0])
		l.Kill("relay-0")
		time.Sleep(time.Second)
		home, _ := homeOf(t, a)
		for i, r := range relays[1:] {
			n := l.Node(fmt.Sprint("n-", i), at(r))
			for _, addr := range []string{"a:7", a.ID().String() + ":7", a.Key().String() + ":7"} {
				roundTrip(t, dial(t, n, addr))
			}
		}
		if home.Addr != "relay-1:9999" && home.Addr != "relay-2:9999" {
			t.Errorf("home is %+v", home)
		}
	})
}

func TestNodeStartsAgainWhenItsConfiguredRelayIsGoneForGood(t *testing.T) {
	inBackbone(t, 3, func(t *testing.T, l *Lab, relays []*Relay) {
		cfg := at(relays[0])
		cfg.StateDir = t.TempDir()
		a := l.Node("a", cfg)
		b := l.Node("b", at(relays[2]))
		echo(t, b, 7)
		time.Sleep(10 * time.Second)
		l.Kill("relay-0")
		l.Kill("a")
		began := time.Now()
		again := l.Restart("a")
		l.WaitReady("a")
		if d := time.Since(began); d > 5*time.Second || again.ID() != a.ID() {
			t.Errorf("%v was ready after %v, want %v", again.ID(), d, a.ID())
		}
		roundTrip(t, dial(t, again, "b:7"))
		if home, _ := homeOf(t, again); !home.Learned {
			t.Errorf("home is %+v", home)
		}
	})
}

// A name is one node's. If two have it, on different relays, a dial says who.
func TestTwoNodesOfOneNameOnDifferentRelays(t *testing.T) {
	inBackbone(t, 3, func(t *testing.T, l *Lab, relays []*Relay) {
		var ids []string
		for i, r := range relays[:2] {
			cfg := at(r)
			cfg.Name = "kv"
			n := l.Node(fmt.Sprint("kv-", i), cfg)
			echo(t, n, 7)
			ids = append(ids, n.ID().String())
		}
		c := l.Node("c", at(relays[2]))
		time.Sleep(time.Second)
		_, err := c.Dial(t.Context(), "kv:7")
		if !errors.Is(err, overlay.ErrAmbiguousName) || !strings.Contains(err.Error(), ids[0]) || !strings.Contains(err.Error(), ids[1]) {
			t.Errorf("dialling a name of two nodes gave %v, want an error with %v", err, ids)
		}
		l.Kill("kv-0")
		time.Sleep(time.Second)
		roundTrip(t, dial(t, c, "kv:7"))
	})
}

func TestEventsTellOfMoves(t *testing.T) {
	inBackbone(t, 3, func(t *testing.T, l *Lab, relays []*Relay) {
		var told []string
		cfg := at(relays[0])
		cfg.OnEvent = func(e overlay.Event) { told = append(told, e.String()) }
		a := l.Node("a", cfg)
		time.Sleep(10 * time.Second)
		_, spare := homeOf(t, a)
		l.Kill("relay-0")
		time.Sleep(time.Second)
		synctest.Wait()
		for _, want := range []string{
			"relay up: relay-0:9999",
			"home relay moved: relay-0:9999",
			"relay up: " + spare.Addr,
			"home relay moved: " + spare.Addr + ", from relay-0:9999",
		} {
			if !slices.Contains(told, want) {
				t.Errorf("%q is missing among %q", want, told)
			}
		}
		if !slices.ContainsFunc(told, func(s string) bool { return strings.HasPrefix(s, "relay down: relay-0:9999: ") }) {
			t.Errorf("nothing about the end of relay-0 in %q", told)
		}
	})
}
