package recovery

import "time"

// Windows, in bytes.
const (
	minWindowPackets = 2        // RFC 9002 section 7.2
	maxWindow        = 64 << 20 // 10 Gbit/s at 50 ms

	// An Ethernet frame, jumbo included, never exceeds this. A path that takes
	// larger packets is made of stream-like links.
	largestEthernet = 9216
	// streamLinkWindow is the initial window of such a path. TCP below has its
	// own congestion control, and ten packets' worth as TCP counts them
	// would be a fraction of one packet.
	streamLinkWindow = 512 << 10
	// queueWindow is the window from which on a standing queue of queueDelay
	// and a quarter of the round trip stops its growth on such a path.
	queueWindow = 3 << 20
	queueDelay  = time.Millisecond
)

// A Controller is a congestion controller: it sizes the window. The Detector
// does everything else, recovery periods (RFC 9002 section 7.3.2) included: it
// reports one Congestion for each, and no Acked for what was sent before it began.
type Controller interface {
	// Window is how many bytes may be in flight.
	Window() int
	// SlowStart reports whether the window grows exponentially.
	SlowStart() bool
	// Acked tells of newly acknowledged packets.
	Acked(a Ack)
	// Congestion tells of the first loss of a recovery period.
	Congestion(now time.Time)
	// PersistentCongestion tells that nothing came through for a long time (section 7.6).
	PersistentCongestion()
	// Undo takes the latest Congestion back: nothing was lost, only late.
	Undo()
	// SetMaxPacket changes the size of packets, in bytes.
	SetMaxPacket(n int)
}

// A Modeller is a Controller that models the path from what becomes of every
// packet and paces by that model. Its Acked is called for each ACK frame that
// newly acknowledges packets of the path, recovery period or not, after
// PacketAcked and PacketLost for each packet that the frame decides.
type Modeller interface {
	Controller
	// PacingRate is in bytes a second; zero: not known yet.
	PacingRate() float64
	// Burst is how many bytes may always leave at once.
	Burst() int
	// PacketSent tells of a packet that counts as in flight; inFlight is without it.
	PacketSent(now time.Time, p *Packet, inFlight int)
	PacketAcked(now time.Time, p *Packet)
	// PacketLost follows the Congestion that p begins, if it does. inFlight is without p.
	PacketLost(now time.Time, p *Packet, inFlight int)
	// PacketLate tells that a packet of size bytes was not lost, but late.
	PacketLate(size int)
	// AppLimited tells that there is nothing to send.
	AppLimited(inFlight int)
	// WindowFull tells that the window is what keeps the sender from sending.
	WindowFull()
}

// An Ack is what a Controller learns from one ACK frame.
type Ack struct {
	Now         time.Time
	Sent        time.Time     // when the last of the packets was sent
	Bytes       int           // their sizes together
	RTT         time.Duration // the frame's RTT sample without the peer's delay; zero: none
	SmoothedRTT time.Duration
	MinRTT      time.Duration // the lowest sample of the path
	InFlight    int           // bytes, after the frame
	// AppLimited: the window was not what limited the sender, so it must not
	// grow (RFC 9002 section 7.8).
	AppLimited bool
}

// forPath returns the controller that suits a path: TCP below packets beyond
// Ethernet's repairs and paces by itself, and hides from BBR what it models.
func forPath(maxPacket int) Controller {
	if maxPacket > largestEthernet {
		return NewCUBIC(maxPacket)
	}
	return NewBBR(maxPacket)
}

// initialWindow follows RFC 9002 section 7.2 (ten packets, about 14 kB), but
// for paths of stream-like links it is 512 KiB.
func initialWindow(maxPacket int) int {
	if maxPacket > largestEthernet {
		return max(streamLinkWindow, minWindowPackets*maxPacket)
	}
	return min(10*maxPacket, max(14720, minWindowPackets*maxPacket))
}

// clampWindow keeps a window within its limits.
func clampWindow(w float64, maxPacket int) float64 {
	return min(max(w, float64(minWindowPackets*maxPacket)), maxWindow)
}
