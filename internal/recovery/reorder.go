package recovery

import "time"

// Reordering thresholds, RFC 9002 section 6.1, and how far they may grow.
const (
	packetThreshold    = 3   // packets acknowledged after one that is therefore lost
	maxPacketThreshold = 128 // also bounds the work an ACK makes beyond what it newly says
	timeThreshold      = 9   // eighths of a round trip
	maxTimeThreshold   = 16

	// calmEpisodes is how many congestion events without a spurious loss
	// bring the thresholds back, as in RFC 8985 section 6.2.
	calmEpisodes = 16
	// maxLostHistory bounds how many lost packets are remembered to recognise late ones.
	maxLostHistory = 64
)

// A tolerance is how much reordering is not yet taken for loss.
type tolerance struct {
	packets uint64 // packet threshold
	eighths int64  // time threshold in eighths of a round trip
	calm    int    // congestion events since a loss was last spurious
}

func newTolerance() tolerance {
	return tolerance{packets: packetThreshold, eighths: timeThreshold}
}

func (t *tolerance) delay(rtt time.Duration) time.Duration {
	return max(time.Duration(int64(rtt)*t.eighths/8), granularity)
}

// late takes note that a packet was acknowledged after all. distance is how
// many numbers further the acknowledgements were by then.
func (t *tolerance) late(distance uint64, byTime bool) {
	t.calm = 0
	if byTime {
		t.eighths = min(t.eighths+1, maxTimeThreshold)
		return
	}
	t.packets = min(max(t.packets, distance)+1, maxPacketThreshold)
}

func (t *tolerance) congested() {
	if t.calm++; t.calm >= calmEpisodes {
		*t = newTolerance()
	}
}

// A lostPacket is what remains of a packet on the present path after its loss was declared.
type lostPacket struct {
	number  uint64
	size    int
	sent    time.Time
	episode uint64 // Stats.Congestions then
	byTime  bool
}

// A lostHistory is the latest losses of a space, in the order of their numbers.
type lostHistory []lostPacket

func (l *lostHistory) add(p lostPacket) {
	if *l == nil {
		*l = make(lostHistory, 0, maxLostHistory)
	}
	if len(*l) == maxLostHistory {
		*l = append((*l)[:0], (*l)[maxLostHistory/2:]...)
	}
	*l = append(*l, p)
}
