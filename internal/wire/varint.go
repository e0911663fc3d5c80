package wire

import "errors"

// MaxVarint is the largest value a variable-length integer carries
// (RFC 9000 section 16).
const MaxVarint = 1<<62 - 1

// ErrMalformed is what decoding cut-short or contradictory bytes gives.
var ErrMalformed = errors.New("wire: malformed")

// AppendVarint appends v, at most MaxVarint, as in RFC 9000 section 16.
func AppendVarint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return append(b, byte(v>>8)|0x40, byte(v))
	case v < 1<<30:
		return append(b, byte(v>>24)|0x80, byte(v>>16), byte(v>>8), byte(v))
	default:
		return append(b, byte(v>>56)|0xc0, byte(v>>48), byte(v>>40), byte(v>>32),
			byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
}

// VarintLen is the number of bytes that AppendVarint takes for v.
func VarintLen(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	default:
		return 8
	}
}

// Varint reads a variable-length integer at the start of b and returns what
// follows it. Values need not be in their shortest form. The error is
// [ErrMalformed].
func Varint(b []byte) (v uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, ErrMalformed
	}
	n := 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, nil, ErrMalformed
	}
	v = uint64(b[0] & 0x3f)
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, b[n:], nil
}
