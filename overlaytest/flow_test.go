package overlaytest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A flow is the recorded history of one direction of a conn: what was written
// and what was read, each byte of which is known by the flow's tag and its
// offset.
type flow struct {
	tag uint64

	mu       sync.Mutex
	written  uint64 // Write has returned, or is at work on them
	finished bool   // the writer has closed its side without an error
	writeErr error
	read     uint64
	end      error     // what ended reading; nil while it goes on
	wrong    error     // the first byte that was not the one written
	last     time.Time // when something was read last
	longest  time.Duration
}

var lastTag atomic.Uint64 // of the flows of all tests

// newFlow returns a flow that nothing has happened on.
func newFlow() *flow {
	return &flow{tag: lastTag.Add(1) * 0x9e3779b97f4a7c15, last: time.Now()}
}

// content returns n bytes of a flow from off on.
func content(tag, off uint64, n int) []byte {
	b := make([]byte, 0, n+16)
	for word := off / 8; len(b) < n+8; word++ {
		x := tag + word*0xbf58476d1ce4e5b9
		x = (x ^ x>>30) * 0x94d049bb133111eb
		b = binary.LittleEndian.AppendUint64(b, x^x>>31)
	}
	return b[off%8:][:n]
}

// write writes the next n bytes.
func (f *flow) write(w io.Writer, n int) error {
	f.mu.Lock()
	off := f.written
	f.written += uint64(n)
	f.mu.Unlock()
	_, err := w.Write(content(f.tag, off, n))
	return err
}

// pace writes chunks with pauses until stop is closed, or total bytes if that is
// not 0, and then the end.
func (f *flow) pace(c net.Conn, chunk int, pause time.Duration, total int, stop <-chan struct{}) {
	err := error(nil)
	for sent := 0; err == nil && (total == 0 || sent < total); sent += chunk {
		select {
		case <-stop:
			total = sent
			continue
		default:
		}
		if err = f.write(c, chunk); pause > 0 {
			select {
			case <-stop:
			case <-time.After(pause):
			}
		}
	}
	if err == nil {
		err = c.(interface{ CloseWrite() error }).CloseWrite()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finished, f.writeErr = err == nil, err
}

// take reads to the end.
func (f *flow) take(c net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		f.note(b[:n], err)
		if err != nil {
			return
		}
	}
}

// note records what a Read returned.
func (f *flow) note(b []byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	want := content(f.tag, f.read, len(b))
	for i := range b {
		if b[i] != want[i] && f.wrong == nil {
			f.wrong = fmt.Errorf("byte %d is %#x, want %#x", f.read+uint64(i), b[i], want[i])
		}
	}
	f.read += uint64(len(b))
	f.longest = max(f.longest, time.Since(f.last))
	f.last = time.Now()
	f.end = err
}

// broken returns which promise about streams the history breaks, nil if none:
// what was read is a prefix of what was written (S1, S4), and io.EOF is the end
// of all of it (S2).
func (f *flow) broken() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.wrong != nil:
		return f.wrong
	case f.read > f.written:
		return fmt.Errorf("%d bytes were read, but only %d written", f.read, f.written)
	case errors.Is(f.end, io.EOF) && (!f.finished || f.read < f.written):
		return fmt.Errorf("reading gave io.EOF after %d of %d bytes; closed cleanly: %v (%v)",
			f.read, f.written, f.finished, f.writeErr)
	}
	return nil
}

// complete returns why not everything written was read, nil if it was.
func (f *flow) complete() error {
	if err := f.broken(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !errors.Is(f.end, io.EOF) {
		return fmt.Errorf("reading ended after %d of %d bytes with %v; writing: %v", f.read, f.written, f.end, f.writeErr)
	}
	return nil
}

// over reports whether reading has ended.
func (f *flow) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end != nil
}

// String describes the flow for failures.
func (f *flow) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%d bytes written (closed cleanly: %v; %v), %d read (%v), the last %v ago",
		f.written, f.finished, f.writeErr, f.read, f.end, time.Since(f.last))
}

// progress returns how much was read.
func (f *flow) progress() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read
}

// silence returns the longest time between two reads.
func (f *flow) silence() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(f.longest, time.Since(f.last))
}

// forget makes silence count from now on.
func (f *flow) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.longest, f.last = 0, time.Now()
}

// A talk is a conn on which both sides write all the time.
type talk struct {
	t            *testing.T
	name         string
	there, back  *flow
	dialled, got net.Conn
	stop         chan struct{}
	once         sync.Once
	wg           sync.WaitGroup
}

// connect makes a conn and returns both ends.
func connect(t *testing.T, from, to *overlay.Node) (dialled, accepted net.Conn) {
	t.Helper()
	ln, err := to.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err = from.Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}

// talkBetween starts a talk: 1000 bytes each way every 50 ms.
func talkBetween(t *testing.T, from, to *overlay.Node) *talk {
	t.Helper()
	return talkEvery(t, from, to, 50*time.Millisecond)
}

// talkEvery starts a talk with another pace.
func talkEvery(t *testing.T, from, to *overlay.Node, pause time.Duration) *talk {
	t.Helper()
	k := &talk{t: t, name: from.Name() + " and " + to.Name(), there: newFlow(), back: newFlow(), stop: make(chan struct{})}
	k.dialled, k.got = connect(t, from, to)
	const chunk = 1000
	k.wg.Go(func() { k.there.pace(k.dialled, chunk, pause, 0, k.stop) })
	k.wg.Go(func() { k.back.pace(k.got, chunk, pause, 0, k.stop) })
	k.wg.Go(func() { k.there.take(k.got) })
	k.wg.Go(func() { k.back.take(k.dialled) })
	t.Cleanup(func() { k.end() })
	return k
}

// end makes both sides finish and waits until they have.
func (k *talk) end() {
	k.once.Do(func() { close(k.stop) })
	k.wg.Wait()
	_ = k.dialled.Close()
	_ = k.got.Close()
}

// survived ends the talk and checks that nothing got lost.
func (k *talk) survived() {
	k.t.Helper()
	k.end()
	for dir, f := range map[string]*flow{"there": k.there, "back": k.back} {
		if err := f.complete(); err != nil {
			k.t.Errorf("%s, %s: %v", k.name, dir, err)
		}
	}
}

// wantSilence checks how long the talk was silent since forget.
func (k *talk) wantSilence(limit time.Duration) {
	k.t.Helper()
	for dir, f := range map[string]*flow{"there": k.there, "back": k.back} {
		if d := f.silence(); d > limit {
			k.t.Errorf("%s, %s: silence of %v, want %v at most", k.name, dir, d, limit)
		}
	}
}

// forget makes wantSilence count from now on.
func (k *talk) forget() {
	k.there.forget()
	k.back.forget()
}

// seeded returns a source of chance for one test.
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x6c6162)) }
