// Package bulk is a remote call whose request and answer may each have a body of any
// length, an io.Reader: a small typed header, the body in chunks, and a trailer that
// says whether the body is whole. It needs a conn and nothing else: one of the
// overlay, TCP, a pipe, or the standard input and output of another process.
//
//	answer, body, err := bulk.Call[Get, Info](ctx, dialer, "get", Get{Name: "monday"}, nil)
//
// # On the wire
//
// A conn begins with the caller's line "weft-bulk 1". Then there are calls, one after
// the other: a header, and a body if the header says so, from the caller; then, or
// meanwhile, the same from the server. All are frames: a byte for the kind, four bytes
// for the length, big endian, and as many bytes.
//
//	H  header   JSON of a request or response, at most MaxHeader bytes
//	D  data     1 to 262144 bytes of a body
//	T  trailer  JSON: the body's length and CRC-32C, or why it ends early
//
// A body of no bytes is a trailer alone.
package bulk

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"github.com/weftnet/weft/stream"
)

const (
	// MaxHeader is how long the JSON of a header or trailer may be, in bytes: it is
	// kept in memory, and what is longer belongs into a body.
	MaxHeader = 64 << 10
	// maxChunk is how much of a body is in one frame: large enough that frames cost
	// nothing, small enough to have some in memory for each call.
	maxChunk = 256 << 10
	// maxErrorText is how much of an error's text is told, in bytes.
	maxErrorText = 4 << 10

	preface = "weft-bulk 1\n"
	headLen = 5

	kindHeader  = 'H'
	kindData    = 'D'
	kindTrailer = 'T'
)

// A request is the header of a call.
type request struct {
	Name    string          `json:"name"`
	Value   json.RawMessage `json:"value,omitempty"`
	Body    bool            `json:"body,omitempty"`
	Timeout int64           `json:"timeout_ms,omitempty"` // for the whole call; zero: none
}

// A response is the header of an answer.
type response struct {
	Error *Error          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
	Body  bool            `json:"body,omitempty"`
}

// A trailer is the end of a body.
type trailer struct {
	Bytes int64  `json:"bytes"`
	CRC   uint32 `json:"crc32c"`
	Error *Error `json:"error,omitempty"` // the body is not whole
}

// An Error is what the other side said: all other errors are this side's, or the
// conn's.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return fmt.Sprintf("the other side says: %s (%s)", e.Text, e.Code) }

// Is makes a deadline that passed on the other side one that passed.
func (e *Error) Is(target error) bool {
	return e.Code == TimedOut && target == context.DeadlineExceeded
}

// A Code says what sort of error it is, for programs. Handlers may have their own.
type Code string

const (
	Failed   Code = "failed"   // the handler or its body
	Unknown  Code = "unknown"  // there is no such handler
	Invalid  Code = "invalid"  // the request is not one for this handler
	TimedOut Code = "timeout"  // the deadline that the caller had told
	Stopped  Code = "stopped"  // the sender of a body stopped because nobody wants the rest
	Panicked Code = "panicked" // the handler
)

// tell makes an error one that can be sent.
func tell(err error, code Code) *Error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Code: code, Text: err.Error()}
	}
	if len(e.Text) > maxErrorText {
		e = &Error{Code: e.Code, Text: e.Text[:maxErrorText]}
	}
	return e
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// buffers are for chunks with their heads.
var buffers = sync.Pool{New: func() any { return new([headLen + maxChunk]byte) }}

// A wire reads and writes frames. One goroutine at a time may read, one write.
type wire struct {
	rw io.ReadWriteCloser
	in *bufio.Reader // for heads and headers; long reads pass it by
}

func newWire(rw io.ReadWriteCloser) *wire { return &wire{rw: rw, in: bufio.NewReaderSize(rw, 4<<10)} }

// abort ends everything that goes on, on both sides.
func (w *wire) abort() {
	if r, ok := w.rw.(interface{ Reset(stream.Code) error }); ok {
		_ = r.Reset(stream.CodeCanceled) // what was written and not sent is not sent any more
	}
	_ = w.rw.Close()
}

// patience limits reads, where the conn can do that; zero is for ever.
func (w *wire) patience(d time.Duration) {
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	if c, ok := w.rw.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = c.SetReadDeadline(until)
	}
}

func putHead(b []byte, kind byte, n int) {
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:headLen], uint32(n))
}

// encode makes a frame of a header or trailer. Nothing was sent if that fails.
func encode(before string, kind byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(text) > MaxHeader {
		return nil, fmt.Errorf("the header has %d bytes and may have %d: send what is long as a body", len(text), MaxHeader)
	}
	frame := append([]byte(before), make([]byte, headLen)...)
	putHead(frame[len(before):], kind, len(text))
	return append(frame, text...), nil
}

