package yamux

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weftnet/weft/stream"
)

// The control stream starts with one byte, the version, from each side. After
// it come messages of fixed length:
//
//	0     op
//	1..4  yamux stream, big endian
//	5..8  argument, big endian: the port of opOpen, the code of opReset
const (
	controlVersion = 1
	messageLen     = 9
)

// An op is what a control message says of a stream.
type op uint8

const (
	opOpen   op = 1 + iota // the stream is a wish for a conn; its SYN came before
	opAccept               // the answer to opOpen is yes; opReset is no
	opFin                  // the end of the stream that yamux tells is a clean one
	opStop                 // the sender reads no more
	opReset                // both directions are aborted
)

// A message is one control message.
type message struct {
	op  op
	id  uint32
	arg uint32
}

var (
	errControlVersion = errors.New("yamux: the peer speaks another version of the control stream; both nodes must run compatible releases")
	errControlOp      = errors.New("yamux: the peer sent a control message that does not exist")
)

// append appends the message's bytes to b.
func (m message) append(b []byte) []byte {
	b = append(b, byte(m.op))
	b = binary.BigEndian.AppendUint32(b, m.id)
	return binary.BigEndian.AppendUint32(b, m.arg)
}

// parseMessage reads the messageLen bytes of a message.
func parseMessage(b []byte) (message, error) {
	if len(b) != messageLen {
		return message{}, fmt.Errorf("yamux: control message of %d bytes", len(b))
	}
	m := message{
		op:  op(b[0]),
		id:  binary.BigEndian.Uint32(b[1:]),
		arg: binary.BigEndian.Uint32(b[5:]),
	}
	if m.op < opOpen || m.op > opReset {
		return message{}, errControlOp
	}
	return m, nil
}

// handle does what the peer says. It runs in the mux's goroutine and never
// blocks, but for an opOpen whose stream has not come: the peer then harms
// nobody but itself.
func (m *mux) handle(msg message) error {
	if msg.op == opOpen {
		return m.incoming(msg.id, uint16(msg.arg))
	}
	m.mu.Lock()
	c := m.conns[msg.id]
	m.mu.Unlock()
	if c == nil {
		return nil // it crossed with the end of the conn on this side
	}
	switch msg.op {
	case opAccept:
		c.change(func() { c.answered = true })
	case opFin:
		c.change(func() { c.finished = true })
	case opStop:
		c.stopped()
	case opReset:
		c.aborted(stream.Code(msg.arg))
	}
	return nil
}
