package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errMalformed is wrapped by every error that decoding gives.
var errMalformed = errors.New("gossip: malformed message")

// appendTexts appends a list: count (1), then each text's length (1) and bytes.
// The limits have been checked.
func appendTexts(b []byte, list []string) []byte {
	b = append(b, byte(len(list)))
	for _, s := range list {
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	return b
}

// checkTexts reports a text that cannot be sent.
func checkTexts(list []string, size int) error {
	for _, s := range list {
		if len(s) == 0 || len(s) > size {
			return fmt.Errorf("%w: text of %d bytes, 1 to %d are allowed", ErrTooMuch, len(s), size)
		}
	}
	return nil
}

// appendCert appends a certificate: length (2) and bytes.
func appendCert(b, cert []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(cert)))
	return append(b, cert...)
}

// A reader takes bytes apart. After its first error everything is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{errMalformed}, args...)...)
	}
	r.b = nil
}

// more reports whether there is something left to read.
func (r *reader) more() bool { return len(r.b) > 0 }

// take returns the next n bytes, nil when there are fewer.
func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail("it ends early")
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// texts reads a list; an empty one is nil.
func (r *reader) texts(limit, size int) []string {
	n := int(r.byte())
	if n > limit {
		r.fail("%d texts, at most %d are allowed", n, limit)
		return nil
	}
	var list []string
	for range n {
		l := int(r.byte())
		if r.err == nil && (l == 0 || l > size) {
			r.fail("text of %d bytes, 1 to %d are allowed", l, size)
		}
		text := r.take(l)
		if r.err != nil {
			return nil
		}
		list = append(list, string(text))
	}
	return list
}

// cert reads a certificate; an empty one is nil.
func (r *reader) cert() []byte {
	b := r.take(2)
	if b == nil {
		return nil
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > maxCert {
		r.fail("certificate of %d bytes, at most %d are allowed", n, maxCert)
		return nil
	}
	if n == 0 {
		return nil
	}
	return append([]byte(nil), r.take(n)...)
}
