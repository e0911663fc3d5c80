package matrix

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

var listenerCells = []cell{
	{name: "full-backlog", run: testFullBacklog},
	{name: "accept-cancelled", run: testAcceptCancelled},
	{name: "dial-cancelled", run: testDialCancelled},
	{name: "close-refuses-who-waits", run: testCloseRefuses},
	{name: "close-leaves-conns", run: testCloseLeaves},
}

// echoed shows that two conns are the two ends of one.
func (l *lab) echoed(a, b net.Conn) {
	l.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		_, err := way[0].Write([]byte("hello"))
		l.must(err)
		buf := make([]byte, 5)
		if _, err := io.ReadFull(way[1], buf); err != nil || string(buf) != "hello" {
			l.Fatalf("Read = %q, %v", buf, err)
		}
	}
}

func testFullBacklog(l *lab) {
	const backlog = 3
	ln := l.listen(l.b, 80, listener.ListenConfig{Backlog: backlog})
	var waiting []net.Conn
	for range backlog {
		waiting = append(waiting, l.dial(l.a))
	}
	for range 3 {
		l.wantRefused(l.a, stream.CodeBacklogFull)
	}
	for _, c := range waiting { // who waits is served, and makes room
		l.echoed(c, l.accept(ln))
	}
	c := l.dial(l.a)
	l.echoed(c, l.accept(ln))
}

func testAcceptCancelled(l *lab) {
	ln := l.listen(l.b, 80, listener.ListenConfig{})
	ctx, cancel := context.WithCancel(l.ctx)
	accepted := make(chan error, 1)
	go func() {
		_, err := ln.AcceptContext(ctx)
		accepted <- err
	}()
	cancel()
	if err := await(l, "Accept", accepted); !errors.Is(err, context.Canceled) {
		l.Errorf("Accept: error is %v, want context.Canceled", err)
	}
	c := l.dial(l.a)
	l.echoed(c, l.accept(ln))
}

func testDialCancelled(l *lab) {
	ln := l.listen(l.b, 80, listener.ListenConfig{})
	l.b.stop() // nobody answers
	ctx, cancel := context.WithCancel(l.ctx)
	dialled := make(chan error, 1)
	go func() {
		_, err := l.a.Dial(ctx, l.b.host()+":80")
		dialled <- err
	}()
	cancel()
	if err := await(l, "Dial", dialled); !errors.Is(err, context.Canceled) {
		l.Errorf("Dial: error is %v, want context.Canceled", err)
	}
	l.b.serve()
	c := l.dial(l.a)
	for { // what was cancelled may have come through nevertheless, and ends
		s := l.accept(ln)
		if s.RemoteAddr() == c.LocalAddr() {
			l.echoed(c, s)
			return
		}
		_, err := s.Read(make([]byte, 1))
		if _, ok := errors.AsType[*stream.ResetError](err); !ok {
			l.Errorf("the conn of a cancelled dial: %v, want a reset", err)
		}
	}
}

func testCloseRefuses(l *lab) {
	ln := l.listen(l.b, 80, listener.ListenConfig{})
	c := l.dial(l.a)
	l.must(ln.Close())
	_, err := c.Read(make([]byte, 1))
	if e, ok := errors.AsType[*stream.ResetError](err); !ok || e.Code != stream.CodeNoListener {
		l.Errorf("Read: error is %v, want a reset because %s", err, stream.CodeNoListener)
	}
	l.wantRefused(l.a, stream.CodeNoListener)
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		l.Errorf("Accept: error is %v, want net.ErrClosed", err)
	}
}

func testCloseLeaves(l *lab) {
	ln := l.listen(l.b, 80, listener.ListenConfig{})
	c := l.dial(l.a)
	s := l.accept(ln)
	l.must(ln.Close())
	l.echoed(c, s)
}
