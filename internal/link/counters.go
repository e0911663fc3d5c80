package link

import (
	"sync/atomic"
	"time"
)

// Counters are what a link did so far.
type Counters struct {
	FramesIn, FramesOut uint64        // data and notices, without pings
	BytesIn, BytesOut   uint64        // frames with their headers, pings included
	DroppedQueue        uint64        // frames refused because the send queue was full
	DroppedClosed       uint64        // frames refused or thrown away because the link was closed
	DroppedMalformed    uint64        // pings with an overlong packet
	Pings, Pongs        uint64        // sent, and answers received
	RTT                 time.Duration // of the last answered ping; zero before the first
	QueuedFrames        int           // waiting or being written
	QueuedBytes         int
}

type counters struct {
	framesIn, framesOut, bytesIn, bytesOut        atomic.Uint64
	droppedQueue, droppedClosed, droppedMalformed atomic.Uint64
	pings, pongs                                  atomic.Uint64
	rtt                                           atomic.Int64
}

// Counters returns a snapshot, not taken at one instant.
func (l *Link) Counters() Counters {
	c := &l.count
	return Counters{
		FramesIn: c.framesIn.Load(), FramesOut: c.framesOut.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		DroppedQueue: c.droppedQueue.Load(), DroppedClosed: c.droppedClosed.Load(),
		DroppedMalformed: c.droppedMalformed.Load(),
		Pings:            c.pings.Load(), Pongs: c.pongs.Load(),
		RTT:          time.Duration(c.rtt.Load()),
		QueuedFrames: int(l.queuedFrames.Load()),
		QueuedBytes:  int(l.queuedBytes.Load()),
	}
}
