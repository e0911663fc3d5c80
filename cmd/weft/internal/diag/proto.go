// Package diag is what weft up answers to weft doctor and weft bench of other nodes, on a
// port of its own: its view of the way between the two, and traffic for measuring that is
// bounded in time, number and rate, for one node at a time.
//
// Each stream begins with a request, a line of JSON, that is answered by another. What
// follows depends on the request:
//
//	view    nothing
//	begin   a bench: the stream holds it until it ends; the answer has its token
//	echo    bytes come back
//	sink    bytes are counted until their end, and an answer says how many came
//	source  bytes come for as long as was asked
//
// Packets to the same port come back, too, if they begin with the token of a bench that
// is going on.
package diag

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Port is the port of the overlay on which weft up answers: the last below those that
// are picked by themselves.
const Port = 49151

// The limits. A bench keeps a node busy, so that they are for everybody.
const (
	// MaxTime is how long one direction of a bench may take.
	MaxTime = 30 * time.Second
	// MaxStreams is how many streams may carry it.
	MaxStreams = 16
	// MaxRate is how many bytes a second the source sends at most, on all streams.
	MaxRate = 2 << 30
	// maxConns is how many conns the service has open: the streams of a bench, and some
	// who ask for a view meanwhile.
	maxConns = 2*MaxStreams + 16
	// maxLine is the length of a request or an answer, in bytes: a view names relays
	// and paths.
	maxLine = 32 << 10
	// requestTimeout is how long a request may take to come, and the last answer to go.
	requestTimeout = 10 * time.Second
	// maxBench is how long a bench may be held: both directions, round trips and packets.
	maxBench = 3 * MaxTime
	// TokenSize is the length of a token.
	TokenSize = 26
)

// The requests.
const (
	doView   = "view"
	doBegin  = "begin"
	doEcho   = "echo"
	doSink   = "sink"
	doSource = "source"
)

// A request is what a stream begins with.
type request struct {
	Do     string `json:"do"`
	Token  string `json:"token,omitempty"`   // of the bench
	Millis int64  `json:"time_ms,omitempty"` // how long source sends
	Rate   int64  `json:"rate,omitempty"`    // bytes a second of this stream; 0: as fast as it goes
}

func (r *request) time() time.Duration { return time.Duration(r.Millis) * time.Millisecond }

// check returns a sentence about what is wrong with a request.
func (r *request) check() error {
	switch r.Do {
	case doView, doBegin, doEcho, doSink, doSource:
	default:
		return fmt.Errorf("there is no request %.20q; is one of the nodes of another version?", r.Do)
	}
	switch {
	case r.Millis < 0 || r.Millis > MaxTime.Milliseconds():
		return fmt.Errorf("a bench of %d ms is asked for, and at most %d are allowed", r.Millis, MaxTime.Milliseconds())
	case r.Rate < 0 || r.Rate > MaxRate:
		return fmt.Errorf("a rate of %d bytes a second is asked for, and at most %d are allowed", r.Rate, int64(MaxRate))
	case len(r.Token) > TokenSize:
		return errors.New("the token is none of this node")
	}
	return nil
}

// An answer is what a request gets.
type answer struct {
	Error string `json:"error,omitempty"`
	View  *View  `json:"view,omitempty"`
	Token string `json:"token,omitempty"`

	Bytes   uint64 `json:"bytes,omitempty"`   // that sink has got
	Micros  int64  `json:"time_us,omitempty"` // from the first to the last of them
	Packets uint64 `json:"packets,omitempty"` // of the bench that have come
}

// A RefusedError is a request that the other node does not grant.
type RefusedError struct{ Reason string }

// Error implements error.
func (e *RefusedError) Error() string { return "the other node says: " + clean(e.Reason) }

// clean keeps what others say from doing anything to the terminal.
func clean(s string) string {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			r = '?'
		}
		out = append(out, r)
	}
	return string(out)
}

// newReader returns a reader for readLine.
func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, maxLine) }

// readLine reads a line of JSON that fits into r.
func readLine(r *bufio.Reader, v any) error {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return fmt.Errorf("a line is longer than %d bytes; is one of the nodes of another version?", r.Size())
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the other node has said nothing: %w", io.ErrUnexpectedEOF)
	case err != nil:
		return err
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("a line makes no sense; is one of the nodes of another version? %w", err)
	}
	return nil
}

// writeLine writes v as a line of JSON.
func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
