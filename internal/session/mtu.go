package session

import (
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/recovery"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// minMTUWait and maxMTUWait bound how long a session keeps to small
	// packets after the path swallowed large ones.
	minMTUWait = 10 * time.Second
	maxMTUWait = 10 * time.Minute
	// mtuTries is how many packets of one size may get lost before the size
	// counts as too large (MAX_PROBES of RFC 8899).
	mtuTries = 3
	// mtuRaise is when larger packets are tried again than were found to get
	// through (PMTU_RAISE_TIMER).
	mtuRaise = 10 * time.Minute
	// mtuGrain is what is not worth another try.
	mtuGrain = 32
)

// mtuLadder is the sizes of packets that are tried first: some tunnels,
// Ethernet below IPv6 and IPv4, jumbo frames, and the largest UDP datagram.
// Each is what remains of it below the headers of IP, UDP and the link frame.
var mtuLadder = [...]int{1400, 1432, 1452, 8952, 65487}

// An mtuSearch looks for the largest packet that one direct path carries
// (RFC 8899). Sizes are proven by answers to challenges of that size.
type mtuSearch struct {
	good  int // largest size that got through
	bad   int // smallest size that does not; 0: none known
	size  int // being tried; 0: none
	tries int // of size
	next  time.Time
	wait  time.Duration // after a black hole
	found bool          // the search has ended
}

// start begins a search.
func (m *mtuSearch) start(now time.Time) {
	m.good, m.bad, m.size, m.next, m.found = max(m.good, wire.MinPacket), 0, 0, now, false
}

// step returns the size to be tried now; 0: none. An answer may take wait.
func (m *mtuSearch) step(now time.Time, wait time.Duration) int {
	if m.next.IsZero() || now.Before(m.next) {
		return 0
	}
	if m.size != 0 && m.tries >= mtuTries {
		m.bad, m.size = m.size, 0
	}
	if m.found {
		m.bad, m.found = 0, false
	}
	if m.size == 0 {
		m.size, m.tries = m.candidate(), 0
	}
	if m.size == 0 {
		m.found, m.next = true, now.Add(mtuRaise)
		return 0
	}
	m.tries++
	m.next = now.Add(wait)
	return m.size
}

// candidate is the size to be tried next; 0: the largest is found.
func (m *mtuSearch) candidate() int {
	for _, size := range mtuLadder {
		if size > m.good && (m.bad == 0 || size < m.bad) {
			return size
		}
	}
	if m.bad == 0 || m.bad-m.good <= max(mtuGrain, m.good/mtuGrain) {
		return 0
	}
	return (m.good + m.bad) / 2
}

// answered takes note that a size got through, and reports whether none as
// large did before.
func (m *mtuSearch) answered(now time.Time, size int) bool {
	if size <= m.good {
		return false
	}
	m.good = size
	if m.bad <= size {
		m.bad = 0
	}
	if m.size <= size {
		m.size, m.next = 0, now
	}
	return true
}

// blackHole goes back to packets that every path carries, and begins anew
// after a while.
func (m *mtuSearch) blackHole(now time.Time) {
	m.wait = min(max(2*m.wait, minMTUWait), maxMTUWait)
	m.good, m.bad, m.size, m.found = wire.MinPacket, 0, 0, false
	m.next = now.Add(m.wait)
}

// startMTU is the size of packets with which the path is used.
func (d *pathEntry) startMTU(now time.Time) int {
	if d.mtu.good == 0 {
		d.mtu.start(now)
	}
	return d.mtu.good
}

// stepMTU looks for larger packets on the direct path in use.
func (s *Session) stepMTU(now time.Time) {
	d := s.paths.active
	if d == nil || d.state != PathValidated {
		return
	}
	if d.via.MaxPacket() < s.mtu && s.mtu > wire.MinPacket { // the system refused such packets
		s.shrink(now, d)
	}
	if size := d.mtu.step(now, s.answerTime(d)); size > 0 {
		s.ask(now, d, size)
	}
}

// mtuAnswered handles the answer to a challenge of size bytes.
func (s *Session) mtuAnswered(now time.Time, d *pathEntry, size int) {
	if !d.mtu.answered(now, size) {
		return
	}
	d.via.SetMaxPacket(size)
	if d == s.paths.active {
		s.setMTU(size)
	}
}

// suspectSize is called when a path in use is doubted. If it was a little
// before, and has answered challenges since, but no large packet was
// acknowledged, then it swallows those.
func (s *Session) suspectSize(now time.Time, d *pathEntry) {
	if d != s.paths.active {
		return
	}
	acked := s.det.Counts().LargeAcked
	if now.Sub(d.doubted) < minMTUWait && acked == d.acked && s.mtu > wire.MinPacket {
		s.shrink(now, d)
	}
	d.doubted, d.acked = now, acked
}

// shrink goes back to packets that every path carries.
func (s *Session) shrink(now time.Time, d *pathEntry) {
	d.mtu.blackHole(now)
	d.via.SetMaxPacket(wire.MinPacket)
	s.setMTU(wire.MinPacket)
}

// setMTU changes the size of packets.
func (s *Session) setMTU(n int) {
	s.mtu = min(max(n, wire.MinPacket), frame.MaxPacket)
	s.det.SetMaxPacket(s.mtu)
	s.maxDatagram.Store(int64(s.mtu))
}

// packetLimit is the size of the next packet at most. The second probe
// timeout in a row may mean that the path swallows large packets.
func (s *Session) packetLimit() int {
	if s.probes[wire.SpaceApp] > 0 && s.det.PTOCount() >= 2 {
		return wire.MinPacket
	}
	return s.mtu
}

// checkBlackHole falls back to the smallest packets when the path swallows
// large ones (RFC 8899 section 4.3), and tries large ones again after a while.
func (s *Session) checkBlackHole(now time.Time) {
	t := &s.paths
	hole := s.mtu > wire.MinPacket && s.det.LargeLost() >= recovery.BlackHoleLosses
	switch {
	case hole && t.active != nil:
		s.shrink(now, t.active)
	case t.active != nil:
	case hole:
		t.mtuWait = min(max(2*t.mtuWait, minMTUWait), maxMTUWait)
		t.mtuRetry = now.Add(t.mtuWait)
		s.setMTU(wire.MinPacket)
	case !t.mtuRetry.IsZero() && now.After(t.mtuRetry):
		t.mtuRetry = time.Time{}
		s.setMTU(t.route.MaxPacket())
	}
}
