package overlaytest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
)

// The service levels of conns during faults of the network.
const (
	// maxSilence is how long a conn may be silent once the network is fine.
	maxSilence = 5 * time.Second
	// latency is of the links in these tests, one way.
	latency = 10 * time.Millisecond
)

// during runs a test of a conn between two nodes that talk all the time.
func during(t *testing.T, f func(t *testing.T, l *Lab, k *talk)) {
	t.Helper()
	inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		k := talkBetween(t, a, b)
		time.Sleep(10 * time.Second)
		k.wantSilence(200 * time.Millisecond)
		f(t, l, k)
		time.Sleep(10 * time.Second)
		k.wantSilence(maxSilence)
		k.survived()
	})
}

func TestConnSurvivesTheRestartOfItsRelay(t *testing.T) {
	for _, dead := range []time.Duration{0, 3 * time.Second, 10 * time.Second} {
		t.Run(dead.String(), func(t *testing.T) {
			during(t, func(t *testing.T, l *Lab, k *talk) {
				l.Kill("relay")
				time.Sleep(dead)
				l.Restart("relay")
				k.forget()
			})
		})
	}
}

func TestConnSurvivesABlackHole(t *testing.T) {
	for _, host := range []string{"a", "b", "relay"} {
		for _, lasts := range []time.Duration{5 * time.Second, 20 * time.Second, 40 * time.Second} {
			t.Run(host+" "+lasts.String(), func(t *testing.T) {
				during(t, func(t *testing.T, l *Lab, k *talk) {
					l.Cut(host)
					time.Sleep(lasts)
					l.Heal(host)
					k.forget()
				})
			})
		}
	}
}

func TestConnSurvivesANewAddress(t *testing.T) {
	for _, test := range []struct {
		name string
		roam func(l *Lab)
	}{
		{"of the dialler", func(l *Lab) { l.Roam("a") }},
		{"of the acceptor", func(l *Lab) { l.Roam("b") }},
		{"of both", func(l *Lab) { l.Roam("a"); l.Roam("b") }},
		{"of the relay", func(l *Lab) { l.Roam("relay") }},
		{"again and again", func(l *Lab) {
			for range 20 {
				l.Roam("a")
				time.Sleep(700 * time.Millisecond)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			during(t, func(_ *testing.T, l *Lab, k *talk) {
				k.forget()
				test.roam(l)
			})
		})
	}
}

func TestIdleConnSurvivesANewAddress(t *testing.T) {
	inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		echo(t, b, 7)
		c := dial(t, a, "b:7")
		roundTrip(t, c)
		time.Sleep(3 * time.Minute)
		for _, host := range []string{"a", "b"} {
			l.Roam(host)
			if d := roundTrip(t, c); d > maxSilence {
				t.Errorf("first round trip after %s had a new address took %v, want %v at most", host, d, maxSilence)
			}
		}
	})
}

func TestConnSurvivesOneDeafDirection(t *testing.T) {
	deaf := Impairment{Latency: latency, Loss: 1}
	for _, way := range [][2]string{{"a", "relay"}, {"relay", "a"}, {"b", "relay"}, {"relay", "b"}} {
		t.Run(way[0]+" to "+way[1], func(t *testing.T) {
			during(t, func(_ *testing.T, l *Lab, k *talk) {
				l.ImpairOneWay(way[0], way[1], deaf)
				time.Sleep(15 * time.Second)
				l.ImpairOneWay(way[0], way[1], Impairment{Latency: latency})
				k.forget()
			})
		})
	}
}

func TestNoConnIsLostAtTwentyPercentLoss(t *testing.T) {
	inLab(t, Config{Seed: 1, Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
		a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
		talks := []*talk{talkBetween(t, a, b)}
		l.ImpairAll(Impairment{Latency: latency, Loss: 0.2})
		for range 4 {
			time.Sleep(15 * time.Second)
			talks = append(talks, talkBetween(t, a, b))
		}
		for _, k := range talks {
			k.wantSilence(maxSilence)
			k.survived()
		}
	})
}

// relayIsUp reports whether a node is registered with its first relay, as far as
// it knows.
func relayIsUp(n *overlay.Node) bool { return n.Status().Relays[0].Up }

// until waits until cond is true and returns how long that took.
func until(t *testing.T, limit time.Duration, cond func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !cond() {
		if time.Since(began) > limit {
			t.Errorf("nothing happened within %v", limit)
			break
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
}

func TestDeadLinkIsNoticedAndReplaced(t *testing.T) {
	for _, test := range []struct {
		name    string
		traffic bool
		notice  time.Duration
	}{
		{"with traffic", true, 5 * time.Second},
		{"idle", false, 15 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inLab(t, Config{Link: Impairment{Latency: latency}}, func(t *testing.T, l *Lab) {
				a, b := l.Node("a", overlay.Config{}), l.Node("b", overlay.Config{})
				time.Sleep(time.Minute)
				if test.traffic {
					talkBetween(t, a, b)
					time.Sleep(time.Second)
				}
				l.Cut("a")
				until(t, test.notice, func() bool { return !relayIsUp(a) })
				l.Heal("a")
				until(t, time.Second, func() bool { return relayIsUp(a) })
			})
		})
	}
}
