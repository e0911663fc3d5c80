package wire

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Identifiers of transport parameters: those of RFC 9000 section 18.2 where
// the meaning is the same, and ours from 0x4000 on. Unknown ones are ignored.
const (
	paramOrigDst      = 0x00
	paramResetToken   = 0x02
	paramMaxData      = 0x04
	paramMaxStream    = 0x05
	paramMaxStreams   = 0x08
	paramMaxAckDelay  = 0x0b
	paramSrc          = 0x0f
	paramMaxDatagram  = 0x20
	paramInstance     = 0x4000
	paramLayer        = 0x4001
	maxLayerName      = 32
	maxAckDelayMillis = 1 << 14
)

// Params are the transport parameters that both sides exchange inside the TLS
// handshake, which authenticates them.
type Params struct {
	OrigDst     uint64 // server only: destination of the client's first packet
	Src         uint64 // the session ID that the sender of these chose
	ResetToken  [ResetTokenLen]byte
	MaxData     uint64        // session window
	MaxStream   uint64        // window of each stream
	MaxStreams  uint64        // streams that the peer may open
	MaxAckDelay time.Duration // whole milliseconds
	MaxDatagram uint64        // largest DATAGRAM the sender takes; 0 is none
	Instance    uint64        // random for each start of a node
	Layer       string        // reliability layer
}

// Append encodes p.
func (p *Params) Append(b []byte) []byte {
	fixed := func(id uint64, v []byte) {
		b = AppendVarint(b, id)
		b = AppendVarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	number := func(id, v uint64) { fixed(id, AppendVarint(nil, v)) }
	u64 := func(id, v uint64) { fixed(id, binary.BigEndian.AppendUint64(nil, v)) }
	if p.OrigDst != 0 {
		u64(paramOrigDst, p.OrigDst)
	}
	u64(paramSrc, p.Src)
	fixed(paramResetToken, p.ResetToken[:])
	number(paramMaxData, p.MaxData)
	number(paramMaxStream, p.MaxStream)
	number(paramMaxStreams, p.MaxStreams)
	number(paramMaxAckDelay, uint64(p.MaxAckDelay/time.Millisecond))
	number(paramMaxDatagram, p.MaxDatagram)
	u64(paramInstance, p.Instance)
	fixed(paramLayer, []byte(p.Layer))
	return b
}

// ParseParams decodes what Append encodes, in any order. A parameter given
// twice is an error.
func ParseParams(b []byte) (p Params, err error) {
	seen := make(map[uint64]bool)
	for len(b) > 0 {
		var id, n uint64
		if b, err = varints(b, &id, &n); err != nil || n > uint64(len(b)) {
			return p, ErrMalformed
		}
		if seen[id] {
			return p, fmt.Errorf("%w: transport parameter %#x given twice", ErrMalformed, id)
		}
		seen[id] = true
		if err := p.set(id, b[:n]); err != nil {
			return p, fmt.Errorf("transport parameter %#x: %w", id, err)
		}
		b = b[n:]
	}
	if !seen[paramSrc] || !seen[paramInstance] || !seen[paramLayer] || !seen[paramResetToken] {
		return p, fmt.Errorf("%w: a required transport parameter is missing", ErrMalformed)
	}
	return p, nil
}

func (p *Params) set(id uint64, v []byte) (err error) {
	switch id {
	case paramOrigDst:
		p.OrigDst, err = fixed64(v)
	case paramSrc:
		p.Src, err = fixed64(v)
	case paramInstance:
		p.Instance, err = fixed64(v)
	case paramResetToken:
		if len(v) != ResetTokenLen {
			return ErrMalformed
		}
		copy(p.ResetToken[:], v)
	case paramMaxData:
		p.MaxData, err = number(v)
	case paramMaxStream:
		p.MaxStream, err = number(v)
	case paramMaxStreams:
		p.MaxStreams, err = number(v)
	case paramMaxDatagram:
		p.MaxDatagram, err = number(v)
	case paramMaxAckDelay:
		var ms uint64
		if ms, err = number(v); ms > maxAckDelayMillis {
			return ErrMalformed
		}
		p.MaxAckDelay = time.Duration(ms) * time.Millisecond
	case paramLayer:
		if len(v) > maxLayerName {
			return ErrMalformed
		}
		p.Layer = string(v)
	}
	return err
}

func fixed64(v []byte) (uint64, error) {
	if len(v) != 8 {
		return 0, ErrMalformed
	}
	return binary.BigEndian.Uint64(v), nil
}

func number(v []byte) (uint64, error) {
	n, rest, err := Varint(v)
	if err != nil || len(rest) != 0 {
		return 0, ErrMalformed
	}
	return n, nil
}
