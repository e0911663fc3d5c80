package wire

import "time"

// Frame types. Numbers below 0x40 are those of RFC 9000 section 19, RFC 9221
// (DATAGRAM) and the QUIC acknowledgement frequency extension
// (IMMEDIATE_ACK); STREAM_OPEN, STREAM_ACCEPT and CANDIDATES are ours.
const (
	TypePadding         = 0x00 // one byte
	TypePing            = 0x01
	TypeAck             = 0x02 // largest, delay in us, count, first range, (gap, range)...
	TypeResetStream     = 0x04 // stream, code, final size
	TypeStopSending     = 0x05 // stream, code
	TypeCrypto          = 0x06 // offset, length, data
	TypeStream          = 0x08 // | 0x04 offset | 0x02 length | 0x01 FIN: stream, [offset], [length], data
	TypeMaxData         = 0x10 // limit
	TypeMaxStreamData   = 0x11 // stream, limit
	TypeMaxStreams      = 0x12 // limit
	TypePathChallenge   = 0x1a // 8 bytes
	TypePathResponse    = 0x1b // 8 bytes
	TypeConnectionClose = 0x1c // code, reason length, reason
	TypeHandshakeDone   = 0x1e // server only
	TypeImmediateAck    = 0x1f
	TypeDatagram        = 0x31 // length, data
	TypeStreamOpen      = 0x32 // stream, kind
	TypeStreamAccept    = 0x33 // stream
	TypeCandidates      = 0x34 // sequence, length, candidates

	streamOff   = 0x04
	streamLen   = 0x02
	streamFin   = 0x01
	maxStreamTy = 0x0f
)

// Limits of what a frame may say.
const (
	MaxAckRanges  = 64   // ranges kept of one ACK; lower ones are checked and ignored
	MaxReasonLen  = 256  // bytes of a CONNECTION_CLOSE's reason
	MaxCandidates = 1024 // bytes of candidates
	maxOffsetSize = 17   // STREAM header: type, ID and offset at their largest
)

// StreamOverhead is the most that a STREAM frame adds to the last data in a
// packet: type, stream ID and offset.
const StreamOverhead = maxOffsetSize

// maxAckDelay is the longest acknowledgement delay that is believed. It keeps
// durations far from overflow.
const maxAckDelay = time.Hour

// A Frame is any decoded frame; Type says which fields count. Data points
// into the packet. The zero value is ready for Next.
type Frame struct {
	Type   uint8         // one of the Type constants; TypeStream for all of STREAM's
	Fin    bool          // STREAM
	ID     uint64        // stream ID
	Off    uint64        // STREAM, CRYPTO
	Value  uint64        // code, limit, kind, sequence, or the data of a challenge or response
	Final  uint64        // RESET_STREAM: final size
	Data   []byte        // STREAM, CRYPTO, DATAGRAM, CANDIDATES; CONNECTION_CLOSE: reason
	Delay  time.Duration // ACK: at most an hour
	Ranges []AckRange    // ACK: descending; storage is reused by Next
}

// Next decodes the frame at the start of b into f and returns what follows.
// Every error is [ErrMalformed]; an unknown type is one, since a frame that
// cannot be skipped ends the session. Next does not allocate once Ranges has
// room.
func (f *Frame) Next(b []byte) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, ErrMalformed
	}
	f.Type, b = b[0], b[1:]
	f.Fin, f.ID, f.Off, f.Value, f.Data = false, 0, 0, 0, nil
	if f.Type >= TypeStream && f.Type <= maxStreamTy {
		return f.nextStream(b)
	}
	switch f.Type {
	case TypePadding, TypePing, TypeHandshakeDone, TypeImmediateAck:
		return b, nil
	case TypeAck:
		return f.nextAck(b)
	case TypeResetStream:
		return varints(b, &f.ID, &f.Value, &f.Final)
	case TypeStopSending, TypeMaxStreamData, TypeStreamOpen:
		return varints(b, &f.ID, &f.Value)
	case TypeCrypto:
		if b, err = varints(b, &f.Off); err != nil {
			return nil, err
		}
		return f.nextData(b)
	case TypeMaxData, TypeMaxStreams:
		return varints(b, &f.Value)
	case TypePathChallenge, TypePathResponse:
		if len(b) < 8 {
			return nil, ErrMalformed
		}
		for _, c := range b[:8] {
			f.Value = f.Value<<8 | uint64(c)
		}
		return b[8:], nil
	case TypeConnectionClose:
		if b, err = varints(b, &f.Value); err != nil {
			return nil, err
		}
		return f.nextData(b)
	case TypeCandidates:
		if b, err = varints(b, &f.Value); err != nil {
			return nil, err
		}
		if b, err = f.nextData(b); err != nil || len(f.Data) > MaxCandidates {
			return nil, ErrMalformed
		}
		return b, nil
	case TypeDatagram:
		return f.nextData(b)
	case TypeStreamAccept:
		return varints(b, &f.ID)
	}
	return nil, ErrMalformed
}

