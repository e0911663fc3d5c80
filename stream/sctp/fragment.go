package sctp

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// A datagram of the layer is a packet of SCTP, or a part of one that is too
// long for the path:
//
//	0     kind 0: whole            0     kind 1: fragment
//	1..   packet                   1..4  number of the packet, big endian
//	                               5     which part it is, from 0
//	                               6     of how many, 2 to 16
//	                               7..   the part
const (
	kindWhole    = 0
	kindFragment = 1

	wholeHeader    = 1
	fragmentHeader = 7

	maxFragments = 16
	// maxPartial is how many packets may be incomplete; the oldest makes room
	// for the next. Together they hold half a MiB at most.
	maxPartial = 64
)

var errDatagram = errors.New("sctp: malformed datagram")

// A fragment is a part of a packet.
type fragment struct {
	packet       uint32
	index, count int
	data         []byte
}

// append appends the datagram of f to b.
func (f fragment) append(b []byte) []byte {
	b = append(b, kindFragment)
	b = binary.BigEndian.AppendUint32(b, f.packet)
	b = append(b, byte(f.index), byte(f.count))
	return append(b, f.data...)
}

// parseFragment decodes what append encodes. data stays a part of b.
func parseFragment(b []byte) (fragment, error) {
	if len(b) <= fragmentHeader || b[0] != kindFragment {
		return fragment{}, errDatagram
	}
	f := fragment{
		packet: binary.BigEndian.Uint32(b[1:]),
		index:  int(b[5]),
		count:  int(b[6]),
		data:   b[fragmentHeader:],
	}
	if f.count < 2 || f.count > maxFragments || f.index >= f.count || len(f.data) > maxPacket {
		return fragment{}, errDatagram
	}
	return f, nil
}

// A partial is a packet of which some fragments are missing.
type partial struct {
	packet  uint32
	parts   [maxFragments][]byte
	count   int
	missing int
	size    int
}

// A joiner puts fragments together. Its zero value is ready.
type joiner struct {
	partial []*partial // the oldest first
	packet  []byte     // the last that was joined; its memory is used again
}

// datagram returns the packet of SCTP that a datagram is or completes, valid
// until the next call and as long as b is, and nil if there is none.
func (j *joiner) datagram(b []byte) ([]byte, error) {
	if len(b) > wholeHeader && b[0] == kindWhole {
		if len(b)-wholeHeader > maxPacket {
			return nil, errDatagram
		}
		return b[wholeHeader:], nil
	}
	f, err := parseFragment(b)
	if err != nil {
		return nil, err
	}
	return j.add(f)
}

// add takes a fragment.
func (j *joiner) add(f fragment) ([]byte, error) {
	at := -1
	for i, p := range j.partial {
		if p.packet == f.packet {
			at = i
		}
	}
	if at < 0 {
		if len(j.partial) == maxPartial {
			j.remove(0)
		}
		at = len(j.partial)
		j.partial = append(j.partial, &partial{packet: f.packet, count: f.count, missing: f.count})
	}
	p := j.partial[at]
	switch {
	case p.count != f.count, p.size+len(f.data) > maxPacket:
		return nil, errDatagram
	case p.parts[f.index] != nil:
		return nil, nil // the session delivers nothing twice, but it does no harm
	}
	p.parts[f.index] = bytes.Clone(f.data)
	p.size += len(f.data)
	if p.missing--; p.missing > 0 {
		return nil, nil
	}
	j.packet = j.packet[:0]
	for _, part := range p.parts[:p.count] {
		j.packet = append(j.packet, part...)
	}
	j.remove(at)
	return j.packet, nil
}

func (j *joiner) remove(i int) {
	copy(j.partial[i:], j.partial[i+1:])
	j.partial[len(j.partial)-1] = nil
	j.partial = j.partial[:len(j.partial)-1]
}
