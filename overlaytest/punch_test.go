package overlaytest

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// natTypes are those of the table.
var natTypes = []struct {
	name string
	nat  NAT
}{
	{"open", NAT{Kind: Open}},
	{"firewall", NAT{Kind: Firewall}},
	{"endpoint-independent", NAT{Kind: EndpointIndependent}},
	{"address-restricted", NAT{Kind: AddressRestricted}},
	{"port-restricted", NAT{}},
	{"symmetric, sequential", NAT{Kind: Symmetric, SequentialPorts: true}},
	{"symmetric, random", NAT{Kind: Symmetric}},
	{"leaky", NAT{Kind: Leaky}},
	{"UDP blocked", NAT{Kind: UDPBlocked}},
}

// opens says which pairs of natTypes get a direct path: always (y), never (n), or
// without a promise (?).
var opens = []string{
	"yyyyyyyyn",
	" yyyyynyn",
	"  yyyyyyn",
	"   yyyyyn",
	"    yynyn",
	"     ?n?n",
	"      nnn",
	"       yn",
	"        n",
}

// opensAt is how a cell is looked up, in either order.
func opensAt(i, j int) byte { return opens[min(i, j)][max(i, j)] }

// A cell is what was seen of one pair of NATs.
type cell struct {
	tries, opened int
	// From when the dialler had a session until packets took direct paths in both
	// directions, in round trips over the relay.
	trips []float64
}

func (c *cell) String() string {
	if c.opened == 0 {
		return "relayed"
	}
	slices.Sort(c.trips)
	return fmt.Sprintf("%d %%, %.1f", 100*c.opened/c.tries, c.trips[len(c.trips)/2])
}

// patience is how long a pair gets. Its first attempt is over after a few
// seconds; NATs that the first spoils are open again for the third, after two
// pauses of 35 seconds.
const patience = 3 * time.Minute

// Each pair of NATs that can be punched is, and fast.
func TestPairsOfNATs(t *testing.T) {
	cells := make([][]cell, len(natTypes))
	for i, row := range natTypes {
		cells[i] = make([]cell, len(natTypes))
		for j, column := range natTypes[i:] {
			c := &cells[i][i+j]
			t.Run(row.name+" "+column.name, func(t *testing.T) {
				pairOfNATs(t, c, [2]NAT{row.nat, column.nat}, opensAt(i, i+j))
			})
		}
	}
	if t.Failed() || os.Getenv("WEFT_SEED") != "" {
		return
	}
	checkTimes(t, cells)
	t.Logf("\n%s", table(cells))
	if os.Getenv("WEFT_DOCS") != "" {
		updateDocs(t, table(cells))
	}
}

func pairOfNATs(t *testing.T, c *cell, nats [2]NAT, want byte) {
	eachSeed(t, 1, func(t *testing.T, seed uint64) {
		c.tries++
		if seed%2 == 1 {
			nats[0], nats[1] = nats[1], nats[0]
			defer func() { nats[0], nats[1] = nats[1], nats[0] }()
		}
		trips, ok := punch(t, seed, nats, want)
		if ok {
			c.opened++
			c.trips = append(c.trips, trips)
		}
		if want != '?' && ok != (want == 'y') {
			t.Errorf("direct: %v, want %c", ok, want)
		}
	})
}

// punch dials and reports how many round trips after the dialler had a session
// both nodes sent on a direct path, false if they did not.
func punch(t *testing.T, seed uint64, nats [2]NAT, want byte) (trips float64, ok bool) {
	l := New(t, Config{Seed: seed})
	far(l, seeded(seed))
	d := newDuo(t, l, nats, overlay.Config{})
	d.settle()
	echo(t, d.b, 7)
	stood := standing(d)
	c := dial(t, d.a, d.b.ID().String()+":7")
	began := <-stood
	limit := patience
	if want == 'n' {
		limit = time.Minute // one that must not is not waited for as long
	}
	for !bothDirect(d.a, d.b) {
		if time.Since(began) > limit {
			if want == 'y' {
				t.Errorf("no direct path after %v:\n%s\n%v", limit, paths(d.a, d.b), d.journal)
			}
			checkReasons(t, d)
			roundTrip(t, c)
			return 0, false
		}
		time.Sleep(50 * time.Millisecond)
	}
	last := began
	for _, host := range []string{"a", "b"} {
		if moves := d.journal.moves(host, began); len(moves) > 0 {
			last = later(last, moves[0])
		}
	}
	roundTrip(t, c)
	return float64(last.Sub(began)) / float64(d.relayTrip()), true
}

// standing sends when a has a session with b, to a millisecond.
func standing(d *duo) <-chan time.Time {
	stood, asked := make(chan time.Time, 1), time.Now()
	go func() {
		for time.Since(asked) < patience {
			if _, ok := peerStatus(d.a, d.b); ok {
				break
			}
			time.Sleep(time.Millisecond)
		}
		stood <- time.Now()
	}()
	return stood
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// checkReasons checks that nodes without a direct path say why.
func checkReasons(t *testing.T, d *duo) {
	t.Helper()
	for _, pair := range [][2]*overlay.Node{{d.a, d.b}, {d.b, d.a}} {
		if p, ok := peerStatus(pair[0], pair[1]); !ok || p.NotDirect == "" {
			t.Errorf("%s does not say why it has no direct path: %+v", pair[0].Name(), p)
		}
	}
}

// checkTimes checks the median of all pairs that were opened.
func checkTimes(t *testing.T, cells [][]cell) {
	t.Helper()
	var all []float64
	for _, row := range cells {
		for _, c := range row {
			all = append(all, c.trips...)
		}
	}
	slices.Sort(all)
	median, most := all[len(all)/2], 3.0
	t.Logf("from session to direct: median of %d is %.2f round trips, 90 %% within %.2f, the longest took %.2f",
		len(all), median, all[len(all)*9/10], all[len(all)-1])
	if median > most {
		t.Errorf("the median of the time from session to direct is %.2f round trips, want %.0f at most", median, most)
	}
}

// table is for docs/nat.md.
func table(cells [][]cell) string {
	var b strings.Builder
	b.WriteString("| |")
	for _, column := range natTypes {
		b.WriteString(" " + column.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(natTypes)) + "\n")
	for i, row := range natTypes {
		b.WriteString("| **" + row.name + "** |")
		for j := range natTypes {
			if j < i {
				b.WriteString(" |")
				continue
			}
			b.WriteString(" " + cells[i][j].String() + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// updateDocs writes the table into docs/nat.md.
func updateDocs(t *testing.T, table string) {
	t.Helper()
	const file, from, to = "../docs/nat.md", "<!-- from TestPairsOfNATs -->\n", "<!-- to -->"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), from)
	_, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	seeds := cmp.Or(os.Getenv("WEFT_SEEDS"), "1")
	if _, err := strconv.Atoi(seeds); err != nil {
		t.Fatal(err)
	}
	text := before + from + "Runs of each pair: " + seeds + ".\n\n" + table + to + after
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
