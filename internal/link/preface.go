package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// A link begins with a preface in each direction. The dialler sends
//
//	0..3   "WEFT"
//	4      version of the link protocol: 1
//	5      flags: [FlagMesh]; bits that the acceptor does not know it ignores
//	6..13  network tag: the first 8 bytes of the network's ID
//	14..21 the dialler's node ID, big endian
//
// and goes on with frames at once. The acceptor answers
//
//	0..3   "WEFT"
//	4      version of the link protocol that the acceptor speaks
//	5      status
//	6..13  the acceptor's node ID, big endian
//
// and goes on with frames if the status is 0; otherwise it closes the conn.
// The first six bytes mean the same in every version, in both directions. Both
// node IDs are claims.
const (
	// Magic is what a dialler's first bytes are, so that one port can serve
	// links and other protocols.
	Magic = "WEFT"

	// ProtocolVersion is the version of the link protocol.
	ProtocolVersion = 1

	// FlagMesh, in the flags of a dialler's preface, says that the link is one of
	// the backbone: both ends are relays, and it carries what relays have for each
	// other. It is a claim until a session has proven the role. It means the same
	// in every version of the protocol; see [MeshPrefix].
	FlagMesh = 1 << 0

	// PrefixLen is how many of a dialler's first bytes mean the same in all
	// versions.
	PrefixLen = 6

	helloLen  = 22
	answerLen = 14
)

// A Status is the acceptor's answer to a preface.
type Status uint8

// The statuses.
const (
	StatusOK           Status = iota
	StatusVersion             // the acceptor does not speak the dialler's version
	StatusNetwork             // the acceptor does not serve the dialler's network
	StatusBusy                // the acceptor has all the links it may have
	StatusShuttingDown        // the acceptor is leaving
	StatusNoMesh              // the acceptor is no relay, and the link one between relays
)

// String says the status in words fit for an error.
func (s Status) String() string {
	switch s {
	case StatusOK:
		return "accepted"
	case StatusVersion:
		return "it speaks another version of the link protocol; run compatible releases on both ends"
	case StatusNetwork:
		return "it does not serve this network; check network name, secret or invite on both ends"
	case StatusBusy:
		return "it has as many links as it may have; try again later or use another relay"
	case StatusShuttingDown:
		return "it is shutting down; use another relay"
	case StatusNoMesh:
		return "it is a node that is no relay; relays link to relays only, so remove it from their Peers"
	}
	return fmt.Sprintf("it answered status %d, which this release does not know", uint8(s))
}

