package wire

import (
	"encoding/binary"
	"errors"
)

// Version is the version of the session protocol. It stands in every long
// header; short headers belong to a session whose version is agreed.
const Version = 1

// Sizes in bytes of packet headers, and the packet size that every path
// carries (RFC 9000 section 14).
const (
	LongHeaderLen  = 24 // packet number included
	ShortHeaderLen = 13 // packet number included
	ResetLen       = 25 // a whole stateless reset
	ResetTokenLen  = 16
	MinPacket      = 1200
)

// The first byte of a packet tells its kind. The low four bits, but for the
// key phase, are sent as zero and ignored.
const (
	kindMask      = 0xf0
	kindInitial   = 0xc0
	kindHandshake = 0xd0
	kindApp       = 0x40
	kindReset     = 0x60
	phaseBit      = 0x04
)

// ErrPacketVersion means that the sender speaks another version.
var ErrPacketVersion = errors.New("wire: packet of another protocol version")

// A Header is the unencrypted start of a packet. Packet numbers are not
// hidden: a relay could count packets anyway.
//
//	long:  kind (1), version (1), destination (8), source (8), length (2), packet number (4)
//	short: kind and key phase (1), destination (8), packet number (4)
//	reset: kind (1), destination (8), token (16)
//
// The length of a long header counts the packet number and all behind it, so
// that packets of several spaces share one frame.
type Header struct {
	Space  Space
	Reset  bool                // a stateless reset: only Dst and Token count
	Phase  bool                // key phase, SpaceApp only
	Dst    uint64              // session ID chosen by the receiver
	Src    uint64              // session ID chosen by the sender; long headers only
	Number uint32              // truncated packet number
	Token  [ResetTokenLen]byte // of a stateless reset
}

// Peek returns the kind and the session IDs of the first packet in b, without
// looking at the rest. The error is [ErrMalformed] or [ErrPacketVersion].
func Peek(b []byte) (h Header, err error) {
	if len(b) < ShortHeaderLen {
		return h, ErrMalformed
	}
	switch b[0] & kindMask {
	case kindInitial, kindHandshake:
		if b[0]&kindMask == kindHandshake {
			h.Space = SpaceHandshake
		}
		if b[1] != Version {
			return h, ErrPacketVersion
		}
		if len(b) < LongHeaderLen {
			return h, ErrMalformed
		}
		h.Dst = binary.BigEndian.Uint64(b[2:])
		h.Src = binary.BigEndian.Uint64(b[10:])
	case kindApp:
		h.Space = SpaceApp
		h.Dst = binary.BigEndian.Uint64(b[1:])
	case kindReset:
		if len(b) < ResetLen {
			return h, ErrMalformed
		}
		h.Reset = true
		h.Dst = binary.BigEndian.Uint64(b[1:])
		copy(h.Token[:], b[9:])
	default:
		return h, ErrMalformed
	}
	return h, nil
}

// ParseHeader splits the first packet in b into its header, as authenticated
// data and decoded, and its sealed payload. rest is what follows the packet:
// nothing behind a short header or a reset. All three point into b. Errors are
// those of Peek.
func ParseHeader(b []byte) (h Header, header, payload, rest []byte, err error) {
	if h, err = Peek(b); err != nil || h.Reset {
		return h, nil, nil, nil, err
	}
	if h.Space == SpaceApp {
		h.Phase = b[0]&phaseBit != 0
		h.Number = binary.BigEndian.Uint32(b[9:])
		return h, b[:ShortHeaderLen], b[ShortHeaderLen:], nil, nil
	}
	end := int(binary.BigEndian.Uint16(b[18:])) + LongHeaderLen - 4
	if end < LongHeaderLen || end > len(b) {
		return h, nil, nil, nil, ErrMalformed
	}
	h.Number = binary.BigEndian.Uint32(b[20:])
	return h, b[:LongHeaderLen], b[LongHeaderLen:end], b[end:], nil
}

// AppendLong appends a long header; payloadLen counts the sealed payload, with
// its tag. A space other than SpaceHandshake is taken for SpaceInitial.
func AppendLong(b []byte, h Header, payloadLen int) []byte {
	kind := byte(kindInitial)
	if h.Space == SpaceHandshake {
		kind = kindHandshake
	}
	b = append(b, kind, Version)
	b = binary.BigEndian.AppendUint64(b, h.Dst)
	b = binary.BigEndian.AppendUint64(b, h.Src)
	b = binary.BigEndian.AppendUint16(b, uint16(payloadLen+4))
	return binary.BigEndian.AppendUint32(b, h.Number)
}

// AppendShort appends a short header.
func AppendShort(b []byte, h Header) []byte {
	kind := byte(kindApp)
	if h.Phase {
		kind |= phaseBit
	}
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, h.Dst)
	return binary.BigEndian.AppendUint32(b, h.Number)
}

// AppendReset appends a stateless reset: dst is the session ID that its
// sender does not know (RFC 9000 section 10.3).
func AppendReset(b []byte, dst uint64, token [ResetTokenLen]byte) []byte {
	b = append(b, kindReset)
	b = binary.BigEndian.AppendUint64(b, dst)
	return append(b, token[:]...)
}

// FullNumber recovers a packet number from its low 32 bits, given the largest
// number received so far, zero if none, which is below MaxVarint (RFC 9000
// appendix A.3). The result is right if it is less than 2^31 away.
func FullNumber(largest uint64, truncated uint32) uint64 {
	const win = 1 << 32
	expected := largest + 1
	n := expected&^(win-1) | uint64(truncated)
	switch {
	case n+win/2 <= expected && n < MaxVarint-win:
		return n + win
	case n > expected+win/2 && n >= win:
		return n - win
	}
	return n
}
