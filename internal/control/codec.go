package control

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

// headerLen is length (2), kind (2), request number (4).
const headerLen = 8

// majorMap is CBOR's major type of maps.
const majorMap = 5

// The CBOR dialect. Both modes are immutable and safe for concurrent use.
var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  4,
		MaxArrayElements: 64, // the types set narrower limits
		MaxMapPairs:      64,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
	}.DecMode())
)

// must returns v.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err) //nolint:forbidigo // a bug of ours: the options above are constants
	}
	return v
}

// encode returns m as it goes on the stream.
func encode(request uint32, m Message) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	body, err := encMode.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("control: encode message of kind %d: %w", m.kind(), err)
	}
	if len(body) > MaxBody {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, len(body), MaxBody)
	}
	b := make([]byte, headerLen, headerLen+len(body))
	binary.BigEndian.PutUint16(b, uint16(len(body)))
	binary.BigEndian.PutUint16(b[2:], uint16(m.kind()))
	binary.BigEndian.PutUint32(b[4:], request)
	return append(b, body...), nil
}

// An envelope is a message as it came off the stream. Message is nil when this
// release does not know the kind.
type envelope struct {
	kind    Kind
	request uint32
	message Message
}

// read reads one message from r. It returns io.EOF only between messages, an
// error that wraps [ErrMalformed] for bad content, and otherwise what r says.
func read(r io.Reader) (envelope, error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return envelope{}, err
	}
	size := int(binary.BigEndian.Uint16(head[:]))
	if size > MaxBody {
		return envelope{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, size, MaxBody)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return envelope{}, err
	}
	e := envelope{
		kind:    Kind(binary.BigEndian.Uint16(head[2:])),
		request: binary.BigEndian.Uint32(head[4:]),
	}
	var err error
	e.message, err = decode(e.kind, body)
	return e, err
}

// decode reads a body. The message is nil, without an error, when the kind is
// unknown.
func decode(k Kind, body []byte) (Message, error) {
	m := newMessage(k)
	if m == nil {
		return nil, nil
	}
	if len(body) == 0 || body[0]>>5 != majorMap {
		return nil, fmt.Errorf("%w of kind %d: the body is not a map", ErrMalformed, k)
	}
	if err := decMode.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w of kind %d: %w", ErrMalformed, k, err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}
