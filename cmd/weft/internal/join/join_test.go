package join

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/weftnet/weft/stream"
)

// patience is how long something may take that should be there at once.
const patience = 20 * time.Second

// pair returns the two ends of a TCP connection, which end with the test.
func pair(t *testing.T) (here, there *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []net.Conn{c, s} {
		_ = x.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { _ = x.Close() })
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// joined joins two TCP connections and returns the outer ends, and what Conns
// returns.
func joined(t *testing.T, ctx context.Context) (a, b *net.TCPConn, result <-chan error) { //nolint:revive // t is first in tests
	t.Helper()
	a, innerA := pair(t)
	b, innerB := pair(t)
	done := make(chan error, 1)
	go func() { done <- Conns(ctx, innerA, innerB, nil) }()
	return a, b, done
}

func TestHalfCloseIsPassedOn(t *testing.T) {
	t.Parallel()
	client, server, result := joined(t, t.Context())
	_, _ = client.Write([]byte("question"))
	_ = client.CloseWrite()
	if got, err := io.ReadAll(server); string(got) != "question" || err != nil {
		t.Errorf("the server reads %q, %v", got, err)
	}
	_, _ = server.Write([]byte("answer"))
	_ = server.Close()
	if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
		t.Errorf("the client reads %q, %v", got, err)
	}
	if err := <-result; err != nil {
		t.Errorf("a clean end: %v", err)
	}
}

func TestAResetIsPassedOn(t *testing.T) {
	t.Parallel()
	client, server, result := joined(t, t.Context())
	_, _ = client.Write([]byte("x"))
	_, _ = io.ReadFull(server, make([]byte, 1))
	_ = client.SetLinger(0)
	_ = client.Close()
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server reads %v, want a reset", err)
	}
	if err := <-result; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

func TestTheContextResetsBoth(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	client, server, result := joined(t, ctx)
	cause := errors.New("enough")
	cancel(cause)
	for _, c := range []net.Conn{client, server} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v, want a reset", err)
		}
	}
	if err := <-result; !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestMuchInBothDirections(t *testing.T) {
	t.Parallel()
	a, b, result := joined(t, t.Context())
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	sum := make(chan []byte, 2)
	for _, c := range []*net.TCPConn{a, b} {
		go func() {
			_, _ = c.Write(data)
			_ = c.CloseWrite()
		}()
		go func() {
			got, _ := io.ReadAll(c)
			sum <- got
		}()
	}
	for range 2 {
		if got := <-sum; !bytes.Equal(got, data) {
			t.Errorf("got %d bytes, want %d", len(got), len(data))
		}
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// A fake is a conn whose reads and writes are told.
type fake struct {
	net.Conn
	reads  chan error // what Read returns after its bytes
	writes error
	reset  chan stream.Code
	closed chan struct{}
}

func newFake() *fake {
	return &fake{reads: make(chan error, 1), reset: make(chan stream.Code, 1), closed: make(chan struct{}, 4)}
}

func (f *fake) Read([]byte) (int, error)    { return 0, <-f.reads }
func (f *fake) Write(b []byte) (int, error) { return len(b), f.writes }
func (f *fake) CloseWrite() error           { return nil }
func (f *fake) Close() error                { f.closed <- struct{}{}; return nil }
func (f *fake) RemoteAddr() net.Addr        { return stream.Addr{} }
func (f *fake) Reset(c stream.Code) error {
	select {
	case f.reset <- c:
		f.reads <- net.ErrClosed
	default:
	}
	return nil
}

// A peer that has closed its conn after its answer reads nothing any more; the answer
// must arrive all the same.
func TestAPeerThatStoppedReadingIsHeardToItsEnd(t *testing.T) {
	t.Parallel()
	client, inner := pair(t)
	peer := newFake()
	peer.writes = &stream.ResetError{Code: stream.CodeCanceled, Remote: true}
	result := make(chan error, 1)
	go func() { result <- Conns(t.Context(), inner, peer, nil) }()
	_, _ = client.Write([]byte("nobody reads that"))
	_ = client.CloseWrite()
	peer.reads <- io.EOF
	if err := <-result; err != nil || len(peer.reset) != 0 {
		t.Errorf("got %v, and the peer was reset %d times", err, len(peer.reset))
	}
}

func TestAPeerThatIsGoneClosesTheOther(t *testing.T) {
	t.Parallel()
	client, inner := pair(t)
	peer := newFake()
	result := make(chan error, 1)
	go func() { result <- Conns(t.Context(), inner, peer, nil) }()
	peer.reads <- ErrGone
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v, want the end", err)
	}
	if err := <-result; err != nil {
		t.Errorf("got %v", err)
	}
}

func TestResetFallsBackToClose(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	Reset(here, stream.CodeCanceled)
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if err := CloseWrite(there); err != nil {
		t.Error(err)
	}
	if _, err := there.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestWhySaysWhatTheCodesMean(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"the node could not reach the target behind the port": &stream.ResetError{Code: CodeTarget, Remote: true},
		"the node has as many conns on the port as it allows": &stream.ResetError{Code: stream.CodeBacklogFull, Remote: true},
		"pigeon": errors.New("pigeon"),
	} {
		if got := Why(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
