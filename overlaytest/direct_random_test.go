package overlaytest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// TestRandomPaths moves three hosts among random NATs while they talk to each
// other, and makes faults of all kinds: packets change between relay and direct
// paths all the time. Not a byte may get lost, and in the end everybody who can
// have a direct path has one.
func TestRandomPaths(t *testing.T) {
	eachSeed(t, 3, func(t *testing.T, seed uint64) { newTour(t, seed).run() })
}

// tourHosts are those that talk.
var tourHosts = []string{"a", "b", "c"}

// A tour is one run of TestRandomPaths.
type tour struct {
	*Lab
	t       *testing.T
	rng     *rand.Rand
	journal *journal
	nodes   map[string]*overlay.Node
	kinds   map[string]NAT    // by name
	at      map[string]string // where hosts are
	talks   []*talk
	checks  []func() // of the transfers
	log     []string // what was done
	began   time.Time
}

func newTour(t *testing.T, seed uint64) *tour {
	rng := seeded(seed)
	o := &tour{
		t: t, rng: rng, journal: newJournal(), began: time.Now(),
		Lab:   New(t, Config{Seed: seed, Link: Impairment{Latency: time.Duration(1+rng.IntN(40)) * time.Millisecond, Loss: rng.Float64() * 0.01}}),
		nodes: make(map[string]*overlay.Node),
		kinds: map[string]NAT{"": {Kind: Open}}, at: make(map[string]string),
	}
	o.Relay("relay-2", o.Relay("relay"))
	for i := range 4 {
		nat := NAT{
			Kind: NATKind(rng.IntN(len(natKinds))), Hairpin: rng.IntN(2) == 0, RefreshInbound: rng.IntN(2) == 0,
			Timeout: time.Duration(20+rng.IntN(100)) * time.Second, SequentialPorts: rng.IntN(3) == 0,
		}
		if i == 3 && rng.IntN(2) == 0 {
			nat.Behind = "nat-0"
		}
		name := fmt.Sprint("nat-", i)
		o.NAT(name, nat)
		o.kinds[name] = nat
	}
	for _, host := range tourHosts {
		o.place(host)
		o.nodes[host] = o.Node(host, o.journal.of(host, overlay.Config{Reliability: layerOf(seed)}))
	}
	return o
}

// note remembers what was done, for failures.
func (o *tour) note(format string, args ...any) {
	o.log = append(o.log, fmt.Sprintf("%12v ", time.Since(o.began))+fmt.Sprintf(format, args...))
}

// place puts a host somewhere.
func (o *tour) place(host string) {
	all := []string{"", "nat-0", "nat-1", "nat-2", "nat-3"}
	o.at[host] = all[o.rng.IntN(len(all))]
	o.note("%s is at %q", host, o.at[host])
	o.Place(host, o.at[host])
}

func (o *tour) run() {
	o.t.Helper()
	pairs := [][2]string{{"a", "b"}, {"b", "c"}, {"c", "a"}}
	for _, p := range pairs {
		o.talks = append(o.talks, talkEvery(o.t, o.nodes[p[0]], o.nodes[p[1]], 250*time.Millisecond))
	}
	const faults = 12
	for range faults {
		if p := pairs[o.rng.IntN(3)]; o.rng.IntN(3) == 0 {
			there, back, done := transfer(o.t, o.nodes[p[0]], o.nodes[p[1]], 1+o.rng.IntN(2_000_000))
			o.checks = append(o.checks, func() { arrives(o.t, 2*time.Minute, there, back, done) })
		}
		o.fault()
	}
	o.note("calm")
	o.ImpairAll(Impairment{Latency: latency})
	time.Sleep(15 * time.Second)
	for _, k := range o.talks {
		k.forget()
	}
	for _, check := range o.checks {
		check()
	}
	time.Sleep(5 * time.Second)
	for _, k := range o.talks {
		k.wantSilence(4 * time.Second) // a path that turns out to be dead
		k.survived()
	}
	for _, p := range pairs {
		o.keep(p)
	}
	for _, p := range pairs {
		o.wantBest(p)
	}
	o.checkMoves(faults)
	if o.t.Failed() {
		o.t.Logf("%+v\n%s\n%s\n%v", o.kinds, strings.Join(o.log, "\n"), paths(o.nodes["a"], o.nodes["b"], o.nodes["c"]), o.journal)
	}
}

