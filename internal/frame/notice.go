package frame

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weftnet/weft/internal/identity"
)

// A NoticeCode says why a relay could not forward a frame, or what changed
// about a node that the receiver talks to.
type NoticeCode uint8

// The notice codes. Notices are hints: they fail a dial that has no answer
// yet, and make an established session look, but never end it.
const (
	NoticeUnknown   NoticeCode = 1 + iota // no such node is attached
	NoticeGone                            // the node was attached and its link went down
	NoticeBack                            // the node has attached again: probe it
	NoticeTooBig                          // the frame exceeds the next link; Arg is the largest packet
	NoticeThrottled                       // dropped by a rate limit of the relay
	NoticeHopLimit                        // the frame was forwarded too often
	NoticeDenied                          // the relay does not forward for this link (yet)
)

// GoneHungUp is the Arg of a NoticeGone about a node that ended its link itself,
// as the operating system does for a process that died. A link that merely went
// silent says less about the node behind it: the Arg is 0 then.
const GoneHungUp = 1

// String names the code in words fit for an error.
func (c NoticeCode) String() string {
	switch c {
	case NoticeUnknown:
		return "no such node at the relay"
	case NoticeGone:
		return "node has left the relay"
	case NoticeBack:
		return "node is back at the relay"
	case NoticeTooBig:
		return "packet too big for the next link"
	case NoticeThrottled:
		return "throttled by the relay"
	case NoticeHopLimit:
		return "hop limit reached"
	case NoticeDenied:
		return "relay refuses to forward"
	}
	return fmt.Sprintf("notice %d", uint8(c))
}

// A Notice is what a relay tells the neighbour about another node.
type Notice struct {
	Code NoticeCode
	Node identity.NodeID // whom it is about
	Arg  uint32          // NoticeTooBig: the largest packet; NoticeGone: 0 or GoneHungUp; otherwise 0
}

// noticeLen is code (1), node (8), argument (4).
const noticeLen = 13

// ErrNotice is what parsing a malformed notice gives.
var ErrNotice = errors.New("frame: malformed notice")

// NewNotice returns a frame that carries n to the neighbour.
func NewNotice(n Notice) *Frame {
	f := New(noticeLen)
	f.SetType(TypeNotice)
	f.SetDst(0)
	f.SetSrc(0)
	p := f.Packet()
	p[0] = byte(n.Code)
	binary.BigEndian.PutUint64(p[1:], uint64(n.Node))
	binary.BigEndian.PutUint32(p[9:], n.Arg)
	return f
}

// ParseNotice reads the packet of a TypeNotice frame; it ignores trailing
// bytes.
func ParseNotice(p []byte) (Notice, error) {
	if len(p) < noticeLen {
		return Notice{}, ErrNotice
	}
	return Notice{
		Code: NoticeCode(p[0]),
		Node: identity.NodeID(binary.BigEndian.Uint64(p[1:])),
		Arg:  binary.BigEndian.Uint32(p[9:]),
	}, nil
}
