package streamtest

import (
	"io"
	"time"

	"github.com/weftnet/weft/stream"
)

var closeCases = []testCase{
	{name: "CloseWriteLeavesTheOtherDirection", run: testHalfClose},
	{name: "CloseReadLeavesTheOtherDirection", run: testCloseRead},
	{name: "BothSidesCloseWrite", run: testBothHalfClose},
	{name: "SilenceEndsNothing", run: testSilence},
	{name: "CloseDeliversWhatWasWritten", run: testCloseDelivers},
	{name: "CloseDeliversDespiteUnreadData", run: testCloseUnread},
	{name: "CloseReleasesOwnCalls", run: testCloseReleasesOwn},
	{name: "CloseReleasesThePeersWriter", run: func(l *lab) { testReaderGoes(l, stream.Conn.Close) }},
	{name: "CloseReadReleasesThePeersWriter", run: func(l *lab) { testReaderGoes(l, stream.Conn.CloseRead) }},
	{name: "CloseMoreThanOnceIsHarmless", run: testCloseTwice},
	{name: "ResetCarriesItsCode", run: testReset},
	{name: "ResetOvertakesUnreadData", run: testResetOvertakes},
	{name: "ResetReleasesOwnCalls", run: testResetReleasesOwn},
	{name: "ResetIsNeverEOF", run: testResetIsNotEOF},
}

func testHalfClose(l *lab) {
	for _, from := range []stream.Mux{l.A, l.B} {
		to := l.A
		if from == l.A {
			to = l.B
		}
		a, b := l.connect(from, to)
		l.send(a, "request")
		if err := a.CloseWrite(); err != nil {
			l.Fatalf("CloseWrite: %v", err)
		}
		l.expect(b, "request")
		l.expectEOF(b)
		l.wantClosed("write", a, l.await("Write", flood(a)).err)
		for range 3 {
			l.send(b, "response")
			l.expect(a, "response")
		}
		b.CloseWrite()
		l.expectEOF(a)
		a.Close()
		b.Close()
	}
}

func testCloseRead(l *lab) {
	a, b := l.conns()
	if err := a.CloseRead(); err != nil {
		l.Fatalf("CloseRead: %v", err)
	}
	l.expectEOF(a)
	l.wantReset("write", b, l.await("Write", flood(b)).err, stream.CodeCanceled)
	for range 3 {
		l.send(a, "still here")
		l.expect(b, "still here")
	}
	a.CloseWrite()
	l.expectEOF(b)
}

func testBothHalfClose(l *lab) {
	a, b := l.conns()
	l.send(a, "a")
	l.send(b, "b")
	a.CloseWrite()
	b.CloseWrite()
	l.expect(a, "b")
	l.expect(b, "a")
	l.expectEOF(a)
	l.expectEOF(b)
}

func testCloseDelivers(l *lab) {
	a, b := l.conns()
	data := pattern(1 << 20)
	got := make(chan []byte, 1)
	reading := asyncErr(func() error {
		all, err := io.ReadAll(b)
		got <- all
		return err
	})
	l.send(a, string(data))
	if err := a.Close(); err != nil {
		l.Fatalf("Close: %v", err)
	}
	if err := l.await("reading all", reading).err; err != nil {
		l.Fatalf("reading what was written before Close: %v", err)
	}
	if all := <-got; string(all) != string(data) {
		l.Errorf("%d bytes of %d arrived, or others", len(all), len(data))
	}
}

// testSilence leaves conns alone before, between and after the half-closes of
// both sides.
func testSilence(l *lab) {
	a, b := l.conns()
	c, d := l.conns() // is never written to before the end
	l.rest()
	l.roundTrip(a, b)
	l.send(a, "request")
	a.CloseWrite()
	l.expect(b, "request")
	l.expectEOF(b)
	l.rest()
	l.send(b, "response")
	l.expect(a, "response")
	l.rest()
	b.CloseWrite()
	l.expectEOF(a)
	l.rest()
	l.expectEOF(a)
	l.expectEOF(b)
	l.roundTrip(c, d)
}

// rest lets Config.Silence pass.
func (l *lab) rest() {
	timer := time.NewTimer(l.cfg.Silence / 4)
	defer timer.Stop()
	<-timer.C
}

