package udp

import (
	"net/netip"
	"sync/atomic"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// amplification is how many times what came from an address may be sent there
// before it is validated (RFC 9000 section 8).
const amplification = 3

// A Flow is the datagrams between the socket and one remote address. It has the
// methods of a session's path. All methods are safe for concurrent use, and
// Send and Ready never block. Frames that it takes are sent in order.
type Flow struct {
	s    *Socket
	lane *lane // nil: the system cannot send to such an address
	addr netip.AddrPort

	id        atomic.Uint64
	maxPacket atomic.Int32
	validated atomic.Bool
	credit    atomic.Int64 // bytes that may be sent before validation
	bytesIn   atomic.Uint64
	bytesOut  atomic.Uint64
	err       atomic.Pointer[error]

	// Guarded by table.mu.
	users  int
	listed bool // in table.flows
	inRing bool

	// Guarded by lane.mu.
	queue   fifo
	frames  int // waiting or being written
	bytes   int // that their buffers have
	active  bool
	next    *Flow
	waiters map[Waker]struct{}
}

func (s *Socket) newFlow(addr netip.AddrPort) *Flow {
	fl := &Flow{s: s, addr: addr, lane: s.laneFor(addr.Addr())}
	fl.maxPacket.Store(BasePacket)
	return fl
}

// Addr returns the remote address, an IPv4 one as such and a zone as a number.
func (fl *Flow) Addr() netip.AddrPort { return fl.addr }

// Ready reports whether the flow's queue and the socket's are less than half
// full. If they are not, w is woken once, when it is worth asking again, or when
// the socket is closed. A closed socket is not ready and wakes nobody.
func (fl *Flow) Ready(w Waker) bool { return fl.lane != nil && fl.lane.ready(fl, w) }

// Send takes ownership of f, sets its source if the socket has one to set, and
// queues it. An error says why f was dropped. It does not look at MaxPacket, so
// that larger packets can be tried.
func (fl *Flow) Send(f *frame.Frame) error {
	n := len(f.Packet())
	if n > MaxPacket {
		fl.s.count.tooBig.Add(1)
		f.Release()
		return ErrTooBig
	}
	if self := fl.s.cfg.Self; self != 0 {
		f.SetSrc(self)
	}
	if !fl.validated.Load() {
		size := int64(len(f.Bytes()))
		if fl.credit.Add(-size) < 0 {
			fl.credit.Add(size)
			fl.s.count.unvalidated.Add(1)
			f.Release()
			return ErrUnvalidated
		}
	}
	return fl.push(item{f: f})
}

func (fl *Flow) push(it item) error {
	if fl.lane == nil {
		fl.s.count.unreachable.Add(1)
		it.f.Release()
		return ErrNoFamily
	}
	return fl.lane.push(fl, it)
}

// heard accounts for n bytes that came from the address.
func (fl *Flow) heard(n int) {
	fl.bytesIn.Add(uint64(n))
	if !fl.validated.Load() {
		fl.credit.Add(int64(n) * amplification)
	}
}

// Validated says that the peer has proven to receive what is sent to the
// address, so that it may be sent any amount.
func (fl *Flow) Validated() { fl.validated.Store(true) }

// MaxPacket is the largest packet known to get through, in bytes. It is
// BasePacket at first.
func (fl *Flow) MaxPacket() int { return int(fl.maxPacket.Load()) }

// SetMaxPacket changes MaxPacket to what path-MTU discovery has found, at least
// BasePacket. When the system refuses a packet of at most that size, it becomes
// BasePacket again.
func (fl *Flow) SetMaxPacket(n int) {
	fl.maxPacket.Store(int32(min(max(n, BasePacket), MaxPacket)))
}

// tooBig handles that the system refused a datagram.
func (fl *Flow) tooBig(it item) {
	fl.s.count.tooBig.Add(1)
	if it.other {
		return
	}
	n := len(it.f.Packet())
	for cur := fl.maxPacket.Load(); int(cur) >= n && cur > BasePacket; cur = fl.maxPacket.Load() {
		if fl.maxPacket.CompareAndSwap(cur, BasePacket) {
			break
		}
	}
	if fl.s.cfg.OnTooBig != nil {
		fl.s.cfg.OnTooBig(fl, n)
	}
}

// Bind says who has proven to be at the address; 0: nobody.
func (fl *Flow) Bind(id identity.NodeID) { fl.id.Store(uint64(id)) }

// ID returns the node that has proven to be at the address, 0 if none has.
func (fl *Flow) ID() identity.NodeID { return identity.NodeID(fl.id.Load()) }

// Bytes returns how many bytes of frames came from the address, and how many
// were sent there.
func (fl *Flow) Bytes() (in, out uint64) { return fl.bytesIn.Load(), fl.bytesOut.Load() }

// Err says why the system refused to send a datagram the last time, nil if it
// never did.
func (fl *Flow) Err() error {
	if p := fl.err.Load(); p != nil {
		return *p
	}
	return nil
}

// Keep keeps a flow that a frame came on, until Forget was called as often. It
// reports false if there are too many kept flows, or if another flow has taken
// its place meanwhile.
func (fl *Flow) Keep() bool {
	ok := fl.s.flows.retain(fl)
	if !ok {
		fl.s.count.notKept.Add(1)
	}
	return ok
}

// Forget says that the caller of Keep or [Socket.Flow] needs the flow no more.
// The flow still sends; but what comes from its address may come on another.
func (fl *Flow) Forget() {
	if fl.s.flows.release(fl) {
		fl.s.count.evicted.Add(1)
	}
}

// String names the flow for people: "udp 192.0.2.7:4000".
func (fl *Flow) String() string { return "udp " + fl.addr.String() }