// varints reads one variable-length integer for each target.
func varints(b []byte, into ...*uint64) (rest []byte, err error) {
	for _, v := range into {
		if *v, b, err = Varint(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// nextData reads a length and that many bytes. No byte of a stream has an
// offset beyond MaxVarint (RFC 9000 section 19.8).
func (f *Frame) nextData(b []byte) ([]byte, error) {
	n, b, err := Varint(b)
	if err != nil || n > uint64(len(b)) || f.Off+n > MaxVarint {
		return nil, ErrMalformed
	}
	f.Data = b[:n:n]
	return b[n:], nil
}

// nextStream reads what follows the type of a STREAM frame (RFC 9000 section
// 19.8).
func (f *Frame) nextStream(b []byte) (rest []byte, err error) {
	bits := f.Type
	f.Type, f.Fin = TypeStream, bits&streamFin != 0
	if b, err = varints(b, &f.ID); err != nil {
		return nil, err
	}
	if bits&streamOff != 0 {
		if b, err = varints(b, &f.Off); err != nil {
			return nil, err
		}
	}
	if bits&streamLen != 0 {
		return f.nextData(b)
	}
	if f.Off+uint64(len(b)) > MaxVarint {
		return nil, ErrMalformed
	}
	f.Data = b[:len(b):len(b)]
	return b[len(b):], nil
}

// nextAck reads what follows the type of an ACK frame (RFC 9000 section 19.3).
func (f *Frame) nextAck(b []byte) (rest []byte, err error) {
	var largest, delay, count, first uint64
	if b, err = varints(b, &largest, &delay, &count, &first); err != nil || first > largest {
		return nil, ErrMalformed
	}
	f.Delay = time.Duration(min(delay, uint64(maxAckDelay/time.Microsecond))) * time.Microsecond
	low := largest - first
	f.Ranges = append(f.Ranges[:0], AckRange{Low: low, High: largest})
	for range count {
		var gap, size uint64
		if b, err = varints(b, &gap, &size); err != nil {
			return nil, err
		}
		if gap+2 > low || size > low-gap-2 {
			return nil, ErrMalformed
		}
		high := low - gap - 2
		low = high - size
		if len(f.Ranges) < MaxAckRanges {
			f.Ranges = append(f.Ranges, AckRange{Low: low, High: high})
		}
	}
	return b, nil
}

// AppendAck appends an ACK frame. There is at least one range; they are
// descending and neither overlap nor touch. The delay is in microseconds, not
// scaled as in RFC 9000 section 19.3; a negative one counts as zero.
func AppendAck(b []byte, ranges []AckRange, delay time.Duration) []byte {
	b = append(b, TypeAck)
	b = AppendVarint(b, ranges[0].High)
	b = AppendVarint(b, uint64(max(delay, 0)/time.Microsecond))
	b = AppendVarint(b, uint64(len(ranges)-1))
	b = AppendVarint(b, ranges[0].High-ranges[0].Low)
	low := ranges[0].Low
	for _, r := range ranges[1:] {
		b = AppendVarint(b, low-r.High-2)
		b = AppendVarint(b, r.High-r.Low)
		low = r.Low
	}
	return b
}

// AppendStreamHeader appends the header of a STREAM frame. With withLen the
// frame says its length n; without, its data is the rest of the packet.
func AppendStreamHeader(b []byte, id, off uint64, n int, fin, withLen bool) []byte {
	kind := byte(TypeStream)
	if off > 0 {
		kind |= streamOff
	}
	if withLen {
		kind |= streamLen
	}
	if fin {
		kind |= streamFin
	}
	b = AppendVarint(append(b, kind), id)
	if off > 0 {
		b = AppendVarint(b, off)
	}
	if withLen {
		b = AppendVarint(b, uint64(n))
	}
	return b
}

// AppendCrypto appends a CRYPTO frame.
func AppendCrypto(b []byte, off uint64, data []byte) []byte {
	b = AppendVarint(append(b, TypeCrypto), off)
	b = AppendVarint(b, uint64(len(data)))
	return append(b, data...)
}

// AppendDatagram appends a DATAGRAM frame.
func AppendDatagram(b, data []byte) []byte {
	b = AppendVarint(append(b, TypeDatagram), uint64(len(data)))
	return append(b, data...)
}

// AppendClose appends a CONNECTION_CLOSE frame. It has no type of the frame at
// fault, unlike that of RFC 9000 section 19.19. The reason is cut at
// MaxReasonLen.
func AppendClose(b []byte, code uint64, reason string) []byte {
	reason = reason[:min(len(reason), MaxReasonLen)]
	b = AppendVarint(append(b, TypeConnectionClose), code)
	b = AppendVarint(b, uint64(len(reason)))
	return append(b, reason...)
}

// AppendCandidates appends a CANDIDATES frame with at most MaxCandidates bytes.
func AppendCandidates(b []byte, seq uint64, data []byte) []byte {
	b = AppendVarint(append(b, TypeCandidates), seq)
	b = AppendVarint(b, uint64(len(data)))
	return append(b, data...)
}

// AppendValues appends a frame that is a type and variable-length integers,
// such as MAX_DATA or RESET_STREAM.
func AppendValues(b []byte, kind uint8, values ...uint64) []byte {
	b = append(b, kind)
	for _, v := range values {
		b = AppendVarint(b, v)
	}
	return b
}

// AppendPath appends a PATH_CHALLENGE or PATH_RESPONSE frame.
func AppendPath(b []byte, kind uint8, data uint64) []byte {
	b = append(b, kind)
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(data>>shift))
	}
	return b
}
