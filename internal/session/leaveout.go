package session

import "math/rand/v2"

const (
	// firstLeaveOut is how many 1-RTT packets are sent at most before the first number is
	// left out, and half of the most before the second: also short transfers meet one.
	firstLeaveOut = 64
	// maxLeaveOut is the most, in packets, between two numbers that are left out.
	maxLeaveOut = 1 << 16
)

// leaveOut chooses packet numbers that are not used. A peer cannot tell them from
// those of packets on their way: if it acknowledges what it has not got, to be sent
// more than the path carries, it soon hits one and loses the session (RFC 9000
// section 21.4). Each costs an acknowledgement sent at once, so they become rarer.
type leaveOut struct {
	at     uint64 // the next number to be left out; 0 before the first is chosen
	period uint64
}

// due reports whether number n is to be left out, and chooses the next if so.
func (l *leaveOut) due(n uint64) bool {
	if l.period == 0 {
		l.period = firstLeaveOut
		l.at = n + 1 + rand.Uint64N(l.period)
	}
	if n < l.at {
		return false
	}
	l.period = min(2*l.period, maxLeaveOut)
	l.at = n + 1 + rand.Uint64N(l.period)
	return true
}
