package switchboard

import "sync/atomic"

// Counters are what a switch did so far. Every frame that it did not deliver,
// forward or hand elsewhere is in exactly one of the Dropped ones.
type Counters struct {
	Delivered      uint64 // data frames for this node
	Forwarded      uint64
	ForwardedBytes uint64
	Elsewhere      uint64 // handed to Forwarding.Elsewhere
	Notices        uint64 // sent
	NoticesLimited uint64 // not sent because of the limit of the port
	NoticesIn      uint64 // received for this node

	DroppedUnknownType uint64
	DroppedSource      uint64 // the source is not who is on the port
	DroppedNotForUs    uint64 // for another node, and this one does not forward
	DroppedDenied      uint64 // the port is not bound
	DroppedHopLimit    uint64
	DroppedUnknown     uint64 // the destination is not attached
	DroppedTooBig      uint64
	DroppedThrottled   uint64
	DroppedQueue       uint64 // the egress queue is full, or its link has ended
	DroppedLoop        uint64 // would go back where it came from
	DroppedNotice      uint64 // malformed, or from where notices do not count
	DroppedNoRoute     uint64 // own frames without a link
	DroppedSelf        uint64 // own frames to this node
}

type counters struct {
	delivered, forwarded, forwardedBytes, elsewhere atomic.Uint64
	notices, noticesLimited, noticesIn              atomic.Uint64
	unknownType, wrongSource, notForUs, denied      atomic.Uint64
	hopLimit, unknown, tooBig, throttled, queueFull atomic.Uint64
	loop, badNotice, noRoute, toSelf                atomic.Uint64
}

// Counters returns a snapshot, not taken at one instant.
func (s *Switch) Counters() Counters {
	c := &s.count
	return Counters{
		Delivered: c.delivered.Load(), Forwarded: c.forwarded.Load(),
		ForwardedBytes: c.forwardedBytes.Load(), Elsewhere: c.elsewhere.Load(),
		Notices: c.notices.Load(), NoticesLimited: c.noticesLimited.Load(), NoticesIn: c.noticesIn.Load(),
		DroppedUnknownType: c.unknownType.Load(), DroppedSource: c.wrongSource.Load(),
		DroppedNotForUs: c.notForUs.Load(), DroppedDenied: c.denied.Load(),
		DroppedHopLimit: c.hopLimit.Load(), DroppedUnknown: c.unknown.Load(),
		DroppedTooBig: c.tooBig.Load(), DroppedThrottled: c.throttled.Load(),
		DroppedQueue: c.queueFull.Load(), DroppedLoop: c.loop.Load(),
		DroppedNotice: c.badNotice.Load(), DroppedNoRoute: c.noRoute.Load(), DroppedSelf: c.toSelf.Load(),
	}
}

// PortCounters are what a switch did for one port so far; those of the link
// are in [link.Counters].
type PortCounters struct {
	ForwardedFrom uint64 // frames that came in here and went on
	ForwardedTo   uint64 // frames that went out here for others
	Throttled     uint64 // frames that came in here and were over the limits
}

type portCounters struct{ forwardedFrom, forwardedTo, throttled atomic.Uint64 }

// Counters returns a snapshot.
func (p *Port) Counters() PortCounters {
	return PortCounters{p.count.forwardedFrom.Load(), p.count.forwardedTo.Load(), p.count.throttled.Load()}
}
