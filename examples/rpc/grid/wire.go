package grid

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tinylib/msgp/msgp"
)

// A frame is what travels: its length in four bytes, big endian, and a msgpack tuple
// [kind, id, n, ms, token, payload].
type frame struct {
	kind    kind
	id      uint64 // of the call; the side that dialled uses odd numbers, the other even ones
	n       uint32 // call, open: handler; failure, cancel: code; credit: messages; hello: role
	ms      uint32 // call, open: what is left of the deadline in milliseconds, 0 for none
	token   []byte
	payload []byte
	own     bool    // received: the slices may be kept
	buf     *[]byte // if so, what they point into, from bigPool; or nil
}

type kind uint8

const (
	kindHello   kind = iota // first on each conn, and the answer to that
	kindCall                // a request
	kindOpen                // the request that begins a stream
	kindAnswer              // ends a call or a stream well
	kindFailure             // ends it with code and text
	kindCancel              // who called does not want the answer any more
	kindMessage             // one message of a stream
	kindEnd                 // no more messages from the caller
	kindCredit              // n more messages may be sent
	kindPing
	kindPong
)

const (
	maxToken = 1 << 10
	headRoom = maxToken + 64 // more than a frame takes besides its payload
)

var errMalformed = errors.New("grid: not a frame of this protocol")

// appendHead appends all of a frame but its payload.
func appendHead(b []byte, f *frame) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = msgp.AppendArrayHeader(b, 6)
	b = msgp.AppendUint8(b, uint8(f.kind))
	b = msgp.AppendUint64(b, f.id)
	b = msgp.AppendUint32(b, f.n)
	b = msgp.AppendUint32(b, f.ms)
	b = msgp.AppendBytes(b, f.token)
	b = msgp.AppendBytesHeader(b, uint32(len(f.payload)))
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4+len(f.payload)))
	return b
}

func appendFrame(b []byte, f *frame) []byte { return append(appendHead(b, f), f.payload...) }

// readFrame reads a frame into f. What fits into the reader's buffer stays there, so that the
// slices are valid until the next read.
func (f *frame) readFrame(r *bufio.Reader, limit int) error {
	n, err := peekLength(r, limit)
	if err != nil {
		return err
	}
	var b []byte
	if f.own = 4+n > r.Size(); !f.own {
		if b, err = r.Peek(4 + n); err == nil {
			b = b[4:]
			_, err = r.Discard(4 + n)
		}
	} else {
		b = make([]byte, n)
		_, _ = r.Discard(4)
		_, err = io.ReadFull(r, b)
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return f.parse(b)
}

// peekLength returns how long the next frame is, without the four bytes that say so.
func peekLength(r *bufio.Reader, limit int) (int, error) {
	head, err := r.Peek(4)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	n := binary.BigEndian.Uint32(head)
	if n > uint32(limit+headRoom) {
		return 0, fmt.Errorf("%w: %d bytes, where %d is the limit", errMalformed, n, limit)
	}
	return int(n), nil
}

func (f *frame) parse(b []byte) error {
	size, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil || size < 6 {
		return errMalformed
	}
	k, b, err1 := msgp.ReadUint8Bytes(b)
	f.kind = kind(k)
	f.id, b, err = msgp.ReadUint64Bytes(b)
	if err1 != nil || err != nil {
		return errMalformed
	}
	f.n, b, err1 = msgp.ReadUint32Bytes(b)
	f.ms, b, err = msgp.ReadUint32Bytes(b)
	if err1 != nil || err != nil {
		return errMalformed
	}
	f.token, b, err1 = msgp.ReadBytesZC(b)
	f.payload, _, err = msgp.ReadBytesZC(b)
	if err1 != nil || err != nil || len(f.token) > maxToken {
		return errMalformed
	}
	return nil
}
