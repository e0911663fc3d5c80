package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1) // see overlaytest
	goleak.VerifyTestMain(m)
}

var hosts = []string{"a", "b", "c"}

// A cluster is a lab with a replica on each of the hosts.
type cluster struct {
	*overlaytest.Lab
	t        *testing.T
	replicas map[string]*Counter
	stops    map[string]func()
}

// inCluster runs a test in a bubble, where time is simulated: minutes pass in no time.
func inCluster(t *testing.T, seed uint64, test func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			Lab: overlaytest.New(t, overlaytest.Config{
				Seed: seed, Link: overlaytest.Impairment{Latency: 20 * time.Millisecond, Jitter: 5 * time.Millisecond},
			}),
			t: t, replicas: make(map[string]*Counter), stops: make(map[string]func()),
		}
		c.Relay("relay")
		for _, host := range hosts {
			c.run(host, c.Node(host, overlay.Config{}))
		}
		test(t, c)
		for _, host := range hosts {
			c.stops[host]()
		}
	})
}

// run starts a replica on a node.
func (c *cluster) run(host string, node *overlay.Node) {
	c.t.Helper()
	replica, err := New(node)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- replica.Run(ctx, others(host)) }()
	c.replicas[host] = replica
	c.stops[host] = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			c.t.Error(err)
		}
	})
}

func others(host string) (others []string) {
	for _, h := range hosts {
		if h != host {
			others = append(others, h)
		}
	}
	return others
}

// kill ends a host and the replica on it, which forgets everything.
func (c *cluster) kill(host string) {
	c.Kill(host)
	c.stops[host]()
}

func (c *cluster) restart(host string) { c.t.Helper(); c.run(host, c.Restart(host)) }

// add adds, and reports whether that was acknowledged in time.
func (c *cluster) add(host string, n uint64, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	return c.replicas[host].Add(ctx, n)
}

// agree waits until all replicas have one total, and returns it.
func (c *cluster) agree() uint64 {
	c.t.Helper()
	var totals [3]uint64
	for range 600 {
		time.Sleep(interval)
		for i, host := range hosts {
			totals[i] = c.replicas[host].Total()
		}
		if totals[0] == totals[1] && totals[1] == totals[2] {
			return totals[0]
		}
	}
	c.t.Fatalf("no agreement after ten minutes: %d", totals)
	return 0
}

func (c *cluster) wantTotal(want uint64) {
	c.t.Helper()
	if got := c.agree(); got != want {
		c.t.Errorf("the total is %d, want %d", got, want)
	}
}

func TestAllAddAtOnce(t *testing.T) {
	for _, link := range []overlaytest.Impairment{
		{},
		{Latency: 300 * time.Millisecond},
		{Latency: 20 * time.Millisecond, Loss: 0.1, Reorder: 0.1, Duplicate: 0.1},
	} {
		inCluster(t, 1, func(t *testing.T, c *cluster) {
			c.ImpairAll(link)
			var adding sync.WaitGroup
			for _, host := range hosts {
				adding.Go(func() {
					for range 20 {
						if err := c.add(host, 3, time.Minute); err != nil {
							t.Error(err)
						}
					}
				})
			}
			adding.Wait()
			c.wantTotal(3 * 3 * 20)
		})
	}
}

// An acknowledgement takes the time that a dial and an exchange take, and is exact here.
func TestAnAcknowledgementTakesRoundTrips(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *cluster) {
		c.ImpairAll(overlaytest.Impairment{Latency: 50 * time.Millisecond}) // of each of the two links between nodes
		c.agree()                                                           // there are sessions
		begin := time.Now()
		if err := c.add("a", 1, time.Minute); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 2*interval {
			t.Errorf("it took %v of simulated time", took)
		}
	})
}

// Who is cut off gets no acknowledgement; the others do not mind. What it has added
// counts when it is back.
func TestWhoIsCutOffCatchesUp(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *cluster) {
		c.Cut("c")
		if err := c.add("a", 1, time.Minute); err != nil {
			t.Error(err)
		}
		if err := c.add("c", 10, 5*time.Minute); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no other replica has acknowledged") {
			t.Error(err)
		}
		if a, c := c.replicas["a"].Total(), c.replicas["c"].Total(); a != 1 || c != 10 {
			t.Errorf("the totals are %d and %d", a, c)
		}
		c.Heal("c")
		c.wantTotal(11)
	})
}