// keep opens a conn that keeps the session of two hosts.
func (o *tour) keep(pair [2]string) {
	x, y := connect(o.t, o.nodes[pair[0]], o.nodes[pair[1]])
	o.t.Cleanup(func() { _, _ = x.Close(), y.Close() })
}

// checkMoves checks that paths do not flap.
func (o *tour) checkMoves(faults int) {
	o.t.Helper()
	for _, host := range tourHosts {
		const most = 12 // changes of the path of two pairs, a fault
		if n := len(o.journal.moves(host, o.began)); n > most*faults {
			o.t.Errorf("the paths of %s changed %d times", host, n)
		}
	}
}

// fault does something bad, ends it after a while, and lets some time go by.
func (o *tour) fault() {
	host := tourHosts[o.rng.IntN(3)]
	other := tourHosts[o.rng.IntN(3)]
	nat := fmt.Sprint("nat-", o.rng.IntN(4))
	lasts := time.Duration(o.rng.IntN(20_000)) * time.Millisecond
	during := func(what string, start, stop func()) {
		o.note("%s, for %v", what, lasts)
		start()
		time.Sleep(lasts)
		stop()
	}
	switch o.rng.IntN(12) {
	case 0, 1:
		during("no way between "+host+" and "+other, func() { o.Impair(host, other, Impairment{Loss: 1}) },
			func() { o.Impair(host, other, o.cfg.Link) })
	case 2:
		o.note("reboot of %s", nat)
		o.RebootNAT(nat)
	case 3:
		o.note("new address of %s", nat)
		o.RenumberNAT(nat)
	case 4:
		o.note("new address of %s", host)
		o.Roam(host)
	case 5, 6:
		o.place(host)
	case 7:
		during(host+" sleeps", func() { o.Sleep(host) }, func() { o.Resume(host) })
	case 8:
		during(host+" has no interface", func() { o.InterfaceDown(host) }, func() { o.InterfaceUp(host) })
	case 9:
		relays := []string{"relay", "relay-2"}[:1+o.rng.IntN(2)]
		during(fmt.Sprint("death of ", relays), func() {
			for _, r := range relays {
				o.Kill(r)
			}
		}, func() {
			for _, r := range relays {
				o.Restart(r)
			}
		})
	case 10:
		bad := o.weather()
		o.note("between %s and %s: %+v", host, other, bad)
		o.Impair(host, other, bad)
	default:
		during(host+" is cut", func() { o.Cut(host) }, func() { o.Heal(host) })
	}
	time.Sleep(time.Duration(3000+o.rng.IntN(30_000)) * time.Millisecond)
}

func (o *tour) weather() Impairment {
	random := func() float64 { return o.rng.Float64() * 0.1 }
	bad := Impairment{
		Latency: time.Duration(1+o.rng.IntN(60)) * time.Millisecond, Jitter: time.Duration(o.rng.IntN(20)) * time.Millisecond,
		Loss: random(), Reorder: random(), Duplicate: random(), Corrupt: random() / 3,
	}
	if o.rng.IntN(2) == 0 {
		bad.Bandwidth = 60_000 + o.rng.IntN(1_000_000)
	}
	return bad
}

// wantBest checks that two hosts have a direct path in the end, if they can.
func (o *tour) wantBest(pair [2]string) {
	o.t.Helper()
	a, b := o.nodes[pair[0]], o.nodes[pair[1]]
	if !o.mustOpen(pair) {
		return
	}
	for began := time.Now(); !bothDirect(a, b); time.Sleep(time.Second) {
		if time.Since(began) > directAgain {
			o.t.Errorf("no direct path between %s at %q and %s at %q", pair[0], o.at[pair[0]], pair[1], o.at[pair[1]])
			return
		}
	}
}

// mustOpen reports whether two hosts are where a direct path is promised. In
// TestPairsOfNATs it is promised to more, but there nothing was in the NATs'
// tables, and nobody else behind them took ports.
func (o *tour) mustOpen(pair [2]string) bool {
	at := [2]string{o.at[pair[0]], o.at[pair[1]]}
	if at[0] == at[1] {
		return true
	}
	var types [2]int
	for i, name := range at {
		nat := o.kinds[name]
		if nat.Behind != "" || nat.Kind == Leaky || nat.Kind == Symmetric && nat.SequentialPorts {
			return false
		}
		types[i] = slices.IndexFunc(natTypes, func(t struct {
			name string
			nat  NAT
		}) bool {
			return t.nat.Kind == nat.Kind && !t.nat.SequentialPorts
		})
	}
	return opensAt(types[0], types[1]) == 'y'
}
