package overlaytest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
)

// homeOf returns the status of the relay where a node is registered.
func homeOf(t *testing.T, n *overlay.Node) (home, spare overlay.RelayStatus) {
	t.Helper()
	synctest.Wait()
	for _, r := range n.Status().Relays {
		switch {
		case r.Home:
			home = r
		case r.Up:
			spare = r
		}
	}
	return home, spare
}

// A node that uses two relays loses nothing when one of them ends, whatever way
// it ends and whichever it is.
func TestConnSurvivesTheEndOfEitherRelay(t *testing.T) {
	for _, test := range []struct {
		name    string
		end     func(t *testing.T, l *Lab, r *Relay)
		silence time.Duration // at most
	}{
		{"killed", func(_ *testing.T, l *Lab, r *Relay) { l.Kill(r.name) }, time.Second},
		{"power cut", func(_ *testing.T, l *Lab, r *Relay) { l.Cut(r.name); l.Kill(r.name) }, maxSilence},
		{"cable pulled", func(_ *testing.T, l *Lab, r *Relay) { l.Cut(r.name) }, maxSilence},
		{"drained", func(t *testing.T, _ *Lab, r *Relay) { drain(t, r) }, 200 * time.Millisecond},
	} {
		for _, which := range []string{"relay", "other"} {
			t.Run(test.name+" "+which, func(t *testing.T) {
				inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
					l.Relay("other")
					a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
					time.Sleep(10 * time.Second)
					k := talkBetween(t, a, b)
					time.Sleep(5 * time.Second)
					k.forget()
					test.end(t, l, l.relayOn(which))
					time.Sleep(20 * time.Second)
					k.wantSilence(test.silence)
					for _, n := range []*overlay.Node{a, b} {
						if home, _ := homeOf(t, n); home.Addr == which+":9999" || home.Addr == "" {
							t.Errorf("home of %s is %+v", n.Name(), home)
						}
					}
					k.survived()
				})
			})
		}
	}
}

// relayOn returns the relay of a host.
func (l *Lab) relayOn(host string) *Relay { return l.host(host).relay }

// drain shuts a relay down gracefully. Every node leaves it at once.
func drain(t *testing.T, r *Relay) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began := time.Now()
	if err := r.Server().Shutdown(ctx); err != nil || time.Since(began) > 2*time.Second {
		t.Errorf("draining took %v (%v)", time.Since(began), err)
	}
}

func TestIdleConnSurvivesTheDeathOfItsRelay(t *testing.T) {
	inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
		l.Relay("other")
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		echo(t, b, 7)
		c := dial(t, a, "b:7")
		roundTrip(t, c)
		time.Sleep(3 * time.Minute)
		for range 3 {
			for _, host := range []string{"relay", "other"} {
				l.Kill(host)
				if d := roundTrip(t, c); d > time.Second {
					t.Errorf("first round trip after the death of %s took %v", host, d)
				}
				l.Restart(host)
				time.Sleep(time.Minute)
				if home, spare := homeOf(t, a); home.Addr == "" || spare.Addr == "" {
					t.Errorf("home %+v, spare %+v", home, spare)
				}
			}
		}
	})
}

// A silent relay is noticed under traffic, and the node is listed elsewhere.
func TestSilentHomeIsReplacedInTime(t *testing.T) {
	inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
		l.Relay("other")
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		talkBetween(t, a, b)
		time.Sleep(10 * time.Second)
		for range 4 {
			was, _ := homeOf(t, a)
			host := was.Addr[:len(was.Addr)-len(":9999")]
			l.Cut(host)
			until(t, maxSilence, func() bool {
				home, _ := homeOf(t, a)
				return home.Up && home.Addr != was.Addr
			})
			l.Heal(host)
			time.Sleep(time.Minute)
		}
	})
}

// Other relays are known and not connected, and a nearer one is home.
func TestNodeLivesAtTheNearestRelay(t *testing.T) {
	inLab(t, Config{Link: Impairment{Latency: 50 * time.Millisecond}}, func(t *testing.T, l *Lab) {
		relays := []*Relay{l.relayOn("relay"), l.Relay("second"), l.Relay("third"), l.Relay("near")}
		l.Impair("a", "near", Impairment{Latency: time.Millisecond})
		l.Impair("a", "third", Impairment{Latency: 20 * time.Millisecond})
		a := l.Node("a", overlay.Config{})
		time.Sleep(10 * time.Second)
		home, spare := homeOf(t, a)
		if home.Addr != "near:9999" || spare.Addr != "third:9999" || home.State != "up: home" || spare.State != "up: spare" {
			t.Errorf("home is %+v, spare %+v", home, spare)
		}
		links := 0
		for _, r := range relays {
			links += r.Server().Stats().Links
		}
		if links != 2 {
			t.Errorf("%d links, want 2", links)
		}
		l.Impair("a", "near", Impairment{Latency: 100 * time.Millisecond}) // and now it is far
		time.Sleep(5 * time.Minute)
		if home, _ := homeOf(t, a); home.Addr != "third:9999" {
			t.Errorf("home is %+v", home)
		}
	})
}