// head reads the head of a frame.
func (w *wire) head() (kind byte, n int, err error) {
	var b [headLen]byte
	if _, err := io.ReadFull(w.in, b[:]); err != nil {
		return 0, 0, unexpected(err)
	}
	kind = b[0]
	length := binary.BigEndian.Uint32(b[1:])
	switch {
	case kind != kindHeader && kind != kindData && kind != kindTrailer:
		return 0, 0, fmt.Errorf("a frame of the unknown kind %#x came: the other side speaks another protocol", kind)
	case kind == kindData && (length == 0 || length > maxChunk), kind != kindData && length > MaxHeader:
		return 0, 0, fmt.Errorf("a frame %c of %d bytes came, which is not allowed", kind, length)
	}
	return kind, int(length), nil
}

// decode reads the rest of a header or trailer.
func (w *wire) decode(n int, v any) error {
	text := make([]byte, n)
	if _, err := io.ReadFull(w.in, text); err != nil {
		return unexpected(err)
	}
	return json.Unmarshal(text, v)
}

// header reads a header.
func (w *wire) header(v any) error {
	kind, n, err := w.head()
	if err != nil {
		return err
	}
	if kind != kindHeader {
		return fmt.Errorf("a frame %c came where a header belongs", kind)
	}
	return w.decode(n, v)
}

// unexpected is for ends of the conn where there should be more.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// send sends a body. The first error is the body's own, which the trailer tells, the
// second that of the conn.
func (w *wire) send(body io.Reader, stopped func() bool) (failed, broken error) {
	buf := buffers.Get().(*[headLen + maxChunk]byte)
	defer buffers.Put(buf)
	var t trailer
	for empty := 0; failed == nil; {
		if stopped() {
			failed = &Error{Code: Stopped, Text: "the answer came first"}
			break
		}
		var n int
		n, failed = body.Read(buf[headLen:])
		if n > 0 {
			t.Bytes += int64(n)
			t.CRC = crc32.Update(t.CRC, castagnoli, buf[headLen:headLen+n])
			putHead(buf[:], kindData, n)
			if _, err := w.rw.Write(buf[:headLen+n]); err != nil {
				return nil, err
			}
			empty = 0
		} else if empty++; empty > 100 && failed == nil {
			failed = io.ErrNoProgress
		}
	}
	if failed == io.EOF {
		failed = nil
	} else {
		t.Error = tell(failed, Failed)
	}
	frame, err := encode("", kindTrailer, t)
	if err != nil {
		return failed, err
	}
	_, err = w.rw.Write(frame)
	return failed, err
}

// A bodyReader reads a body. It gives io.EOF once the trailer has proven that all has
// come.
type bodyReader struct {
	w     *wire
	left  int // of the chunk
	got   trailer
	err   error       // how it ended
	ended func(error) // is told, once; nil: nobody
}

func (b *bodyReader) Read(p []byte) (int, error) {
	for b.err == nil && b.left == 0 && len(p) > 0 {
		b.next()
	}
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	n, err := b.w.in.Read(p[:min(len(p), b.left)])
	b.left -= n
	b.got.Bytes += int64(n)
	b.got.CRC = crc32.Update(b.got.CRC, castagnoli, p[:n])
	if err != nil {
		b.end(unexpected(err))
	}
	if n == 0 {
		return 0, b.err
	}
	return n, nil
}

// WriteTo is for io.Copy, whose own buffer is small.
func (b *bodyReader) WriteTo(w io.Writer) (total int64, err error) {
	if b.err == io.EOF {
		return 0, nil
	}
	buf := buffers.Get().(*[headLen + maxChunk]byte)
	defer buffers.Put(buf)
	for {
		n, err := b.Read(buf[:])
		if n > 0 {
			m, err := w.Write(buf[:n])
			total += int64(m)
			if err != nil {
				return total, err
			}
		}
		if err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// next reads the head of the next frame, and the trailer if it is that.
func (b *bodyReader) next() {
	kind, n, err := b.w.head()
	switch {
	case err != nil:
		b.end(err)
	case kind == kindData:
		b.left = n
	case kind == kindTrailer:
		b.end(b.check(n))
	default:
		b.end(errors.New("a header came in the middle of a body"))
	}
}

// check reads the trailer.
func (b *bodyReader) check(n int) error {
	var t trailer
	if err := b.w.decode(n, &t); err != nil {
		return err
	}
	switch {
	case t.Error != nil:
		return t.Error
	case t.Bytes != b.got.Bytes || t.CRC != b.got.CRC:
		return fmt.Errorf("%d bytes with the checksum %08x came of a body that had %d with %08x: do not use them", b.got.Bytes, b.got.CRC, t.Bytes, t.CRC)
	}
	return io.EOF
}

func (b *bodyReader) end(err error) {
	b.err = err
	if b.ended != nil {
		b.ended(err)
	}
}

// inSync reports whether the next call can follow: the trailer was read, whatever it
// said.
func (b *bodyReader) inSync() bool {
	_, told := errors.AsType[*Error](b.err)
	return b.err == io.EOF || told
}
