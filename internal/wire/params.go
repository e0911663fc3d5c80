package wire

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Identifiers of transport parameters: those of RFC 9000 section 18.2 and RFC
// 9221 where the meaning is the same, and ours from 0x4000 on. Unknown ones
// are ignored.
const (
	paramOrigDst     = 0x00   // 8 bytes
	paramResetToken  = 0x02   // 16 bytes
	paramMaxData     = 0x04   // number
	paramMaxStream   = 0x05   // number
	paramMaxStreams  = 0x08   // number
	paramMaxAckDelay = 0x0b   // number of milliseconds
	paramSrc         = 0x0f   // 8 bytes
	paramMaxDatagram = 0x20   // number
	paramInstance    = 0x4000 // 8 bytes
	paramLayer       = 0x4001 // text
	paramGreeting    = 0x4002 // bytes
)

// Limits of what parameters may say.
const (
	maxParams    = 64 // in all, unknown ones included
	maxLayerName = 32 // bytes
	// MaxGreeting is how many bytes the layer may say in the handshake: little
	// beside what the certificates take.
	MaxGreeting = 1 << 10
	// endAckDelay is what every acknowledgement delay is below (RFC 9000
	// section 18.2).
	endAckDelay = 1 << 14 * time.Millisecond
)

// Params are the transport parameters that both sides exchange inside the TLS
// handshake, which authenticates them. Src, ResetToken, Instance and Layer are
// required; a number that is missing is zero.
type Params struct {
	OrigDst     uint64              // server only: destination of the client's first packet; 0: none
	Src         uint64              // the session ID that the sender of these chose
	ResetToken  [ResetTokenLen]byte // of Src
	MaxData     uint64              // bytes of all streams that the peer may send at first
	MaxStream   uint64              // bytes of each stream that the peer may send at first
	MaxStreams  uint64              // streams that the peer may open at first
	MaxAckDelay time.Duration       // whole milliseconds, below 2^14
	MaxDatagram uint64              // largest DATAGRAM frame that the sender takes; 0 is none
	Instance    uint64              // random for each start of a node
	Layer       string              // name of the reliability layer, at most 32 bytes
	Greeting    string              // bytes from the layer to the peer's, at most MaxGreeting
}

// Append appends p. No number exceeds MaxVarint.
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
	if len(p.Greeting) > 0 {
		fixed(paramGreeting, []byte(p.Greeting))
	}
	return b
}

// ParseParams decodes what Append encodes, in any order. Every error is
// [ErrMalformed]: a parameter given twice, too many, one that is missing, and
// values of the wrong size.
func ParseParams(b []byte) (p Params, err error) {
	seen := make([]uint64, 0, maxParams)
	for len(b) > 0 {
		var id, n uint64
		if b, err = varints(b, &id, &n); err != nil || n > uint64(len(b)) {
			return p, ErrMalformed
		}
		if slices.Contains(seen, id) {
			return p, fmt.Errorf("%w: transport parameter %#x given twice", ErrMalformed, id)
		}
		if len(seen) == maxParams {
			return p, fmt.Errorf("%w: more than %d transport parameters", ErrMalformed, maxParams)
		}
		seen = append(seen, id)
		if err := p.set(id, b[:n]); err != nil {
			return p, fmt.Errorf("transport parameter %#x: %w", id, err)
		}
		b = b[n:]
	}
	for _, id := range []uint64{paramSrc, paramResetToken, paramInstance, paramLayer} {
		if !slices.Contains(seen, id) {
			return p, fmt.Errorf("%w: transport parameter %#x is missing", ErrMalformed, id)
		}
	}
	return p, nil
}

// set decodes the value of one parameter; unknown ones are ignored.
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
		if ms, err = number(v); ms >= uint64(endAckDelay/time.Millisecond) {
			return ErrMalformed
		}
		p.MaxAckDelay = time.Duration(ms) * time.Millisecond
	case paramLayer:
		if len(v) > maxLayerName {
			return ErrMalformed
		}
		p.Layer = string(v)
	case paramGreeting:
		if len(v) > MaxGreeting {
			return ErrMalformed
		}
		p.Greeting = string(v)
	}
	return err
}

// fixed64 decodes a value of exactly 8 bytes.
func fixed64(v []byte) (uint64, error) {
	if len(v) != 8 {
		return 0, ErrMalformed
	}
	return binary.BigEndian.Uint64(v), nil
}

// number decodes a value that is one variable-length integer.
func number(v []byte) (uint64, error) {
	n, rest, err := Varint(v)
	if err != nil || len(rest) != 0 {
		return 0, ErrMalformed
	}
	return n, nil
}
