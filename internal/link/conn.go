package link

import (
	"context"
	"net"
	"time"

	"github.com/weftnet/weft/internal/frame"
)

// A FrameConn is what a [Link] runs on: a pipe that keeps frames whole. One
// goroutine may read while another writes; Close and the addresses may be
// called from anywhere.
type FrameConn interface {
	// ReadFrame returns the next frame, owned by the caller. An error other
	// than a frame's own content ends the conn: there is no way to find the
	// next frame after a malformed one.
	ReadFrame() (*frame.Frame, error)
	// WriteFrames writes all frames, in order, in as few system calls as
	// possible. It takes no ownership.
	WriteFrames([]*frame.Frame) error
	// MaxPacket is the largest packet that a frame on this conn carries.
	MaxPacket() int
	// Close unblocks both ReadFrame and WriteFrames.
	Close() error
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// A PrefaceConn is a FrameConn that carries a few bytes in each direction
// before the first frame: see [Client] and [Server].
type PrefaceConn interface {
	FrameConn
	// ReadPreface fills b. It is called before the first ReadFrame only.
	ReadPreface(b []byte) error
	// WritePreface writes b. It is called before the first WriteFrames only.
	WritePreface(b []byte) error
}

// Optional powers of a FrameConn, found by type assertion.
type (
	// halfCloser ends the write direction after what was written.
	halfCloser interface{ CloseWrite() error }
	// tryWriter writes a frame without ever waiting. What the transport does not take
	// it keeps and writes before what comes next; then it reports false. A transport
	// that only seems to have the power says so with canTry.
	tryWriter interface {
		canTry() bool
		tryWrite(f *frame.Frame) (whole bool)
	}
	// acker knows how long ago the other end's transport acknowledged
	// something; false if that is not known.
	acker interface{ sinceAck() (time.Duration, bool) }
	// lingerer makes sure, within bounds, that the other end has read what was
	// written last, although what it sent meanwhile is not wanted.
	lingerer interface{ linger(ctx context.Context) }
)
