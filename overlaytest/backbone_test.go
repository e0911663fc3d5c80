package overlaytest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
)

// backbone starts n relays that all know each other.
func (l *Lab) backbone(n int) []*Relay {
	var all []*Relay
	for i := range n {
		all = append(all, l.Relay(fmt.Sprintf("relay-%d", i), all...))
	}
	time.Sleep(5 * time.Second)
	return all
}

// inBackbone runs a test in a bubble, in a lab with n relays.
func inBackbone(t *testing.T, n int, f func(t *testing.T, l *Lab, relays []*Relay)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := New(t, Config{Link: Impairment{Latency: latency}})
		f(t, l, l.backbone(n))
	})
}

// at is the config of a node that knows some relays only.
func at(relays ...*Relay) (cfg overlay.Config) {
	for _, r := range relays {
		cfg.Relays = append(cfg.Relays, r.Addr())
	}
	return cfg
}

func TestNodesOfDifferentRelaysMeet(t *testing.T) {
	inBackbone(t, 3, func(t *testing.T, l *Lab, relays []*Relay) {
		a, b := l.Node("a", at(relays[0])), l.Node("b", at(relays[1]))
		echo(t, b, 80)
		time.Sleep(time.Second)
		for _, host := range []string{b.ID().String(), b.Key().String(), "b"} {
			roundTrip(t, dial(t, a, host+":80"))
		}
		_, err := a.Dial(t.Context(), "nobody:80")
		if err == nil {
			t.Error("a node that does not exist was reached")
		}
	})
}

func TestRelaysOfALabLinkUpOnlyIfTheyShall(t *testing.T) {
	for _, all := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := New(t, Config{Link: Impairment{Latency: latency}, LinkRelays: all})
			first := l.Relay("first")
			second := l.Relay("second", first)
			third := l.Relay("third", second)
			time.Sleep(time.Minute)
			for _, end := range []*Relay{first, third} {
				up := 0
				for _, p := range end.Server().PeerStatus() {
					if p.Up {
						up++
					}
				}
				if want := map[bool]int{false: 1, true: 2}[all]; up != want {
					t.Errorf("LinkRelays %v: %s has %d links to relays, want %d", all, end.Addr(), up, want)
				}
			}
		})
	}
}

func TestRelaysWithoutPeersAreIslands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(t, Config{})
		a := l.Node("a", at(l.Relay("east")))
		b := l.Node("b", at(l.Relay("west")))
		if _, err := a.Ping(t.Context(), b.ID().String()); err == nil {
			t.Error("nodes of relays that do not know each other met")
		}
	})
}

// A node that was told one relay only survives the end of that one: it has
// learnt of the others.
func TestConnSurvivesTheEndOfTheOnlyRelayThatWasNamed(t *testing.T) {
	inBackbone(t, 3, func(t *testing.T, l *Lab, relays []*Relay) {
		a, b := l.Node("a", at(relays[0])), l.Node("b", at(relays[1]))
		k := talkBetween(t, a, b)
		time.Sleep(20 * time.Second)
		k.forget()
		l.Kill("relay-0")
		time.Sleep(10 * time.Second)
		l.Kill("relay-1")
		time.Sleep(20 * time.Second)
		k.wantSilence(maxSilence)
		k.survived()
	})
}

// A node that dies at another relay is missed as soon as at one's own: its relay
// tells the others whether it hung up or its link went silent.
func TestDeathAtAnotherRelayIsNoticed(t *testing.T) {
	for _, test := range []struct {
		name        string
		cut         bool
		after, most time.Duration
	}{
		{"death", false, 0, 20 * time.Second},
		{"power cut", true, 30 * time.Second, 80 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBackbone(t, 4, func(t *testing.T, l *Lab, relays []*Relay) {
				server, client := l.Node("server", at(relays[:2]...)), l.Node("client", at(relays[2:]...))
				time.Sleep(5 * time.Second) // both have spares
				for _, r := range client.Status().Relays {
					if r.Up && slices.ContainsFunc(server.Status().Relays, func(s overlay.RelayStatus) bool { return s.Up && s.Addr == r.Addr }) {
						t.Fatalf("both use %s, and need no backbone", r.Addr)
					}
				}
				idle, _ := connect(t, client, server)
				busy, _ := connect(t, client, server)
				if test.cut {
					l.Cut("server")
				}
				l.Kill("server")
				began := time.Now()
				time.Sleep(time.Second) // the backbone knows: no frame meets the relay that saw it
				if _, err := busy.Write([]byte("is anybody there?")); err != nil {
					t.Fatal(err)
				}
				for _, c := range []net.Conn{idle, busy} {
					if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
						t.Errorf("reading from the dead ended with %v", err)
					}
					_ = c.Close()
				}
				if d := time.Since(began); d < test.after || d > test.most {
					t.Errorf("the conns failed after %v, want %v to %v", d, test.after, test.most)
				}
			})
		})
	}
}

// Relays are killed and restarted at random under fifty streams: not a byte is
// lost, and no stream ends.
func TestStreamsSurviveRelaysThatComeAndGo(t *testing.T) {
	seeds := seedsOf(t, 1)
	for _, seed := range seeds[:max(len(seeds)/20, 1)] { // each costs as much as twenty of others
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer replayable(t, seed)
			inBackbone(t, 5, func(t *testing.T, l *Lab, relays []*Relay) { comeAndGo(t, l, relays, seed) })
		})
	}
}

func comeAndGo(t *testing.T, l *Lab, relays []*Relay, seed uint64) {
	const streams = 50
	lasts := 15 * time.Second
	if os.Getenv("WEFT_SEEDS") != "" {
		lasts = time.Minute
	}
	rng := seeded(seed)
	var nodes []*overlay.Node
	for i := range 2 * len(relays) {
		nodes = append(nodes, l.Node(fmt.Sprintf("node-%d", i), at(relays[i%len(relays)], relays[(i+1)%len(relays)])))
	}
	time.Sleep(10 * time.Second) // learn, and find a spare
	var talks []*talk
	for range streams {
		i := rng.IntN(len(nodes))
		j := (i + 1 + rng.IntN(len(nodes)-1)) % len(nodes)
		talks = append(talks, talkBetween(t, nodes[i], nodes[j]))
	}
	back := make(map[int]time.Time) // when the dead relays are restarted
	for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(time.Second / 2) {
		for i, at := range back {
			if time.Now().After(at) {
				l.Restart(relays[i].name)
				delete(back, i)
			}
		}
		if i := rng.IntN(len(relays)); back[i].IsZero() && len(back) < 2 && rng.IntN(4) == 0 {
			l.Kill(relays[i].name)
			back[i] = time.Now().Add(time.Duration(1+rng.IntN(10)) * time.Second)
		}
	}
	for i := range back {
		l.Restart(relays[i].name)
	}
	time.Sleep(15 * time.Second)
	for _, k := range talks {
		k.forget()
	}
	time.Sleep(5 * time.Second)
	for _, k := range talks {
		k.wantSilence(time.Second)
		k.survived()
	}
}
