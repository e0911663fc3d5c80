// Package top is a live view of nodes in a terminal. What is seen is a Model, which
// knows neither the terminal nor the clock; Run draws it.
package top

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A Node is a node at one moment. Its JSON is only ever added to.
type Node struct {
	ID    string    `json:"node"`
	Title string    `json:"title"` // of the node, in words
	Lines []string  `json:"lines"` // relays and the rest, in words
	Peers []Peer    `json:"peers"`
	At    time.Time `json:"at"`
}

// A Peer is a peer of the node at one moment.
type Peer struct {
	ID       string  `json:"node"`
	Name     string  `json:"name"` // or the ID
	Path     string  `json:"path"`
	RTT      float64 `json:"rtt_ms"`
	Streams  int     `json:"streams"`
	Received uint64  `json:"bytes_received"`
	Sent     uint64  `json:"bytes_sent"`
	Packets  uint64  `json:"packets_sent"`
	Lost     uint64  `json:"packets_lost"`
}

// A row is a peer and how fast it is.
type row struct {
	Peer
	in, out float64 // bytes a second
}

// A Model is what is seen. The zero value shows nothing, sorted by name. One goroutine
// uses it.
type Model struct {
	// Bytes and Trip write sizes and round trips in milliseconds for people.
	Bytes func(uint64) string
	Trip  func(ms float64) string

	nodes   []Node
	before  map[string]Node // by ID: what was there an update ago
	err     error
	chosen  string // ID of the node that is shown
	order   byte   // the key of the column that sorts
	reverse bool
	scroll  int // rows that are above
	done    bool
}

// Update tells what there is now. With an error, the old state stays, and the error is
// shown.
func (m *Model) Update(nodes []Node, err error) {
	m.err = err
	if err != nil {
		return
	}
	before := make(map[string]Node, len(m.nodes))
	for _, n := range m.nodes {
		before[n.ID] = n
	}
	m.before, m.nodes = before, nodes
	if m.index() < 0 && len(nodes) > 0 {
		m.chosen = nodes[0].ID
	}
}

// index is where the node is that is shown, or -1.
func (m *Model) index() int {
	return slices.IndexFunc(m.nodes, func(n Node) bool { return n.ID == m.chosen })
}

// Done reports whether somebody has seen enough.
func (m *Model) Done() bool { return m.done }

// columns are what rows are sorted by. Numbers are sorted from the largest on.
var columns = []struct {
	key     byte
	title   string
	width   int // 0: what is left
	compare func(a, b row) int
}{
	{'n', "PEER", 20, func(a, b row) int { return strings.Compare(a.Name, b.Name) }},
	{'p', "PATH", 0, func(a, b row) int { return strings.Compare(a.Path, b.Path) }},
	{'t', "TRIP", 9, func(a, b row) int { return cmp.Compare(b.RTT, a.RTT) }},
	{'l', "LOST", 7, func(a, b row) int { return cmp.Compare(b.lost(), a.lost()) }},
	{'i', "IN/S", 9, func(a, b row) int { return cmp.Compare(b.in, a.in) }},
	{'o', "OUT/S", 9, func(a, b row) int { return cmp.Compare(b.out, a.out) }},
	{'s', "STREAMS", 8, func(a, b row) int { return cmp.Compare(b.Streams, a.Streams) }},
}

func (r row) lost() float64 {
	if r.Packets == 0 {
		return 0
	}
	return float64(r.Lost) / float64(r.Packets)
}

// Key does what a key is for.
func (m *Model) Key(k Key) {
	switch k {
	case KeyQuit:
		m.done = true
	case KeyUp:
		m.scroll = max(m.scroll-1, 0)
	case KeyDown:
		m.scroll++
	case KeyLeft, KeyRight:
		if n := len(m.nodes); n > 0 {
			step := 1
			if k == KeyLeft {
				step = n - 1
			}
			m.chosen, m.scroll = m.nodes[(max(m.index(), 0)+step)%n].ID, 0
		}
	default:
		for _, c := range columns {
			if k == Key(c.key) {
				m.reverse = m.order == c.key && !m.reverse
				m.order = c.key
			}
		}
	}
}

// rows are the peers of a node, sorted.
func (m *Model) rows(n Node) []row {
	old := make(map[string]Peer)
	elapsed := 0.0
	if b, ok := m.before[n.ID]; ok {
		elapsed = n.At.Sub(b.At).Seconds()
		for _, p := range b.Peers {
			old[p.ID] = p
		}
	}
	rows := make([]row, 0, len(n.Peers))
	for _, p := range n.Peers {
		r := row{Peer: p}
		if b, ok := old[p.ID]; ok {
			r.in, r.out = perSecond(b.Received, p.Received, elapsed), perSecond(b.Sent, p.Sent, elapsed)
		}
		rows = append(rows, r)
	}
	by := columns[0].compare
	for _, c := range columns {
		if c.key == m.order {
			by = c.compare
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		if c := by(a, b); c != 0 {
			if m.reverse {
				return -c
			}
			return c
		}
		return strings.Compare(a.ID, b.ID) // so that rows stay where they are
	})
	return rows
}

// perSecond is a rate. A peer that has begun anew counts from 0.
func perSecond(before, now uint64, seconds float64) float64 {
	if seconds <= 0 || now < before {
		return 0
	}
	return float64(now-before) / seconds
}
