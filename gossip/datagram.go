package gossip

import (
	"sync"
	"sync/atomic"
)

// receivers remember how much has arrived from each relay, to tell it.
type receivers struct {
	mu   sync.Mutex
	from map[Name]*receiver

	received, bad atomic.Uint64
}

type receiver struct {
	stream    uint64
	got, told uint64
}

// onDatagram takes a datagram, or the acknowledgement of some.
func (b *Backbone) onDatagram(from Name, msg []byte) {
	id, known := b.view.Load().names[from]
	r := &reader{b: msg}
	kind, stream, offset := r.byte(), r.uint64(), r.uint64()
	if r.err != nil || !known {
		b.received.bad.Add(1)
		return
	}
	if kind == kindAck {
		b.out.ack(from, stream, offset)
		return
	}
	if b.received.note(from, stream, offset) {
		b.out.owe(from, stream, offset)
	}
	b.received.received.Add(1)
	if b.cfg.OnDatagram != nil {
		b.cfg.OnDatagram(id, r.b)
	}
}

// note takes down how far a relay has come; true says that it wants to know.
func (rs *receivers) note(from Name, stream, offset uint64) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.from[from]
	if r == nil {
		if rs.from == nil || len(rs.from) >= maxSenders {
			rs.from = make(map[Name]*receiver) // too many: begin anew
		}
		r = &receiver{}
		rs.from[from] = r
	}
	if r.stream != stream {
		*r = receiver{stream: stream}
	}
	r.got = max(r.got, offset)
	if r.got-r.told < window/4 {
		return false
	}
	r.told = r.got
	return true
}

func (rs *receivers) fill(s *Stats) {
	s.DatagramsReceived, s.DatagramsBad = rs.received.Load(), rs.bad.Load()
}
