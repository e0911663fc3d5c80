package overlay

import (
	"net"
	"sync"
	"time"
)

// MaxRecentDials is how many dials a node remembers: enough to see what went wrong just
// now, and some 10 KB.
const MaxRecentDials = 64

// A DialReport tells how one dial went, by [Node.Dial], [Node.DialContext] or a [Dialer].
type DialReport struct {
	Time     time.Time     // when it began
	Duration time.Duration // until it returned
	Addr     string        // that was dialled
	Peer     NodeID        // who was reached; zero if the dial failed
	// Path is the way that packets to Peer took when the dial returned, in words as in
	// [PeerStatus].
	Path string
	// Attempts are those that failed, with why; empty if the first succeeded.
	Attempts []Attempt
	// Err is why the dial failed, a *[DialError] with Attempts; nil if it did not.
	Err error
}

// dialReports remembers the last dials. Its zero value is empty. Noting a dial allocates
// nothing.
type dialReports struct {
	mu   sync.Mutex
	ring [MaxRecentDials]DialReport
	n    int // how many were noted so far
}

func (d *dialReports) note(r DialReport) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ring[d.n%len(d.ring)] = r
	d.n++
}

// recent returns what is remembered, newest first.
func (d *dialReports) recent() []DialReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []DialReport
	for i := d.n - 1; i >= max(0, d.n-len(d.ring)); i-- {
		all = append(all, d.ring[i%len(d.ring)])
	}
	return all
}

// dialled notes a dial that has ended, with conn c or because of failed.
func (n *Node) dialled(addr string, began time.Time, c net.Conn, path string, failed *DialError) {
	r := DialReport{Time: began, Duration: time.Since(began), Addr: addr, Path: path}
	r.Attempts = failed.Attempts
	if c == nil {
		r.Path, r.Err = "", failed
	} else if peer, ok := PeerOf(c); ok {
		r.Peer = peer.ID
	}
	n.dials.note(r)
}
