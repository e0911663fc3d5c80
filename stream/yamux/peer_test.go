package yamux

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	hyamux "github.com/hashicorp/yamux"

	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/streamtest/memsession"
)

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// conns returns a conn between two muxes and the sessions below.
func conns(t *testing.T) (a, b stream.Conn, sa *memsession.Session, ma, mb *mux) {
	t.Helper()
	sa, sb := memsession.New()
	x, y := start(t, sa), start(t, sb)
	t.Cleanup(func() { x.Close(); y.Close(); sa.Kill(errLost) })
	a, err := x.Open(testContext(t), 80, stream.OpenOptions{EarlyData: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := y.Accept(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err = r.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b, sa, x.(*mux), y.(*mux)
}

// While the path is out, writes fill everything on the way and block deep
// below; still deadlines and Close reach them.
func TestAnOutageLeavesDeadlinesAndCloseInForce(t *testing.T) {
	a, b, s, _, _ := conns(t)
	go func() { // what b reads makes window updates that cannot get out
		io.Copy(io.Discard, b)
	}()
	if _, err := a.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	thaw := s.Freeze()
	defer thaw()
	done := make(chan error, 2)
	read := func() { _, err := a.Read(make([]byte, 1)); done <- err }
	write := func() { _, err := a.Write(make([]byte, 1<<20)); done <- err }

	fill := func() {
		a.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		var err error
		for err == nil {
			_, err = a.Write(make([]byte, 64<<10))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v", err)
		}
	}

	go read()
	fill()
	a.SetReadDeadline(past)
	if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	a.SetDeadline(time.Time{})

	go read()
	fill()
	a.SetDeadline(time.Time{})
	go write()
	a.Close()
	for range 2 {
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("error is %v, want net.ErrClosed", err)
		}
	}
}

func TestHalfClosedConnsAreNotCutOff(t *testing.T) {
	if got := (Layer{}).config(silent()); got.StreamCloseTimeout != 0 {
		t.Errorf("StreamCloseTimeout is %v: yamux would end half-closed conns after it", got.StreamCloseTimeout)
	}
}

func TestClosedConnsLeaveNothingInYamux(t *testing.T) {
	a, b, _, ma, mb := conns(t)
	b.Write(make([]byte, 100_000)) // which a never reads
	a.Close()
	b.Close()
	for _, m := range []*mux{ma, mb} {
		eventually(t, "only the control stream is left", func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.yamux.NumStreams() == 1 && len(m.conns) == 0
		})
	}
}

// eventually waits for what nothing announces.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx := testContext(t)
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not so", what)
		}
	}
}

func TestTheLimitOfStreams(t *testing.T) {
	sa, sb := memsession.New()
	a, b := start(t, sa), start(t, sb)
	defer sa.Kill(errLost)
	defer b.Close()
	defer a.Close()
	go func() {
		for {
			r, err := b.Accept(t.Context())
			if err != nil {
				return
			}
			r.Accept()
		}
	}()
	for n := 1; ; n++ { // one is the control stream
		_, err := a.Open(testContext(t), 80, stream.OpenOptions{})
		if n == MaxStreams {
			if !errors.Is(err, errTooManyStreams) {
				t.Errorf("one stream too many: error is %v", err)
			}
			return
		}
		if err != nil {
			t.Fatalf("stream %d: %v", n, err)
		}
	}
}

