// Package frame is the unit that links carry and the switch moves: a small
// header with two node IDs, and a sealed packet behind it, in one pooled
// buffer that is written to the network and forwarded as it stands.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/weftnet/weft/internal/identity"
)

// Sizes of the frame header and its content. A frame on a stream-like link is
//
//	0      version (high 4 bits) and type (low 4 bits)
//	1      hop limit
//	2..3   length of the packet, big endian
//	4..11  destination node ID, big endian; 0 is the neighbour on this link
//	12..19 source node ID, big endian
//	20..   packet
const (
	HeaderLen = 20
	MaxPacket = 65535
	Version   = 1

	// DefaultHopLimit is the hop limit of a frame as its source sends it.
	DefaultHopLimit = 16
)

// A Type says what a frame's packet is.
type Type uint8

// The frame types.
const (
	TypeData   Type = iota // a session's packet, for the switch to deliver or forward
	TypeNotice             // a Notice from the neighbour about an earlier frame
	TypePing               // link liveness: answer with TypePong and the same packet
	TypePong               // the answer to TypePing
)

// Errors that parsing a header gives.
var (
	ErrVersion = errors.New("frame: unknown version; both ends must run compatible releases")
	ErrShort   = errors.New("frame: header is cut short")
)

// classes are the sizes of the buffers in the pools, headers included. That
// for 34 KiB is for the buffer of 32 KiB that io.Copy writes, with headers.
var classes = [...]int{512, 2048, 16 << 10, 34 << 10, HeaderLen + MaxPacket + 1}

var pools [len(classes)]sync.Pool

// A Frame is a header and a packet in one pooled buffer. It has one owner;
// handing it to another goroutine or to a function that says so hands over
// ownership. Whoever keeps a part of the packet beyond that calls Retain.
type Frame struct {
	buf    []byte
	class  int8
	urgent bool
	refs   atomic.Int32
}

// New returns a data frame with room for a packet of n bytes, n at most
// [MaxPacket], with the default hop limit, owned by the caller. The content of
// the packet and both IDs are undefined until they are set.
func New(n int) *Frame {
	class := 0
	for HeaderLen+n > classes[class] {
		class++
	}
	f, _ := pools[class].Get().(*Frame)
	if f == nil {
		f = &Frame{buf: make([]byte, classes[class]), class: int8(class)}
	}
	f.refs.Store(1)
	f.urgent = false
	f.buf = f.buf[:HeaderLen+n]
	f.buf[0] = Version << 4
	f.buf[1] = DefaultHopLimit
	f.setLen(n)
	return f
}

// Retain adds an owner; each owner calls Release once.
func (f *Frame) Retain() { f.refs.Add(1) }

// Release gives up ownership. The last owner's Release recycles the buffer.
func (f *Frame) Release() {
	switch n := f.refs.Add(-1); {
	case n == 0:
		pools[f.class].Put(f)
	case n < 0:
		panic("frame: released more often than owned") //nolint:forbidigo // a bug of ours: the buffer may be somebody else's by now
	}
}

// maxUrgent is the largest frame that can be urgent, in bytes.
const maxUrgent = 2 << 10

// SetUrgent says that nothing comes right behind the frame, if it is a small one, so
// that it pays to pass it on in the goroutine that has it rather than to wake another
// one. The mark stays in this process.
func (f *Frame) SetUrgent() { f.urgent = len(f.buf) <= maxUrgent }

// Urgent reports whether SetUrgent was called.
func (f *Frame) Urgent() bool { return f.urgent }

// Bytes returns the whole frame as links write it.
func (f *Frame) Bytes() []byte { return f.buf }

// Len is the length of the whole frame.
func (f *Frame) Len() int { return len(f.buf) }

// Header returns the first HeaderLen bytes.
func (f *Frame) Header() []byte { return f.buf[:HeaderLen] }

// Packet returns the packet. It is valid until the owner releases the frame.
func (f *Frame) Packet() []byte { return f.buf[HeaderLen:] }

// Cap is the size of the underlying buffer: what keeping the frame costs.
func (f *Frame) Cap() int { return cap(f.buf) }

// Truncate shortens the packet to n bytes.
func (f *Frame) Truncate(n int) {
	f.buf = f.buf[:HeaderLen+n]
	f.setLen(n)
}

func (f *Frame) setLen(n int) { binary.BigEndian.PutUint16(f.buf[2:], uint16(n)) }

// Type returns the frame's type.
func (f *Frame) Type() Type { return Type(f.buf[0] & 0x0f) }

// SetType sets the frame's type.
func (f *Frame) SetType(t Type) { f.buf[0] = Version<<4 | byte(t) }

// HopLimit returns how many more switches may forward the frame.
func (f *Frame) HopLimit() uint8 { return f.buf[1] }

// SetHopLimit sets how many more switches may forward the frame.
func (f *Frame) SetHopLimit(n uint8) { f.buf[1] = n }

// Dst returns the destination; 0 is the neighbour on the link.
func (f *Frame) Dst() identity.NodeID { return identity.NodeID(binary.BigEndian.Uint64(f.buf[4:])) }

// SetDst sets the destination.
func (f *Frame) SetDst(id identity.NodeID) { binary.BigEndian.PutUint64(f.buf[4:], uint64(id)) }

// Src returns the source as the frame claims it.
func (f *Frame) Src() identity.NodeID { return identity.NodeID(binary.BigEndian.Uint64(f.buf[12:])) }

// SetSrc sets the source.
func (f *Frame) SetSrc(id identity.NodeID) { binary.BigEndian.PutUint64(f.buf[12:], uint64(id)) }

// Clone returns a copy with its own buffer.
func (f *Frame) Clone() *Frame {
	c := New(len(f.Packet()))
	copy(c.buf, f.buf)
	return c
}

// ParseHeader checks the header at the start of b and returns the length of
// the packet behind it.
func ParseHeader(b []byte) (packetLen int, err error) {
	if len(b) < HeaderLen {
		return 0, ErrShort
	}
	if v := b[0] >> 4; v != Version {
		return 0, fmt.Errorf("%w (got %d, want %d)", ErrVersion, v, Version)
	}
	return int(binary.BigEndian.Uint16(b[2:])), nil
}

// Decode copies a whole frame out of b, which holds exactly one.
func Decode(b []byte) (*Frame, error) {
	n, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	if len(b) != HeaderLen+n {
		return nil, ErrShort
	}
	f := New(n)
	copy(f.buf, b)
	return f, nil
}
