package sctp

import (
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/pion/datachannel"

	"github.com/weftnet/weft/stream"
)

// maxMessage is the most data in one binary message. Longer writes become
// several messages.
const maxMessage = 32 << 10

// protocol is what the DCEP OPEN of a channel names, and with it the meaning of
// its string messages; the label is the port in decimal.
const protocol = "weft/1"

// An op is what a string message says of its conn. Its bytes:
//
//	0     op
//	1..   argument, big endian: the code of opReset (4 bytes), the limit of
//	      opWindow (8 bytes); the others have none
type op uint8

const (
	opAccept op = 1 + iota // the answer to DCEP's OPEN is yes; opReset is no
	opFin                  // the sender writes no more
	opStop                 // the sender reads no more
	opReset                // both directions are aborted
	opWindow               // how many bytes of the conn the other side may send in all
)

// argLen is how long the argument of each op is.
var argLen = [...]int{opAccept: 0, opFin: 0, opStop: 0, opReset: 4, opWindow: 8}

// A message is one string message.
type message struct {
	op  op
	arg uint64
}

var errMessage = errors.New("sctp: the peer sent a message that does not exist; both nodes must run compatible releases")

// append appends the message's bytes to b.
func (m message) append(b []byte) []byte {
	b = append(b, byte(m.op))
	switch argLen[m.op] {
	case 4:
		b = binary.BigEndian.AppendUint32(b, uint32(m.arg))
	case 8:
		b = binary.BigEndian.AppendUint64(b, m.arg)
	}
	return b
}

// parseMessage decodes what append encodes.
func parseMessage(b []byte) (message, error) {
	if len(b) == 0 || b[0] < byte(opAccept) || b[0] > byte(opWindow) || len(b) != 1+argLen[b[0]] {
		return message{}, errMessage
	}
	m := message{op: op(b[0])}
	switch len(b) {
	case 5:
		m.arg = uint64(binary.BigEndian.Uint32(b[1:]))
	case 9:
		m.arg = binary.BigEndian.Uint64(b[1:])
	}
	return m, nil
}

// openConfig is what the DCEP OPEN of a conn says.
func openConfig(port uint16, log logger) *datachannel.Config {
	return &datachannel.Config{
		ChannelType:   datachannel.ChannelTypeReliable,
		Label:         strconv.Itoa(int(port)),
		Protocol:      protocol,
		LoggerFactory: log,
	}
}

var errOpen = errors.New("sctp: the peer opened a channel that is no conn; both nodes must run compatible releases")

// parseOpen returns the port that a DCEP OPEN names. Only reliable and ordered
// channels are conns.
func parseOpen(cfg *datachannel.Config) (port uint16, err error) {
	n, err := strconv.ParseUint(cfg.Label, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != cfg.Label ||
		cfg.Protocol != protocol || cfg.ChannelType != datachannel.ChannelTypeReliable || cfg.ReliabilityParameter != 0 {
		return 0, errOpen
	}
	return uint16(n), nil
}

// handle does what the peer says about a conn. It runs where packets arrive and
// never blocks.
func (c *conn) handle(msg message) error {
	switch msg.op {
	case opAccept:
		c.change(func() { c.answered = true })
	case opFin:
		c.change(func() { c.finished = true })
	case opStop:
		c.stopped()
	case opReset:
		c.aborted(stream.Code(msg.arg))
	case opWindow:
		c.change(func() { c.sendLimit = max(c.sendLimit, msg.arg) })
	}
	return nil
}
