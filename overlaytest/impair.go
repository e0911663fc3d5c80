package overlaytest

import (
	"cmp"
	"errors"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// An Impairment says what one direction of a link does to the packets that are
// sent over it. The zero value delivers each at once.
type Impairment struct {
	Latency time.Duration // of each packet
	Jitter  time.Duration // at most this much more; it does not reorder

	// Bandwidth is in bytes a second. Senders wait for it as those of TCP do,
	// with up to 256 KiB on the way; of UDP, what finds as much in the queue is
	// lost. Zero: no limit.
	Bandwidth int

	// MTU is the largest IP packet that passes by UDP, in bytes. What is larger
	// vanishes, as where ICMP is blocked; above 1500 it does not leave the host.
	// Links are not concerned. Zero: 1500.
	MTU int

	// Probabilities, from 0 to 1. Loss is that a packet vanishes; 1 is a broken
	// wire, which nothing passes. Reorder is that it is held back so that later
	// ones overtake it, Duplicate that it arrives twice, Corrupt that one of
	// its bits is flipped.
	Loss, Reorder, Duplicate, Corrupt float64
}

func (i Impairment) check() error {
	if i.Latency < 0 || i.Jitter < 0 || i.Bandwidth < 0 || i.MTU < 0 {
		return errors.New("one of Latency, Jitter, Bandwidth and MTU is negative")
	}
	return cmp.Or(
		checkProbability("Loss", i.Loss), checkProbability("Reorder", i.Reorder),
		checkProbability("Duplicate", i.Duplicate), checkProbability("Corrupt", i.Corrupt),
	)
}

// simulated is i as the simulated network takes it.
func (i Impairment) simulated() simnet.Impairment {
	return simnet.Impairment{
		Delay: i.Latency, Jitter: i.Jitter,
		Rate: i.Bandwidth, Backpressure: true,
		Loss: i.Loss, Reorder: i.Reorder, Duplicate: i.Duplicate, Corrupt: i.Corrupt,
		Down: i.Loss >= 1,
	}
}

// headers is what IPv4 and UDP add to a datagram.
const headers = 28

// simulatedUDP is i for datagrams.
func (i Impairment) simulatedUDP() simnet.Impairment {
	s := i.simulated()
	if i.MTU > 0 {
		s.MaxPacket = max(i.MTU-headers, 1)
	}
	return s
}

// Impair changes what the link between two hosts is like, in both directions and
// at once: packets on their way arrive as they would have. That concerns the
// link that nodes make to relays, and the direct path if both hosts have UDP. A
// host need not exist yet.
func (l *Lab) Impair(a, b string, i Impairment) {
	l.t.Helper()
	l.ImpairOneWay(a, b, i)
	l.ImpairOneWay(b, a, i)
}

// ImpairOneWay is [Lab.Impair] for what from sends to to.
func (l *Lab) ImpairOneWay(from, to string, i Impairment) {
	l.t.Helper()
	if err := i.check(); err != nil {
		l.t.Fatalf("overlaytest: link from %q to %q: %v", from, to, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pairs[[2]string{from, to}] = i
	l.net.SetPair(from, to, i.simulated())
	l.impairUDPLocked([2]string{from, to}, i)
}

// ImpairAll is [Lab.Impair] for all links, those included that Impair was called
// for.
func (l *Lab) ImpairAll(i Impairment) {
	l.t.Helper()
	if err := i.check(); err != nil {
		l.t.Fatalf("overlaytest: links: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.net.SetDefault(i.simulated())
	l.udp.SetDefault(i.simulatedUDP())
	for pair := range l.pairs {
		l.pairs[pair] = i
		l.net.SetPair(pair[0], pair[1], i.simulated())
		l.impairUDPLocked(pair, i)
	}
}

// Kill ends the process on a host without a word. The other ends of its links
// notice at once, as when an operating system resets the connections of a dead
// process; but if the host is cut they do not, as when a machine loses power.
// Killing a dead process does nothing.
func (l *Lab) Kill(host string) {
	l.t.Helper()
	l.host(host).kill()
}