func TestWhatIsAcknowledgedSurvivesItsReplica(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *cluster) {
		if err := c.add("a", 5, time.Minute); err != nil {
			t.Error(err)
		}
		c.kill("a")
		c.restart("a") // which knows nothing, and must not begin at 0 again for all
		if err := c.add("a", 1, time.Minute); err != nil {
			t.Error(err)
		}
		c.wantTotal(6)
	})
}

func TestTheRelayRestarts(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *cluster) {
		c.Kill("relay")
		if err := c.add("b", 2, time.Minute); err == nil {
			t.Error("acknowledged without a way to anybody")
		}
		c.Restart("relay")
		if err := c.add("b", 3, 5*time.Minute); err != nil {
			t.Error(err)
		}
		c.wantTotal(5)
	})
}

// Whatever happens to one host at a time, nothing that was acknowledged is lost,
// nothing counts twice, and all agree in the end.
func TestAtRandom(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inCluster(t, seed, func(t *testing.T, c *cluster) {
				random := rand.New(rand.NewPCG(seed, 0))
				acknowledged, attempted := uint64(0), uint64(0)
				for range 12 {
					victim := hosts[random.IntN(len(hosts))]
					undo := func() {}
					switch random.IntN(4) {
					case 0:
						c.Cut(victim)
						undo = func() { c.Heal(victim) }
					case 1:
						c.kill(victim)
						c.restart(victim)
					case 2:
						c.Roam(victim)
					case 3:
						c.Impair(victim, "relay", overlaytest.Impairment{Latency: time.Second, Loss: 0.3})
						undo = func() { c.Impair(victim, "relay", overlaytest.Impairment{}) }
					}
					for _, host := range hosts {
						attempted++
						if c.add(host, 1, 30*time.Second) == nil {
							acknowledged++
						}
					}
					undo()
					c.agree() // so that every part has been on two replicas before the next one dies
				}
				if total := c.agree(); total < acknowledged || total > attempted {
					t.Errorf("the total is %d: %d were acknowledged of %d", total, acknowledged, attempted)
				}
				t.Logf("%d of %d were acknowledged", acknowledged, attempted)
			})
		})
	}
}

func TestStrangeStates(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *cluster) {
		stranger := c.Node("stranger", overlay.Config{})
		for _, said := range []string{"hello\n", "[]\n", `{"x": -1}` + "\n", "{" + strings.Repeat(" ", maxState), `{"x": "y"}` + "\n"} {
			conn, err := stranger.Dial(t.Context(), "a:4000")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, said)
			if answer, err := io.ReadAll(conn); !strings.HasPrefix(string(answer), `"not a state of at most 65536 bytes`) || err != nil {
				t.Errorf("%.20q was answered with %q, %v", said, answer, err)
			}
			_ = conn.Close()
		}
		many := make(state)
		for i := range 2 * maxParts {
			many[fmt.Sprint(i)] = 1
		}
		a := c.replicas["a"]
		a.merge(many)
		a.merge(state{a.self: 1000})
		if total := a.Total(); total > maxParts {
			t.Errorf("a stranger made the total %d", total)
		}
	})
}

func TestFromTheEnvironment(t *testing.T) {
	cfg := testnet.Start(t)
	other, err := New(testnet.Named(t, cfg, "b"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- other.Run(ctx, nil) }()
	testnet.Setenv(t, cfg)
	var out strings.Builder
	if err := run(testnet.Context(t), []string{"b"}, strings.NewReader("4\n-1\n3\n"), &out); err != nil || out.String() != "4\n\"-1\" is no number from 0 to 4294967295\n7\n" {
		t.Errorf("%q, %v", &out, err)
	}
	stop()
	if err := <-ran; err != nil || other.Total() != 7 {
		t.Errorf("%d, %v", other.Total(), err)
	}
	if err := run(t.Context(), nil, nil, nil); err == nil || !strings.Contains(err.Error(), "names of the other replicas") {
		t.Error(err)
	}
}
