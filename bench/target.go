package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A target is what weft is to reach, as a ratio to others in the same round or as
// a bound by itself.
type target struct {
	what    string
	m       int
	who     string
	others  []string // the best of these; none: the value itself counts
	want    float64
	atLeast bool
}

// Names that targets share.
var (
	libp2pDirect = []string{"libp2p-tls", "libp2p-noise", "libp2p-quic"}
	libp2pRelay  = []string{"libp2p-relay-tls", "libp2p-relay-noise", "libp2p-relay-quic"}
)

// targets lists what the table of targets shows, in its order.
var targets = []target{
	{what: "one stream, a link over TCP", m: bulk, who: "weft", others: libp2pDirect, want: 1.3, atLeast: true},
	{what: "one stream, a link over TCP", m: bulk, who: "weft", others: []string{"tls"}, want: 1.15, atLeast: true},
	{what: "16 streams, a link over TCP", m: parallel, who: "weft", others: libp2pDirect, want: 1.2, atLeast: true},
	{what: "one stream through one relay", m: bulk, who: "weft-relay", others: libp2pRelay, want: 4, atLeast: true},
	{what: "one stream over UDP", m: bulk, who: "weft-udp", others: []string{"quic-go"}, want: 2, atLeast: true},
	{what: "one stream over UDP", m: bulk, who: "weft-udp", others: []string{"libp2p-quic"}, want: 1.5, atLeast: true},
	{what: "round trip of 64 bytes, median", m: rttP50, who: "weft", others: libp2pDirect, want: 0.85},
	{what: "round trip of 64 bytes, 99th percentile", m: rttP99, who: "weft", others: libp2pDirect, want: 0.85},
	{what: "open a stream, one byte echoed", m: openP50, who: "weft", others: libp2pDirect, want: 0.7},
	{what: "open a stream, one byte echoed, without asking first", m: openP50, who: "weft-early", others: libp2pDirect, want: 0.7},
	{what: "first dial of nodes that are up, direct", m: cold, who: "weft", others: libp2pDirect, want: 0.65},
	{what: "first dial of nodes that are up, relayed", m: cold, who: "weft-relay", others: libp2pRelay, want: 0.45},
	{what: "small requests over HTTP/2, 64 callers", m: requests, who: "weft", others: libp2pDirect, want: 1.05, atLeast: true},
	{what: "small requests over HTTP/2, 64 callers", m: requests, who: "weft", others: []string{"tcp"}, want: 1, atLeast: true},
	{what: "heap per idle stream, both ends", m: idleHeap, who: "weft", want: 2500},
	{what: "goroutines per idle stream, both ends", m: idleGo, who: "weft", want: 0},
	{what: "heap per idle session, both ends", m: sessionHeap, who: "weft-relay", want: 48_000},
	{what: "processor time, a link over TCP", m: bulkCPU, who: "weft", want: 1.2},
	{what: "processor time, through one relay", m: bulkCPU, who: "weft-relay", want: 2},
}

// A verdict is a target beside what was reached.
type verdict struct {
	target, reached string
	met             string // yes, no, or - if it was not measured
}

// judge compares the rows with a target.
func judge(t target, rows []row) verdict {
	sign, unit := "≤", metrics[t.m].unit
	if t.atLeast {
		sign = "≥"
	}
	reached := math.NaN()
	ours, ok := find(rows, t.who)
	switch best, found := bestOf(rows, t); {
	case len(t.others) == 0:
		if unit == "1" {
			unit = ""
		}
		if ok && !unmeasured(ours, t.m) {
			reached = ours.median[t.m]
		}
	default:
		unit = "× " + strings.Join(t.others, ", ")
		if len(t.others) > 1 {
			unit = "× the best of " + strings.Join(t.others, ", ")
		}
		if ok && found {
			reached = ratio(ours, best, t.m)
		}
	}
	v := verdict{target: fmt.Sprintf("%s %s %s", sign, number(t.want), unit), reached: number(reached), met: "no"}
	switch {
	case math.IsNaN(reached):
		v.met = "-"
	case t.atLeast && reached >= t.want, !t.atLeast && reached <= t.want:
		v.met = "yes"
	}
	v.target = strings.TrimSpace(v.target)
	return v
}

// unmeasured says whether no round has a value of m that could be: only counts of
// goroutines may be 0.
func unmeasured(r row, m int) bool { return r.median[m] == 0 && m != idleGo }

// bestOf returns the row that has the best median of those that t is compared
// with.
func bestOf(rows []row, t target) (best row, found bool) {
	for _, r := range rows {
		if !slices.Contains(t.others, r.name) || unmeasured(r, t.m) {
			continue
		}
		if better := r.median[t.m] > best.median[t.m]; !found || better == t.atLeast {
			best, found = r, true
		}
	}
	return best, found
}
