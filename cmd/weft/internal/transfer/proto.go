// Package transfer sends files from one node to another on one stream, and goes on where
// a former attempt has ended.
//
// The sender begins with a hello: a code, how many files there are, and how many bytes.
// The receiver accepts, or says why not. Then comes each file: the sender names it and
// its size; the receiver says how many bytes of it are there, and their SHA-256; the
// sender says where it goes on, which is there if its own first bytes have that hash, and
// 0 otherwise; the bytes follow, and the SHA-256 of the whole; the receiver says whether
// it has arrived. A file that is refused is left out, and the next one follows.
//
// What the sender and the receiver say are lines of JSON.
package transfer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/stream"
)

// Port is the port of the overlay on which weft receive listens if nobody says.
const Port = 49150

const (
	// maxLine is the length of what either side says at once, in bytes: a name, and
	// little else.
	maxLine = 8 << 10
	// idleTimeout is how long either side may say nothing: long enough to hash what is
	// there of a hundred gigabytes.
	idleTimeout = 5 * time.Minute
	// helloTimeout is how long a hello may take to come.
	helloTimeout = 10 * time.Second
	// blockSize is how much is read or written at a time.
	blockSize = 256 << 10
	// hashSize is the length of a SHA-256.
	hashSize = 32
)

// A hello is what the sender begins with.
type hello struct {
	Code  string `json:"code,omitempty"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

// An offer names a file.
type offer struct {
	Name string `json:"name,omitempty"` // with slashes
	Size int64  `json:"size,omitempty"` // bytes
	Skip bool   `json:"skip,omitempty"` // the sender cannot read it: the next one follows
}

// A state says what the receiver has, or why it wants no more.
type state struct {
	Error string `json:"error,omitempty"`
	Have  int64  `json:"have,omitempty"` // bytes from the beginning
	Hash  []byte `json:"hash,omitempty"` // their SHA-256
	Only  bool   `json:"only,omitempty"` // they are not to be replaced by others
}

// A start says where the sender goes on.
type start struct {
	Offset int64 `json:"offset"` // or leaveOut
}

// leaveOut is the offset of a file that is left out, because the receiver has another one
// of that name. The next file follows.
const leaveOut = -1

// errDiffers is why.
var errDiffers = errors.New("a file of that name is there already, and differs; weft receive --force replaces it")

// An end is behind the bytes.
type end struct {
	Hash []byte `json:"hash"` // of the whole
}

// A RefusedError is what the receiver does not want, and why.
type RefusedError struct{ Reason string }

// Error implements error.
func (e *RefusedError) Error() string { return "the receiver says: " + Printable(e.Reason) }

// Printable keeps what others say from doing anything to a terminal.
func Printable(s string) string {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r < 0xa0 || isBidi(r) {
			r = '?'
		}
		out = append(out, r)
	}
	return string(out)
}

// A wire is the stream between the two.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
}

// newWire returns a wire that is reset when ctx ends, until stop is called.
func newWire(ctx context.Context, conn net.Conn) (w *wire, stop func() bool) {
	w = &wire{conn: conn}
	w.r = bufio.NewReaderSize(readerFunc(func(p []byte) (int, error) { return w.conn.Read(p) }), blockSize)
	return w, context.AfterFunc(ctx, func() { join.Reset(conn, stream.CodeCanceled) })
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// renew gives the other side time.
func (w *wire) renew(d time.Duration) error { return w.conn.SetDeadline(time.Now().Add(d)) }

func (w *wire) say(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) >= maxLine {
		return errors.New("a name is too long to be sent; give the file a shorter one")
	}
	if err := w.renew(idleTimeout); err != nil {
		return err
	}
	_, err = w.conn.Write(append(b, '\n'))
	return err
}

func (w *wire) hear(v any) error {
	line, err := readLine(w.r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("the other side makes no sense; is it of another version of weft? %w", err)
	}
	return nil
}

// readLine reads a line of at most maxLine bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		c, err := r.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("the other side has ended the transfer: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return nil, err
		case c == '\n':
			return line, nil
		case len(line) >= maxLine:
			return nil, errors.New("the other side makes no sense; is it of another version of weft?")
		}
		line = append(line, c)
	}
}

// carry copies n bytes, in blocks, each of which may take idleTimeout. It tells count of
// each.
func (w *wire) carry(to io.Writer, from io.Reader, n int64, count func(int64)) error {
	buf := make([]byte, blockSize)
	for n > 0 {
		if err := w.renew(idleTimeout); err != nil {
			return err
		}
		got, err := from.Read(buf[:min(n, blockSize)])
		if got > 0 {
			if _, err := to.Write(buf[:got]); err != nil {
				return err
			}
			n -= int64(got)
			count(int64(got))
		}
		switch {
		case n == 0:
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}
