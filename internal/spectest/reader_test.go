package spectest

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errShort = errors.New("cut short")

// A linkFrame is section 3.3 of SPEC.md.
type linkFrame struct {
	kind     byte
	hops     byte
	dst, src uint64
	packet   []byte
}

func readLinkFrame(b []byte) (f linkFrame, err error) {
	if len(b) < 20 {
		return f, errShort
	}
	if b[0]>>4 != 1 {
		return f, fmt.Errorf("link frame of version %d", b[0]>>4)
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if len(b) != 20+n {
		return f, fmt.Errorf("frame says %d bytes, has %d", n, len(b)-20)
	}
	return linkFrame{b[0] & 15, b[1], binary.BigEndian.Uint64(b[4:]), binary.BigEndian.Uint64(b[12:]), b[20:]}, nil
}

// The kinds of packets, section 5.1.
const (
	kindInitial   = 0xc0
	kindHandshake = 0xd0
	kindShort     = 0x40
	kindReset     = 0x60
)

// A sealedPacket is a packet of section 5.1 before it is opened.
type sealedPacket struct {
	kind     byte
	phase    bool
	dst, src uint64
	number   uint32
	header   []byte
	payload  []byte // sealed
}

// readPacket takes one packet off a session datagram.
func readPacket(b []byte) (p sealedPacket, rest []byte, err error) {
	if len(b) == 0 {
		return p, nil, errShort
	}
	p.kind = b[0] & 0xf0
	switch p.kind {
	case kindShort:
		if len(b) < 13 {
			return p, nil, errShort
		}
		p.phase = b[0]&4 != 0
		p.dst, p.number = binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint32(b[9:])
		p.header, p.payload = b[:13], b[13:]
		return p, nil, nil
	case kindInitial, kindHandshake:
		if len(b) < 24 {
			return p, nil, errShort
		}
		if b[1] != 1 {
			return p, nil, fmt.Errorf("packet of version %d", b[1])
		}
		p.dst, p.src = binary.BigEndian.Uint64(b[2:]), binary.BigEndian.Uint64(b[10:])
		n := int(binary.BigEndian.Uint16(b[18:]))
		if n < 4 || len(b) < 20+n {
			return p, nil, errShort
		}
		p.number = binary.BigEndian.Uint32(b[20:])
		p.header, p.payload = b[:24], b[24:20+n]
		return p, b[20+n:], nil
	}
	return p, nil, fmt.Errorf("packet of kind %#x", p.kind)
}

// varint reads one of RFC 9000 section 16.
func varint(b []byte) (v uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errShort
	}
	n := 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, nil, errShort
	}
	v = uint64(b[0] & 0x3f)
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, b[n:], nil
}

func varints(b []byte, n int) (vs []uint64, rest []byte, err error) {
	for range n {
		var v uint64
		if v, b, err = varint(b); err != nil {
			return nil, nil, err
		}
		vs = append(vs, v)
	}
	return vs, b, nil
}

// A sessionFrame is one of section 5.7.
type sessionFrame struct {
	kind   byte
	stream uint64
	off    uint64
	fin    bool
	values []uint64
	data   []byte
}

// fixed says how many varints follow the types that are nothing else.
var fixed = map[byte]int{
	0x00: 0, 0x01: 0, 0x04: 3, 0x05: 2, 0x10: 1, 0x11: 2, 0x12: 1, 0x1e: 0, 0x1f: 0, 0x32: 2, 0x33: 1,
}

func readFrame(b []byte) (f sessionFrame, rest []byte, err error) {
	if len(b) == 0 {
		return f, nil, errShort
	}
	f.kind, b = b[0], b[1:]
	if n, ok := fixed[f.kind]; ok {
		f.values, rest, err = varints(b, n)
		return f, rest, err
	}
	switch {
	case f.kind == 0x02: // ACK
		if f.values, b, err = varints(b, 4); err == nil {
			_, b, err = varints(b, 2*int(f.values[2]))
		}
		return f, b, err
	case f.kind == 0x06: // CRYPTO
		if f.values, b, err = varints(b, 2); err != nil {
			return f, nil, err
		}
		f.off = f.values[0]
		f.data, rest, err = take(b, f.values[1])
		return f, rest, err
	case f.kind >= 0x08 && f.kind <= 0x0f:
		return readStream(f, b)
	case f.kind == 0x1a || f.kind == 0x1b: // PATH_CHALLENGE, PATH_RESPONSE
		f.data, rest, err = take(b, 8)
		return f, rest, err
	case f.kind == 0x1c: // CONNECTION_CLOSE
		if f.values, b, err = varints(b, 2); err != nil {
			return f, nil, err
		}
		f.data, rest, err = take(b, f.values[1])
		return f, rest, err
	case f.kind == 0x34: // CANDIDATES
		if f.values, b, err = varints(b, 2); err != nil {
			return f, nil, err
		}
		f.data, rest, err = take(b, f.values[1])
		return f, rest, err
	case f.kind == 0x31: // DATAGRAM
		if f.values, b, err = varints(b, 1); err != nil {
			return f, nil, err
		}
		f.data, rest, err = take(b, f.values[0])
		return f, rest, err
	}
	return f, nil, fmt.Errorf("frame of type %#x", f.kind)
}

// readStream reads a STREAM frame behind its type.
func readStream(f sessionFrame, b []byte) (sessionFrame, []byte, error) {
	var err error
	if f.stream, b, err = varint(b); err != nil {
		return f, nil, err
	}
	if f.kind&4 != 0 {
		if f.off, b, err = varint(b); err != nil {
			return f, nil, err
		}
	}
	f.fin = f.kind&1 != 0
	n := uint64(len(b))
	if f.kind&2 != 0 {
		if n, b, err = varint(b); err != nil {
			return f, nil, err
		}
	}
	f.kind = 0x08
	f.data, b, err = take(b, n)
	return f, b, err
}

func take(b []byte, n uint64) (data, rest []byte, err error) {
	if n > uint64(len(b)) {
		return nil, nil, errShort
	}
	return b[:n], b[n:], nil
}
