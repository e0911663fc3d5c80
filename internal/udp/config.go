package udp

import (
	"cmp"
	"net/netip"
	"sync/atomic"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// Sizes of datagrams and packets, in bytes.
const (
	// MaxDatagram is the largest UDP payload over IPv4.
	MaxDatagram = 65535 - 20 - 8
	// MaxPacket is the largest packet whose frame fits into a datagram.
	MaxPacket = MaxDatagram - frame.HeaderLen
	// BasePacket is the packet that each path carries (wire.MinPacket). With
	// headers it fits into 1280 bytes, the smallest MTU of IPv6.
	BasePacket = 1200
)

// Config configures a [Socket]. Zero values are the defaults.
type Config struct {
	// Addr is the local address. Without an IP address: all addresses of both
	// families. Port 0: one that the kernel chooses.
	Addr netip.AddrPort
	// Conn takes the place of the kernel's sockets, for addresses of both
	// families; the socket owns it. Nil: sockets are opened at Addr.
	Conn PacketConn
	// NoSegments turns off that the kernel cuts and joins datagrams (GSO and
	// GRO), for systems where that goes wrong.
	NoSegments bool

	// Self is the source of the frames that flows send. Zero: it stays as it is.
	Self identity.NodeID
	// OnFrame takes each frame that arrives, with the flow that it came on,
	// and owns it. It is called from a reader, so it must neither block nor
	// call Close. Required.
	OnFrame func(fl *Flow, f *frame.Frame)
	// OnOther is given each datagram that is not a frame. It is called like
	// OnFrame; b is valid until it returns. Nil: they are dropped and counted.
	OnOther func(from netip.AddrPort, b []byte)
	// OnTooBig is told that the system refused a packet of n bytes because it
	// exceeds the MTU. It is called from a writer, so it must neither block
	// nor call Close. May be nil.
	OnTooBig func(fl *Flow, n int)

	// QueueFrames and QueueBytes bound what waits to be written, FlowFrames and
	// FlowBytes what of that may be of one flow. At least one frame of a flow is
	// always taken while the socket has room. Bytes are those of the buffers
	// that hold the frames. Zero: see the constants.
	QueueFrames, QueueBytes int
	FlowFrames, FlowBytes   int
	// MaxKept bounds the flows that are kept, MaxHeard those that the socket
	// remembers only because something came from there. Zero: see the constants.
	MaxKept, MaxHeard int
	// ReadBuffer and WriteBuffer are the kernel's buffers, in bytes; it may
	// give less. Zero: see the constants.
	ReadBuffer, WriteBuffer int
}

// The defaults of [Config].
const (
	// DefaultQueueFrames and DefaultQueueBytes leave room for eight flows with
	// full queues.
	DefaultQueueFrames = 8 * DefaultFlowFrames
	DefaultQueueBytes  = 8 * DefaultFlowBytes
	// DefaultFlowFrames is 16 times what one system call takes of a flow.
	DefaultFlowFrames = 1024
	// DefaultFlowBytes is 1024 packets of 1200 bytes in their buffers.
	DefaultFlowBytes = DefaultFlowFrames * 2048
	// DefaultMaxKept is some flows for each of thousands of peers.
	DefaultMaxKept = 16384
	// DefaultMaxHeard is small: who matters is kept soon.
	DefaultMaxHeard = 1024
	// DefaultReadBuffer takes 20 ms of a gigabit while the reader does not run.
	DefaultReadBuffer = 4 << 20
	// DefaultWriteBuffer is less: more would only make the queue longer that
	// congestion control does not see.
	DefaultWriteBuffer = 1 << 20
)

func (c Config) withDefaults() Config {
	c.QueueFrames = cmp.Or(c.QueueFrames, DefaultQueueFrames)
	c.QueueBytes = cmp.Or(c.QueueBytes, DefaultQueueBytes)
	c.FlowFrames = cmp.Or(c.FlowFrames, DefaultFlowFrames)
	c.FlowBytes = cmp.Or(c.FlowBytes, DefaultFlowBytes)
	c.MaxKept = cmp.Or(c.MaxKept, DefaultMaxKept)
	c.MaxHeard = cmp.Or(c.MaxHeard, DefaultMaxHeard)
	c.ReadBuffer = cmp.Or(c.ReadBuffer, DefaultReadBuffer)
	c.WriteBuffer = cmp.Or(c.WriteBuffer, DefaultWriteBuffer)
	return c
}

// Counters are what a socket did so far. Frames that no counter of drops names
// were handed to the kernel.
type Counters struct {
	FramesIn, FramesOut uint64
	BytesIn, BytesOut   uint64 // UDP payload of all datagrams
	OtherIn, OtherOut   uint64 // datagrams that are not frames
	Reads, Writes       uint64 // system calls that moved something, where the kernel is below
	Segmented           uint64 // writes of several datagrams as one

	DroppedMalformed   uint64 // datagrams that look like a frame and are none, or are empty
	DroppedOther       uint64 // datagrams for which there is no OnOther
	DroppedQueue       uint64 // refused because the flow's or the socket's queue was full
	DroppedClosed      uint64 // refused or thrown away because the socket was closed
	DroppedTooBig      uint64 // larger than a datagram can be, or than the MTU
	DroppedUnvalidated uint64 // more than three times what came from there
	DroppedUnreachable uint64 // no socket for that kind of address
	DroppedFailed      uint64 // the system refused to send for another reason; see Flow.Err
	ReadErrors         uint64
	SegmentsRefused    uint64 // times that the kernel would not cut datagrams; then they are sent one by one
	FlowsEvicted       uint64 // heard flows that made room for others
	FlowsNotKept       uint64 // flows beyond MaxKept
	Flows              int    // that the socket knows
	QueuedFrames       int    // waiting or being written, all datagrams
	QueuedBytes        int
}

type counters struct {
	framesIn, framesOut, bytesIn, bytesOut, otherIn, otherOut atomic.Uint64
	reads, writes, segmented                                  atomic.Uint64
	malformed, other, queue, closed, tooBig, unvalidated      atomic.Uint64
	unreachable, failed, readErrors, refused                  atomic.Uint64
	evicted, notKept                                          atomic.Uint64
}

// Counters returns a snapshot, not taken at one instant.
func (s *Socket) Counters() Counters {
	c := &s.count
	out := Counters{
		FramesIn: c.framesIn.Load(), FramesOut: c.framesOut.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		OtherIn: c.otherIn.Load(), OtherOut: c.otherOut.Load(),
		Reads: c.reads.Load(), Writes: c.writes.Load(), Segmented: c.segmented.Load(),
		DroppedMalformed:   c.malformed.Load(),
		DroppedOther:       c.other.Load(),
		DroppedQueue:       c.queue.Load(),
		DroppedClosed:      c.closed.Load(),
		DroppedTooBig:      c.tooBig.Load(),
		DroppedUnvalidated: c.unvalidated.Load(),
		DroppedUnreachable: c.unreachable.Load(),
		DroppedFailed:      c.failed.Load(),
		ReadErrors:         c.readErrors.Load(),
		SegmentsRefused:    c.refused.Load(),
		FlowsEvicted:       c.evicted.Load(),
		FlowsNotKept:       c.notKept.Load(),
		Flows:              s.flows.len(),
	}
	for _, l := range s.lanes {
		frames, bytes := l.queued()
		out.QueuedFrames += frames
		out.QueuedBytes += bytes
	}
	return out
}
