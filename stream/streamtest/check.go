package streamtest

import (
	"errors"
	"io"
	"net"
	"os"

	"github.com/weftnet/weft/stream"
)

// dressed checks what all errors of conns but io.EOF have in common.
func (l *lab) dressed(op string, c stream.Conn, err error) {
	l.Helper()
	e, ok := err.(*net.OpError)
	switch {
	case !ok:
		l.Fatalf("%s: error is %T (%v), want *net.OpError", op, err, err)
	case e.Net != "overlay" || e.Op != op || e.Source != c.LocalAddr() || e.Addr != c.RemoteAddr():
		l.Errorf("%s: error has Op %q, Net %q, Source %v, Addr %v; want %q, overlay, %v, %v",
			op, e.Op, e.Net, e.Source, e.Addr, op, c.LocalAddr(), c.RemoteAddr())
	}
}

// wantReset checks for the peer's reset.
func (l *lab) wantReset(op string, c stream.Conn, err error, code stream.Code) {
	l.Helper()
	l.dressed(op, c, err)
	e, ok := errors.AsType[*stream.ResetError](err)
	if !ok || !e.Remote || e.Code != code {
		l.Fatalf("%s: error is %v, want a reset by the peer with %q", op, err, code)
	}
	if errors.Is(err, net.ErrClosed) {
		l.Errorf("%s: %v matches net.ErrClosed, although the peer did it", op, err)
	}
}

// wantClosed checks for what a call says after this side has closed.
func (l *lab) wantClosed(op string, c stream.Conn, err error) {
	l.Helper()
	l.dressed(op, c, err)
	if !errors.Is(err, net.ErrClosed) {
		l.Fatalf("%s: error is %v, want net.ErrClosed", op, err)
	}
}

// wantTimeout checks for a passed deadline.
func (l *lab) wantTimeout(op string, c stream.Conn, err error) {
	l.Helper()
	l.dressed(op, c, err)
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		l.Fatalf("%s: error is %v, want os.ErrDeadlineExceeded and a timeout", op, err)
	}
}

// wantBroken checks for an end that nobody may take for a clean one.
func (l *lab) wantBroken(op string, err error) {
	l.Helper()
	if ne, ok := errors.AsType[net.Error](err); err == nil || errors.Is(err, io.EOF) || ok && ne.Timeout() {
		l.Fatalf("%s: error is %v, want one that is neither EOF nor a timeout", op, err)
	}
}

// wantRefused checks what Open says of a refusal.
func (l *lab) wantRefused(err error, code stream.Code) {
	l.Helper()
	e, ok := errors.AsType[*stream.ResetError](err)
	if !ok || !e.Remote || e.Code != code {
		l.Fatalf("Open: error is %v, want a refusal by the peer with %q", err, code)
	}
	if !errors.Is(err, stream.ErrRefused) {
		l.Errorf("Open: %v does not match stream.ErrRefused", err)
	}
}
