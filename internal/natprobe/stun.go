package natprobe

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
)

// Numbers of RFC 8489 and RFC 5780.
const (
	bindingRequest = 0x0001
	bindingSuccess = 0x0101
	bindingError   = 0x0111

	magicCookie = 0x2112a442
	headerLen   = 20
	attrHeader  = 4

	attrMapped        = 0x0001
	attrChangeRequest = 0x0003
	attrXORMapped     = 0x0020
	attrSoftware      = 0x8022
	attrFingerprint   = 0x8028
	attrOtherAddress  = 0x802c

	// optional is the bit of attributes that need not be understood.
	optional = 0x8000

	changeIP   = 0x04
	changePort = 0x02

	fingerprintXOR = 0x5354554e

	// maxResponse is the longest answer that is read: what every path carries
	// in one piece (RFC 8489 section 6.1).
	maxResponse = 1280
)

// software is the attribute SOFTWARE. It makes requests as long as the longest
// answer of a relay, three addresses of IPv6 and a fingerprint in 100 bytes, since
// a relay leaves out what would make its answer longer than the request. PADDING
// of RFC 5780 is no good for that: most servers refuse it.
const software = "weft (padded: relays answer with no more bytes than they were asked)"

// A txID is what makes an answer belong to a request.
type txID [12]byte

// appendRequest appends a binding request. change is which of the server's
// addresses is to answer.
func appendRequest(b []byte, id txID, change byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, bindingRequest)
	b = append(b, 0, 0) // length, below
	b = binary.BigEndian.AppendUint32(b, magicCookie)
	b = append(b, id[:]...)
	b = appendAttr(b, attrSoftware, []byte(software))
	if change != 0 {
		b = appendAttr(b, attrChangeRequest, []byte{0, 0, 0, change})
	}
	const fingerprintLen = attrHeader + 4
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start-headerLen+fingerprintLen))
	sum := crc32.ChecksumIEEE(b[start:]) ^ fingerprintXOR
	return appendAttr(b, attrFingerprint, binary.BigEndian.AppendUint32(nil, sum))
}

// appendAttr appends an attribute whose length is a multiple of four.
func appendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// A response is what an answer says.
type response struct {
	id     txID
	failed bool           // an error response
	mapped netip.AddrPort // invalid if failed
	other  netip.AddrPort // OTHER-ADDRESS; invalid if there is none
}

var (
	errNotSTUN   = errors.New("natprobe: no STUN response")
	errMalformed = errors.New("natprobe: malformed STUN response")
)

// decode reads an answer. It refuses what is not the whole of one, what has a
// wrong fingerprint, and successes that have no address or something that must
// be understood and is not.
func decode(b []byte) (response, error) {
	var r response
	if len(b) < headerLen || len(b) > maxResponse || binary.BigEndian.Uint32(b[4:]) != magicCookie {
		return r, errNotSTUN
	}
	switch binary.BigEndian.Uint16(b) {
	case bindingSuccess:
	case bindingError:
		r.failed = true
	default:
		return r, errNotSTUN
	}
	if n := int(binary.BigEndian.Uint16(b[2:])); n%4 != 0 || n != len(b)-headerLen {
		return r, errMalformed
	}
	copy(r.id[:], b[8:])
	var plain netip.AddrPort
	for rest := b[headerLen:]; len(rest) > 0; {
		if len(rest) < attrHeader {
			return r, errMalformed
		}
		kind, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := attrHeader + (n+3)&^3
		if padded > len(rest) {
			return r, errMalformed
		}
		value := rest[attrHeader : attrHeader+n]
		switch kind {
		case attrXORMapped:
			first(&r.mapped, address(value, b[4:headerLen]))
		case attrMapped:
			first(&plain, address(value, nil))
		case attrOtherAddress:
			first(&r.other, address(value, nil))
		case attrFingerprint:
			if !fingerprintOK(b, len(b)-len(rest), value) {
				return r, errMalformed
			}
		default:
			if kind < optional && !r.failed {
				return r, errMalformed
			}
		}
		rest = rest[padded:]
	}
	first(&r.mapped, plain) // servers of RFC 3489
	if !r.failed && !r.mapped.IsValid() {
		return r, errMalformed
	}
	return r, nil
}

// first sets an address that is not set: later attributes of a kind are ignored
// (RFC 8489 section 14).
func first(a *netip.AddrPort, b netip.AddrPort) {
	if !a.IsValid() {
		*a = b
	}
}

// fingerprintOK reports whether value, at an offset of the message b, is the
// fingerprint of what is before, and the last attribute.
func fingerprintOK(b []byte, offset int, value []byte) bool {
	return len(value) == 4 && offset+attrHeader+4 == len(b) &&
		binary.BigEndian.Uint32(value) == crc32.ChecksumIEEE(b[:offset])^fingerprintXOR
}

// address reads an address, of which every byte was combined with that of mask,
// the port with the first two; a nil mask is zeros. It is invalid if it is
// malformed.
func address(value, mask []byte) netip.AddrPort {
	if len(value) < 4 {
		return netip.AddrPort{}
	}
	var a [18]byte
	n := copy(a[:], value[2:])
	for i := range mask {
		a[2+i] ^= mask[i]
	}
	for i := range min(2, len(mask)) {
		a[i] ^= mask[i]
	}
	port := binary.BigEndian.Uint16(a[:])
	switch family := value[1]; {
	case family == 1 && n == 2+4 && len(value) == 8:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[2:6])), port)
	case family == 2 && n == 2+16 && len(value) == 20:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[2:])).Unmap(), port)
	}
	return netip.AddrPort{}
}