// reason says why this side refuses.
func (s Status) reason() string {
	switch s {
	case StatusVersion:
		return "another version of the link protocol"
	case StatusNetwork:
		return "a network that is not served here"
	case StatusBusy:
		return "too many links"
	case StatusShuttingDown:
		return "shutting down"
	case StatusNoMesh:
		return "a link between relays"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// A RefusedError is how a link ends that the other end did not accept.
type RefusedError struct {
	Status  Status
	Version uint8 // of the link protocol at the other end
}

// Error says what to do about the refusal.
func (e *RefusedError) Error() string { return "link: refused: " + e.Status.String() }

// ErrNotWeft is how a link ends whose other end is something else.
var ErrNotWeft = errors.New("link: the other end does not speak the weft link protocol; check the address")

// A NetworkTag tells networks apart on a port that serves several: the first
// 8 bytes of [identity.Network.ID].
type NetworkTag [8]byte

// TagOf returns the tag of the network with the given ID.
func TagOf(network [32]byte) NetworkTag { return NetworkTag(network[:8]) }

// A Hello is what a dialler says about itself.
type Hello struct {
	Flags   uint8
	Network NetworkTag
	Node    identity.NodeID // a claim
}

// Mesh reports whether the link claims to be one of the backbone.
func (h Hello) Mesh() bool { return h.Flags&FlagMesh != 0 }

// FromRelay returns h with the claim to be of the backbone.
func (h Hello) FromRelay() Hello {
	h.Flags |= FlagMesh
	return h
}

// MeshPrefix reports whether a link whose dialler began with the [PrefixLen]
// bytes first claims to be one of the backbone.
func MeshPrefix(first []byte) bool {
	return len(first) >= PrefixLen && string(first[:len(Magic)]) == Magic && first[5]&FlagMesh != 0
}

func (h Hello) encode() []byte {
	b := make([]byte, 0, helloLen)
	b = append(b, Magic...)
	b = append(b, ProtocolVersion, h.Flags)
	b = append(b, h.Network[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(h.Node))
}

// readHello reads a dialler's preface. The status is StatusVersion if only the
// prefix was understood.
func readHello(c PrefaceConn) (Hello, Status, error) {
	b := make([]byte, helloLen)
	if err := c.ReadPreface(b[:PrefixLen]); err != nil {
		return Hello{}, 0, fmt.Errorf("link: reading the preface: %w", err)
	}
	if string(b[:4]) != Magic {
		return Hello{}, 0, ErrNotWeft
	}
	if b[4] != ProtocolVersion {
		return Hello{}, StatusVersion, nil
	}
	if err := c.ReadPreface(b[PrefixLen:]); err != nil {
		return Hello{}, 0, fmt.Errorf("link: reading the preface: %w", err)
	}
	return Hello{
		Flags:   b[5],
		Network: NetworkTag(b[6:14]),
		Node:    identity.NodeID(binary.BigEndian.Uint64(b[14:])),
	}, StatusOK, nil
}

func encodeAnswer(s Status, self identity.NodeID) []byte {
	b := make([]byte, 0, answerLen)
	b = append(b, Magic...)
	b = append(b, ProtocolVersion, byte(s))
	return binary.BigEndian.AppendUint64(b, uint64(self))
}

// readAnswer reads the answer to a preface; anything but a yes is an error.
func readAnswer(c PrefaceConn) (identity.NodeID, error) {
	b := make([]byte, answerLen)
	if err := c.ReadPreface(b[:PrefixLen]); err != nil {
		return 0, fmt.Errorf("link: waiting for the answer to the preface: %w", err)
	}
	if string(b[:4]) != Magic {
		return 0, ErrNotWeft
	}
	if s := Status(b[5]); s != StatusOK {
		return 0, &RefusedError{Status: s, Version: b[4]}
	}
	if b[4] != ProtocolVersion {
		return 0, &RefusedError{Status: StatusVersion, Version: b[4]}
	}
	if err := c.ReadPreface(b[PrefixLen:]); err != nil {
		return 0, fmt.Errorf("link: waiting for the answer to the preface: %w", err)
	}
	return identity.NodeID(binary.BigEndian.Uint64(b[PrefixLen:])), nil
}

// Client sends the dialler's preface on c and returns c as a conn for frames.
// It does not wait for the answer: the first ReadFrame reads that, and fails
// with a [*RefusedError] or [ErrNotWeft] if it is not a yes.
func Client(c PrefaceConn, h Hello) (FrameConn, error) {
	if err := c.WritePreface(h.encode()); err != nil {
		return nil, fmt.Errorf("link: sending the preface: %w", err)
	}
	return &clientConn{PrefaceConn: c, said: make(chan struct{})}, nil
}

// Acceptor returns who a conn that [Client] returned leads to, as far as the
// answer to the preface says: a claim. It waits for the answer, which whoever
// reads frames reads first, and returns false when ctx ends before, or if fc
// is another kind of conn.
func Acceptor(ctx context.Context, fc FrameConn) (identity.NodeID, bool) {
	c, ok := fc.(*clientConn)
	if !ok {
		return 0, false
	}
	select {
	case <-c.said:
		return c.acceptor, true
	case <-ctx.Done():
		return 0, false
	}
}

// clientConn is a dialled conn whose answer comes before the first frame.
type clientConn struct {
	PrefaceConn
	answered bool            // read side only
	acceptor identity.NodeID // set before said is closed
	said     chan struct{}   // closed when the answer was a yes
}

func (c *clientConn) ReadFrame() (*frame.Frame, error) {
	if !c.answered {
		id, err := readAnswer(c)
		if err != nil {
			return nil, err
		}
		c.answered = true
		c.acceptor = id
		close(c.said)
	}
	return c.PrefaceConn.ReadFrame()
}

// base gives access to the optional powers of the conn below.
func (c *clientConn) base() FrameConn { return c.PrefaceConn }

// Server reads a dialler's preface from c and answers it: with what decide
// says, or with [StatusVersion]. It returns what the dialler said; any error
// and any status but [StatusOK] close c. A dialler that says nothing is waited
// for until ctx ends.
func Server(ctx context.Context, c PrefaceConn, self identity.NodeID, decide func(Hello) Status) (Hello, error) {
	return ServerAs(ctx, c, func(h Hello) (Status, identity.NodeID) { return decide(h), self }, self)
}

// ServerAs is Server for an acceptor that is several nodes, in different
// networks: decide also says which one answers. self answers a dialler of whom
// only the version was understood.
func ServerAs(ctx context.Context, c PrefaceConn, decide func(Hello) (Status, identity.NodeID), self identity.NodeID) (Hello, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	h, err := serve(ctx, c, decide, self)
	if !stop() && err == nil {
		err = fmt.Errorf("link: reading the preface: %w", context.Cause(ctx))
	}
	if err != nil {
		_ = c.Close()
	}
	return h, err
}

func serve(ctx context.Context, c PrefaceConn, decide func(Hello) (Status, identity.NodeID), self identity.NodeID) (Hello, error) {
	h, status, err := readHello(c)
	if err != nil {
		return h, err
	}
	if status == StatusOK {
		status, self = decide(h)
	}
	if err := c.WritePreface(encodeAnswer(status, self)); err != nil {
		return h, fmt.Errorf("link: answering the preface: %w", err)
	}
	if status == StatusOK {
		return h, nil
	}
	if l, ok := c.(lingerer); ok {
		l.linger(ctx)
	}
	return h, fmt.Errorf("link: refused %v: %s", c.RemoteAddr(), status.reason())
}