func TestRequestsBeyondTheBacklogAreRefused(t *testing.T) {
	sa, sb := memsession.New()
	a, b := start(t, sa), start(t, sb)
	defer sa.Kill(errLost)
	defer b.Close()
	defer a.Close()
	for range requestBacklog {
		if _, err := a.Open(testContext(t), 80, stream.OpenOptions{EarlyData: true}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := a.Open(testContext(t), 80, stream.OpenOptions{})
	if e, ok := errors.AsType[*stream.ResetError](err); !ok || e.Code != stream.CodeBacklogFull {
		t.Errorf("error is %v, want a refusal for the backlog", err)
	}
}

func TestDifferentLayersRefuseEachOther(t *testing.T) {
	for _, natively := range []int{0, 1} {
		sa, sb := memsession.New()
		sessions := []stream.Session{sa, sb}
		other, err := native.Layer{}.Start(sessions[natively], silent())
		if err != nil {
			t.Fatal(err)
		}
		m := start(t, sessions[1-natively])
		accepted := make(chan error, 1)
		go func() { _, err := other.Accept(t.Context()); accepted <- err }()
		opener := m
		if natively == 0 {
			opener = other
		}
		_, err = opener.Open(testContext(t), 80, stream.OpenOptions{})
		if e, ok := errors.AsType[*stream.ResetError](err); !ok || e.Code != stream.CodeLayer {
			t.Errorf("error is %v, want a refusal for the layer", err)
		}
		m.Close()
		other.Close()
		<-accepted
		sa.Kill(errLost)
	}
}

// A villain speaks yamux with a mux, and breaks the rules.
type villain struct {
	*testing.T
	yamux   *hyamux.Session
	control *hyamux.Stream
	victim  stream.Mux
}

func newVillain(t *testing.T) *villain {
	t.Helper()
	sa, sb := memsession.New()
	v := &villain{T: t, victim: start(t, sb)}
	st, err := sa.OpenStream(t.Context(), stream.KindLayer)
	if err != nil {
		t.Fatal(err)
	}
	if v.yamux, err = hyamux.Client(st, (Layer{}).config(silent())); err != nil {
		t.Fatal(err)
	}
	if v.control, err = v.yamux.OpenStream(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.yamux.Close(); v.victim.Close(); sa.Kill(errLost) })
	return v
}

// wantEnd wants the victim to have ended the layer with an error that says so.
func (v *villain) wantEnd(part string) {
	v.Helper()
	_, err := v.victim.Accept(testContext(v.T))
	if err == nil || !strings.Contains(err.Error(), part) {
		v.Errorf("Accept: error is %v, want one with %q", err, part)
	}
}

func (v *villain) say(msgs ...message) {
	v.Helper()
	for _, m := range msgs {
		if _, err := v.control.Write(m.append(nil)); err != nil {
			v.Fatal(err)
		}
	}
}

// sayLast says what makes the victim end the layer, maybe before the write is over.
func (v *villain) sayLast(m message) { _, _ = v.control.Write(m.append(nil)) }

func TestAPeerOfAnotherVersionIsTurnedAway(t *testing.T) {
	v := newVillain(t)
	v.control.Write([]byte{controlVersion + 1})
	v.wantEnd("another version")
}

func TestAPeerThatSaysNonsenseIsTurnedAway(t *testing.T) {
	v := newVillain(t)
	v.control.Write([]byte{controlVersion})
	v.sayLast(message{opReset + 1, 1, 1})
	v.wantEnd("does not exist")
}

func TestAPeerThatOpensAStreamTwiceIsTurnedAway(t *testing.T) {
	v := newVillain(t)
	v.control.Write([]byte{controlVersion})
	ys, err := v.yamux.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	open := message{opOpen, ys.StreamID(), 80}
	v.say(open)
	if _, err := v.victim.Accept(testContext(t)); err != nil {
		t.Fatal(err)
	}
	v.sayLast(open)
	v.wantEnd("that is open")
}

func TestMessagesAboutNoStreamMeanNothing(t *testing.T) {
	v := newVillain(t)
	v.control.Write([]byte{controlVersion})
	for _, op := range []op{opAccept, opFin, opStop, opReset} {
		v.say(message{op, 12345, 0})
	}
	v.wantAlive()
}

// A stream that was never opened by a message must not hold up others.
func TestSilentStreamsHoldUpNobody(t *testing.T) {
	v := newVillain(t)
	v.control.Write([]byte{controlVersion})
	for range 10 {
		if _, err := v.yamux.OpenStream(); err != nil {
			t.Fatal(err)
		}
	}
	v.wantAlive()
}

// wantAlive opens a stream by the rules.
func (v *villain) wantAlive() {
	v.Helper()
	ys, err := v.yamux.OpenStream()
	if err != nil {
		v.Fatal(err)
	}
	v.say(message{opOpen, ys.StreamID(), 80})
	r, err := v.victim.Accept(testContext(v.T))
	if err != nil || r.Port() != 80 {
		v.Fatalf("Accept: %v", err)
	}
	c, err := r.Accept()
	if err != nil {
		v.Fatal(err)
	}
	ys.Write([]byte("x"))
	if n, err := c.Read(make([]byte, 2)); n != 1 || err != nil {
		v.Errorf("Read = %d, %v", n, err)
	}
}

// The end of a yamux stream without a word on the control stream is no clean
// end, whatever yamux says.
func TestAnUnexplainedEndIsNotEOF(t *testing.T) {
	v := newVillain(t)
	v.control.Write([]byte{controlVersion})
	ys, err := v.yamux.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	v.say(message{opOpen, ys.StreamID(), 80})
	r, err := v.victim.Accept(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ys.Close()
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: error is %v, want to wait for the deadline", err)
	}
	c.SetReadDeadline(time.Time{})
	v.yamux.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Read after the end of the layer: error is %v", err)
	}
}
