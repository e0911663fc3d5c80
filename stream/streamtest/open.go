package streamtest

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/weftnet/weft/stream"
)

var openCases = []testCase{
	{name: "BothEndsNameTheConnAlike", run: testAddresses},
	{name: "EitherSideOpens", run: testEitherSideOpens},
	{name: "BothSidesOpenAtTheSameTime", run: testBothSidesOpen},
	{name: "RequestsNameThePort", run: testPorts},
	{name: "RefusalsCarryTheirCode", run: testRefuse},
	{name: "EarlyDataIsReadOnceAccepted", run: testEarlyData},
	{name: "EarlyDataFailsOnceRefused", run: testEarlyRefused},
	{name: "OpenEndsWithItsContext", run: testOpenCancelled},
	{name: "OpenNeedsALiveContext", run: testOpenDeadContext},
	{name: "AcceptEndsWithItsContext", run: testAcceptCancelled},
	{name: "ARequestWinsOverAnEndedContext", run: testAcceptDeadContext},
	{name: "AnUnansweredRequestHoldsUpNobody", run: testUnanswered},
}

func testAddresses(l *lab) {
	a, b := l.conns()
	if a.LocalAddr() != b.RemoteAddr() || a.RemoteAddr() != b.LocalAddr() {
		l.Errorf("opener has %v to %v, acceptor %v to %v", a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
	}
	if addr, ok := a.RemoteAddr().(stream.Addr); !ok || addr.Port != port || addr.Node == 0 {
		l.Errorf("opener's RemoteAddr is %T %v, want a stream.Addr with port %d", a.RemoteAddr(), a.RemoteAddr(), port)
	}
	if addr, ok := a.LocalAddr().(stream.Addr); !ok || addr.Port < 0x8000 || addr.Node == 0 {
		l.Errorf("opener's LocalAddr is %T %v, want a stream.Addr with a port from 32768 on", a.LocalAddr(), a.LocalAddr())
	}
	other, _ := l.conns()
	if other.LocalAddr() == a.LocalAddr() {
		l.Errorf("two conns are both %v at the opener", a.LocalAddr())
	}
}

func testEitherSideOpens(l *lab) {
	l.roundTrip(l.connect(l.A, l.B))
	l.roundTrip(l.connect(l.B, l.A))
}

func testBothSidesOpen(l *lab) {
	const each = 25
	ctx := l.ctx()
	var wg sync.WaitGroup
	for _, m := range []stream.Mux{l.A, l.B} {
		for range each {
			wg.Go(func() {
				r, err := m.Accept(ctx)
				if err != nil {
					l.Errorf("Accept: %v", err)
					return
				}
				c, err := r.Accept()
				if err != nil {
					l.Errorf("Request.Accept: %v", err)
					return
				}
				echo(l, c)
			})
			wg.Go(func() {
				c, err := m.Open(ctx, port, stream.OpenOptions{})
				if err != nil {
					l.Errorf("Open: %v", err)
					return
				}
				ask(l, c, c.LocalAddr().String())
			})
		}
	}
	wg.Wait()
}

func testPorts(l *lab) {
	for _, want := range []uint16{0, 1, 80, 0x7fff, 0x8000, 0xffff} {
		c, err := l.A.Open(l.ctx(), want, stream.OpenOptions{EarlyData: true})
		if err != nil {
			l.Fatal(err)
		}
		r, err := l.B.Accept(l.ctx())
		if err != nil {
			l.Fatal(err)
		}
		if r.Port() != want {
			l.Errorf("request is for port %d, want %d", r.Port(), want)
		}
		r.Refuse(stream.CodeNoListener)
		c.Close()
	}
}

func testRefuse(l *lab) {
	codes := []stream.Code{
		stream.CodeNoListener, stream.CodeBacklogFull, stream.CodeNotAllowed, stream.CodeLayer, stream.CodeShuttingDown,
	}
	for _, code := range codes {
		open := asyncErr(func() error {
			_, err := l.A.Open(l.ctx(), port, stream.OpenOptions{})
			return err
		})
		r, err := l.B.Accept(l.ctx())
		if err != nil {
			l.Fatal(err)
		}
		if err := r.Refuse(code); err != nil {
			l.Errorf("Refuse: %v", err)
		}
		l.wantRefused(l.await("Open", open).err, code)
	}
	l.roundTrip(l.conns())
}

// openEarly opens a conn that B has not answered.
func (l *lab) openEarly() (stream.Conn, stream.Request) {
	l.Helper()
	c, err := l.A.Open(l.ctx(), port, stream.OpenOptions{EarlyData: true})
	if err != nil {
		l.Fatalf("Open with EarlyData: %v", err)
	}
	l.send(c, "early")
	r, err := l.B.Accept(l.ctx())
	if err != nil {
		l.Fatalf("Accept: %v", err)
	}
	return c, r
}

func testEarlyData(l *lab) {
	a, r := l.openEarly()
	b, err := r.Accept()
	if err != nil {
		l.Fatal(err)
	}
	l.expect(b, "early")
	l.roundTrip(a, b)
}

func testEarlyRefused(l *lab) {
	a, r := l.openEarly()
	reading := read(a)
	if err := r.Refuse(stream.CodeNotAllowed); err != nil {
		l.Errorf("Refuse: %v", err)
	}
	l.wantReset("read", a, l.await("Read", reading).err, stream.CodeNotAllowed)
	l.wantReset("write", a, l.await("Write", flood(a)).err, stream.CodeNotAllowed)
	a.Close()
	l.roundTrip(l.conns())
}

func testOpenCancelled(l *lab) {
	ctx, cancel := context.WithCancel(l.ctx())
	open := asyncErr(func() error {
		_, err := l.A.Open(ctx, port, stream.OpenOptions{})
		return err
	})
	r, err := l.B.Accept(l.ctx())
	if err != nil {
		l.Fatal(err)
	}
	cancel()
	if err := l.await("Open", open).err; !errors.Is(err, context.Canceled) {
		l.Errorf("Open: error is %v, want context.Canceled", err)
	}
	if b, err := r.Accept(); err == nil {
		l.wantReset("read", b, l.await("Read", read(b)).err, stream.CodeCanceled)
		b.Close()
	}
	l.roundTrip(l.conns())
}

func testOpenDeadContext(l *lab) {
	ctx, cancel := context.WithCancel(l.ctx())
	cancel()
	open := asyncErr(func() error {
		_, err := l.A.Open(ctx, port, stream.OpenOptions{})
		return err
	})
	if err := l.await("Open", open).err; !errors.Is(err, context.Canceled) {
		l.Errorf("Open: error is %v, want context.Canceled", err)
	}
}

func testAcceptCancelled(l *lab) {
	ctx, cancel := context.WithCancel(l.ctx())
	accept := asyncErr(func() error {
		_, err := l.B.Accept(ctx)
		return err
	})
	cancel()
	if err := l.await("Accept", accept).err; !errors.Is(err, context.Canceled) {
		l.Errorf("Accept: error is %v, want context.Canceled", err)
	}
	l.roundTrip(l.conns())
}

func testAcceptDeadContext(l *lab) {
	a, err := l.A.Open(l.ctx(), port, stream.OpenOptions{EarlyData: true})
	if err != nil {
		l.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := context.WithCancel(l.ctx())
	cancel()
	l.eventually("the request is returned despite the ended context", func() bool {
		r, err := l.B.Accept(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			l.Fatalf("Accept: %v", err)
		}
		if err == nil {
			r.Refuse(stream.CodeNoListener)
		}
		return err == nil
	})
}

func testUnanswered(l *lab) {
	a, r := l.openEarly()
	for range 3 {
		l.roundTrip(l.conns())
	}
	b, err := r.Accept()
	if err != nil {
		l.Fatal(err)
	}
	l.expect(b, "early")
	l.roundTrip(a, b)
}

// echo sends back what it reads until the clean end, and then closes.
func echo(l *lab, c stream.Conn) {
	defer c.Close()
	buf := make([]byte, 4<<10)
	for {
		n, err := c.Read(buf)
		if _, werr := c.Write(buf[:n]); n > 0 && werr != nil {
			l.Errorf("echo: %v", werr)
			return
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			l.Errorf("echo: %v", err)
			return
		}
	}
}

// ask sends s to an echo, wants it back with the clean end, and closes.
func ask(l *lab, c stream.Conn, s string) {
	defer c.Close()
	if _, err := c.Write([]byte(s)); err != nil {
		l.Errorf("Write: %v", err)
		return
	}
	c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != s {
		l.Errorf("echo of %q is %q, %v", s, got, err)
	}
}
