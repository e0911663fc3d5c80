package streamtest

import (
	"time"
)

var deadlineCases = []testCase{
	{name: "APastDeadlineFailsAtOnce", run: testPastDeadline},
	{name: "AFutureDeadlineReleasesBlockedCalls", run: testFutureDeadline},
	{name: "ADeadlineMovedNearerReleasesBlockedCalls", run: testNearerDeadline},
	{name: "ADeadlineMovedAwayKeepsCallsWaiting", run: testFartherDeadline},
	{name: "DeadlinesOfReadAndWriteAreApart", run: testSeparateDeadlines},
	{name: "NoByteIsLostToADeadline", run: testDeadlineKeepsBytes},
}

var past = time.Unix(1, 0)

// soon is a deadline that passes during the test.
const soon = 20 * time.Millisecond

func testPastDeadline(l *lab) {
	a, b := l.conns()
	l.send(b, "x") // is there to be read, and yet it times out
	l.set(a.SetDeadline(past))
	l.wantTimeout("read", a, l.await("Read", read(a)).err)
	r := l.await("Write", flood(a))
	l.wantTimeout("write", a, r.err)
	if r.n != 0 {
		l.Errorf("Write took %d bytes after the deadline", r.n)
	}
	l.set(a.SetDeadline(time.Time{}))
	l.expect(a, "x")
	l.roundTrip(a, b)
}

func testFutureDeadline(l *lab) {
	a, b := l.conns()
	l.set(a.SetDeadline(time.Now().Add(soon)))
	reading, writing := read(a), flood(a)
	l.wantTimeout("read", a, l.await("Read", reading).err)
	r := l.await("Write", writing)
	l.wantTimeout("write", a, r.err)
	l.set(a.SetDeadline(time.Time{}))
	l.expect(b, string(make([]byte, r.n)))
	l.roundTrip(a, b)
}

func testNearerDeadline(l *lab) {
	a, b := l.conns()
	n := l.fill(a)
	l.set(a.SetDeadline(time.Now().Add(time.Hour)))
	reading, writing := read(a), flood(a)
	l.set(a.SetDeadline(past))
	l.wantTimeout("read", a, l.await("Read", reading).err)
	r := l.await("Write", writing)
	l.wantTimeout("write", a, r.err)
	l.set(a.SetDeadline(time.Time{}))
	l.expect(b, string(make([]byte, n+r.n)))
	l.roundTrip(a, b)
}

func testFartherDeadline(l *lab) {
	a, b := l.conns()
	l.set(a.SetReadDeadline(time.Now().Add(time.Hour)))
	reading := read(a)
	l.set(a.SetReadDeadline(time.Now().Add(2 * time.Hour)))
	l.set(a.SetReadDeadline(time.Time{}))
	l.send(b, "x")
	if r := l.await("Read", reading); r.n != 1 || r.err != nil {
		l.Errorf("Read = %d, %v", r.n, r.err)
	}
	l.roundTrip(a, b)
}

func testSeparateDeadlines(l *lab) {
	a, b := l.conns()
	l.set(a.SetReadDeadline(past))
	l.send(a, "written")
	l.expect(b, "written")
	l.wantTimeout("read", a, l.await("Read", read(a)).err)
	l.set(a.SetReadDeadline(time.Time{}))
	l.set(a.SetWriteDeadline(past))
	l.send(b, "read")
	l.expect(a, "read")
	l.wantTimeout("write", a, l.await("Write", flood(a)).err)
	l.set(a.SetWriteDeadline(time.Time{}))
	l.roundTrip(a, b)
}

// testDeadlineKeepsBytes interrupts reads and writes over and over: the counts
// that they return must tell exactly what got through.
func testDeadlineKeepsBytes(l *lab) {
	a, b := l.conns()
	data := pattern(1 << 20)
	writing := asyncErr(func() error {
		for sent := 0; sent < len(data); {
			a.SetWriteDeadline(time.Now().Add(time.Millisecond))
			n, err := a.Write(data[sent:min(sent+100_000, len(data))])
			sent += n
			if err != nil && !timedOut(err) {
				return err
			}
		}
		a.SetWriteDeadline(time.Time{})
		return a.CloseWrite()
	})
	var got []byte
	buf := make([]byte, 10_000)
	for {
		b.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, err := b.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil && !timedOut(err) {
			break
		}
	}
	if err := l.await("writing all", writing).err; err != nil {
		l.Fatalf("Write: %v", err)
	}
	if string(got) != string(data) {
		l.Errorf("%d bytes of %d arrived, or others", len(got), len(data))
	}
	l.set(b.SetReadDeadline(time.Time{}))
	l.expectEOF(b)
}
