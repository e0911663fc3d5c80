package udp

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/weftnet/weft/internal/frame"
)

// readPause is how long a reader waits after an error, so that one that does
// not pass costs next to nothing.
const readPause = 10 * time.Millisecond

// A reader is what the goroutine that reads owns.
type reader struct {
	*lane
	ms []Incoming

	// The flow of the last frame, good while the table has removed none.
	from     netip.AddrPort
	flow     *Flow
	removals uint64
}

func (l *lane) readLoop() {
	r := &reader{lane: l, ms: make([]Incoming, readMessages)}
	bufs := make([]byte, readMessages*readBuffer)
	for i := range r.ms {
		r.ms[i].Buf = bufs[i*readBuffer : (i+1)*readBuffer : (i+1)*readBuffer]
	}
	for {
		n, err := l.conn.ReadBatch(r.ms)
		if n > 0 {
			l.s.count.reads.Add(1)
		}
		for i := range n {
			r.message(&r.ms[i])
		}
		if err != nil && (errors.Is(err, net.ErrClosed) || !r.pause()) {
			return
		}
	}
}

// pause waits a little after an error. It reports false when the socket is
// closed.
func (r *reader) pause() bool {
	r.s.count.readErrors.Add(1)
	t := time.NewTimer(readPause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.s.down:
		return false
	}
}

// message takes the datagrams of a message apart.
func (r *reader) message(m *Incoming) {
	b, size := m.Buf[:m.N], m.Size
	if size <= 0 || size > len(b) {
		size = len(b)
	}
	r.s.count.bytesIn.Add(uint64(len(b)))
	for {
		r.datagram(b[:min(size, len(b))], m.From)
		if len(b) <= size {
			return
		}
		b = b[size:]
	}
}

// datagram hands one datagram to whom it is for.
func (r *reader) datagram(b []byte, from netip.AddrPort) {
	c := &r.s.count
	switch classify(b) {
	case kindFrame:
		f, err := frame.Decode(b)
		if err != nil {
			c.malformed.Add(1)
			return
		}
		c.framesIn.Add(1)
		fl := r.flowOf(from)
		fl.heard(len(b))
		r.s.cfg.OnFrame(fl, f)
	case kindOther:
		if r.s.cfg.OnOther == nil {
			c.other.Add(1)
			return
		}
		c.otherIn.Add(1)
		r.s.cfg.OnOther(from, b)
	case kindMalformed:
		c.malformed.Add(1)
	}
}

// flowOf returns the flow of an address.
func (r *reader) flowOf(from netip.AddrPort) *Flow {
	t := &r.s.flows
	removals := t.removals.Load()
	if r.flow != nil && from == r.from && removals == r.removals {
		return r.flow
	}
	fl := t.find(from)
	if fl == nil {
		var evicted bool
		if fl, evicted = t.hear(from, func() *Flow { return r.s.newFlow(from) }); evicted {
			r.s.count.evicted.Add(1)
		}
	}
	r.from, r.flow, r.removals = from, fl, removals
	return fl
}

// A kind says whom a datagram is for.
type kind uint8

const (
	kindFrame     kind = iota // exactly one link frame
	kindOther                 // STUN, or something else that is not ours
	kindMalformed             // begins like a frame and is none, or is empty
)

// classify tells by its first byte what a datagram is: frames begin with their
// version, which is apart from what RFC 7983 has for STUN (0 to 3), DTLS, TURN,
// RTP and QUIC.
func classify(b []byte) kind {
	if len(b) == 0 {
		return kindMalformed
	}
	if b[0]>>4 != frame.Version {
		return kindOther
	}
	if n, err := frame.ParseHeader(b); err != nil || len(b) != frame.HeaderLen+n {
		return kindMalformed
	}
	return kindFrame
}
