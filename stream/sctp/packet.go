package sctp

import (
	"encoding/binary"
	"errors"
)

// What the carrier has to know of SCTP's packets (RFC 9260 section 3): a common
// header, then chunks of type (1), flags (1), length (2) and value, padded to
// four bytes.
const (
	commonHeader = 12
	chunkHeader  = 4

	chunkData     = 0   // RFC 9260 section 3.3.1
	chunkIData    = 64  // RFC 8260 section 2.1
	chunkReconfig = 130 // RFC 6525 section 3.1

	// Both kinds of data chunks begin with TSN (4), the number by which data are
	// acknowledged, and stream (2).
	dataTSN    = chunkHeader
	dataStream = chunkHeader + 4
	dataMin    = chunkHeader + 12

	flagEnd       = 0x01 // the chunk ends a message
	flagImmediate = 0x08 // acknowledge at once (RFC 7053)

	// Parameters of RE-CONFIG chunks have type (2), length (2) and value.
	paramHeader        = 4
	paramResetRequest  = 13 // RFC 6525 section 4.1
	paramResetResponse = 16 // RFC 6525 section 4.4
	requestMin         = paramHeader + 12
	responseMin        = paramHeader + 8
)

var errPacket = errors.New("sctp: malformed packet")

// A chunk is one chunk of a packet, header included.
type chunk []byte

func (c chunk) kind() byte     { return c[0] }
func (c chunk) isData() bool   { return (c[0] == chunkData || c[0] == chunkIData) && len(c) >= dataMin }
func (c chunk) tsn() uint32    { return binary.BigEndian.Uint32(c[dataTSN:]) }
func (c chunk) stream() uint16 { return binary.BigEndian.Uint16(c[dataStream:]) }

// after compares TSNs, which wrap around (RFC 1982).
func after(a, b uint32) bool { return int32(a-b) > 0 }

// nextChunk returns the first chunk of b and what follows it.
func nextChunk(b []byte) (c chunk, rest []byte, err error) {
	if len(b) < chunkHeader {
		return nil, nil, errPacket
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < chunkHeader || n > len(b) {
		return nil, nil, errPacket
	}
	return b[:n], b[min((n+3)&^3, len(b)):], nil
}

// chunksOf returns the bytes of a packet's chunks.
func chunksOf(packet []byte) ([]byte, error) {
	if len(packet) < commonHeader+chunkHeader {
		return nil, errPacket
	}
	return packet[commonHeader:], nil
}

// A resetParam is one parameter of a RE-CONFIG chunk.
type resetParam struct {
	number   uint32   // of the request
	response bool     // it is the answer to that request
	done     bool     // response: nothing is left to do
	lastTSN  uint32   // request: no data before the reset have a larger one
	streams  []uint16 // request: what is reset
}

// resetParams decodes the parameters of a RE-CONFIG chunk that matter here. It
// passes over others.
func resetParams(c chunk) (params []resetParam, err error) {
	b := []byte(c[chunkHeader:])
	for len(b) > 0 {
		if len(b) < paramHeader {
			return nil, errPacket
		}
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n < paramHeader || n > len(b) {
			return nil, errPacket
		}
		v := b[:n]
		b = b[min((n+3)&^3, len(b)):]
		switch {
		case kind == paramResetRequest && n >= requestMin:
			p := resetParam{number: binary.BigEndian.Uint32(v[4:]), lastTSN: binary.BigEndian.Uint32(v[12:])}
			for ids := v[requestMin:]; len(ids) >= 2; ids = ids[2:] {
				p.streams = append(p.streams, binary.BigEndian.Uint16(ids))
			}
			params = append(params, p)
		case kind == paramResetResponse && n >= responseMin:
			// Result 1 is "performed"; 6 is "in progress": the answer is yet to
			// come. The others are errors, which reset nothing.
			result := binary.BigEndian.Uint32(v[8:])
			params = append(params, resetParam{number: binary.BigEndian.Uint32(v[4:]), response: true, done: result == 1})
		}
	}
	return params, nil
}

// leaving looks at a packet on its way out. It asks the receiver to acknowledge
// at once the packets in which a message ends. Otherwise the acknowledgement of
// a conn's last bytes would be 200 ms late, and with it everything that waits
// for it. Checksums need no correction: there are none on data.
func (m *mux) leaving(packet []byte) {
	b, err := chunksOf(packet)
	for err == nil && len(b) > 0 {
		var c chunk
		if c, b, err = nextChunk(b); err != nil {
			return
		}
		switch {
		case c.isData() && c[1]&flagEnd != 0:
			c[1] |= flagImmediate
		case c.kind() == chunkReconfig:
			m.sentReset(c, packet)
		}
	}
}
