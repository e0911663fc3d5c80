package uplink

import (
	"cmp"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// samples is how many round trips of a relay count; the least of them does,
// because a queue on the way says nothing about the distance.
const samples = 4

// A place is a relay that the node knows, in use or not. The set's mu guards it.
type place struct {
	addrs      []string // configured: the one; learned: best first
	configured bool
	id         identity.NodeID // who is there: as proven, else as told; 0 while unknown
	seen       time.Time       // learned: when it was told of last

	failures int       // attempts and links in a row that failed
	tries    int       // of these, since it is in use
	retry    time.Time // not to be begun anew before
	rtts     []time.Duration
	measured time.Time // when the newest of rtts is from

	uplink   *Uplink // while in use
	began    time.Time
	stopping bool   // uplink is being closed
	useless  bool   // learned, and no relay: it is forgotten once stopped
	last     Status // when it was in use last
}

// addr names the place for people.
func (p *place) addr() string { return p.addrs[0] }

// host returns the host of the place's first address.
func (p *place) host() string {
	a, err := link.ParseAddr(p.addr())
	if err != nil {
		return p.addr()
	}
	return a.Host
}

// rtt returns the round trip, false while it is unknown.
func (p *place) rtt() (time.Duration, bool) {
	if len(p.rtts) == 0 {
		return 0, false
	}
	return slices.Min(p.rtts), true
}

// sample notes a round trip.
func (p *place) sample(now time.Time, rtt time.Duration) {
	p.rtts = append(p.rtts[max(0, len(p.rtts)-samples+1):], rtt)
	p.measured = now
}

// failed notes that the place was of no use.
func (p *place) failed(now time.Time, least, most time.Duration) {
	wait := least
	for range p.failures {
		if wait >= most {
			break
		}
		wait *= 2
	}
	p.failures++
	p.tries++
	p.retry = now.Add(min(wait, most))
}

// A relay must be nearer by both of these to be worth a move.
const (
	nearerShare = 5 // a fifth
	nearerBy    = 5 * time.Millisecond
)

// nearer reports whether a is so much nearer than b that it is worth a move.
func nearer(a, b *place) bool {
	da, okA := a.rtt()
	db, okB := b.rtt()
	return okA && okB && db-da > nearerBy && da < db-db/nearerShare
}

// compareRTT orders by round trip, unknown last.
func compareRTT(a, b *place) int {
	da, okA := a.rtt()
	db, okB := b.rtt()
	switch {
	case okA && okB:
		return cmp.Compare(da, db)
	case okA:
		return -1
	case okB:
		return 1
	}
	return 0
}

// compareBool puts true first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