// testCloseUnread closes a conn that has unread data. Other than with TCP, which
// resets the conn then, what was written before arrives.
func testCloseUnread(l *lab) {
	a, b := l.conns()
	l.send(b, "x nobody reads this")
	l.expect(a, "x") // so the rest has come, too
	data := pattern(100_000)
	l.send(a, string(data))
	if err := a.Close(); err != nil {
		l.Fatalf("Close: %v", err)
	}
	l.expect(b, string(data))
	l.expectEOF(b)
	l.wantReset("write", b, l.await("Write", flood(b)).err, stream.CodeCanceled)
}

func testCloseReleasesOwn(l *lab) {
	a, b := l.conns()
	reading, writing := read(a), l.held(a)
	if err := a.Close(); err != nil {
		l.Fatalf("Close: %v", err)
	}
	l.wantClosed("read", a, l.await("own Read", reading).err)
	l.wantClosed("write", a, l.await("own Write", writing).err)
	l.wantClosed("read", a, l.await("Read after Close", read(a)).err)
	l.wantClosed("write", a, l.await("Write after Close", flood(a)).err)
	if _, err := io.Copy(io.Discard, b); err != nil {
		l.Errorf("reading what was written before Close: %v", err)
	}
}

// testReaderGoes checks that a writer does not outlive its reader, with data
// on the way and unread.
func testReaderGoes(l *lab, leave func(stream.Conn) error) {
	a, b := l.conns()
	writing := l.held(a)
	if err := leave(b); err != nil {
		l.Fatalf("leaving: %v", err)
	}
	l.wantReset("write", a, l.await("the peer's Write", writing).err, stream.CodeCanceled)
	l.wantReset("write", a, l.await("Write later", flood(a)).err, stream.CodeCanceled)
}

func testCloseTwice(l *lab) {
	a, b := l.conns()
	for range 2 {
		a.CloseWrite()
		a.CloseRead()
	}
	for range 2 {
		a.Close()
		a.CloseWrite()
		a.CloseRead()
	}
	l.expectEOF(b)
	b.Close()
	for range 2 {
		b.Reset(stream.CodeApplication) // too late to harm
	}
	l.roundTrip(l.conns())
}

func testReset(l *lab) {
	for _, code := range []stream.Code{stream.CodeNone, stream.CodeCanceled, stream.CodeApplication, 0xffffffff} {
		for _, accepted := range []bool{false, true} {
			a, b := l.conns()
			if accepted {
				a, b = b, a
			}
			reading, writing := read(b), flood(b)
			if err := a.Reset(code); err != nil {
				l.Fatalf("Reset: %v", err)
			}
			l.wantReset("read", b, l.await("the peer's Read", reading).err, code)
			l.wantReset("write", b, l.await("the peer's Write", writing).err, code)
			l.wantReset("read", b, l.await("Read later", read(b)).err, code)
			b.Close()
		}
	}
}

func testResetOvertakes(l *lab) {
	a, b := l.conns()
	writing, back := l.held(a), l.held(b)
	if err := a.Reset(stream.CodeApplication); err != nil {
		l.Fatalf("Reset: %v", err)
	}
	l.wantClosed("write", a, l.await("own Write", writing).err)
	l.wantReset("write", b, l.await("the peer's Write", back).err, stream.CodeApplication)
	_, err := io.Copy(io.Discard, b)
	l.wantReset("read", b, err, stream.CodeApplication)
}

func testResetReleasesOwn(l *lab) {
	a, _ := l.conns()
	reading, writing := read(a), l.held(a)
	if err := a.Reset(stream.CodeApplication); err != nil {
		l.Fatalf("Reset: %v", err)
	}
	l.wantClosed("read", a, l.await("own Read", reading).err)
	l.wantClosed("write", a, l.await("own Write", writing).err)
}

func testResetIsNotEOF(l *lab) {
	for range 50 {
		a, b := l.conns()
		l.send(a, "cut sh")
		a.Reset(stream.CodeApplication)
		_, err := io.ReadAll(b)
		l.wantReset("read", b, err, stream.CodeApplication)
		b.Close()
	}
}
