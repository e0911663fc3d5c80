package sctp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/streamtest/memsession"
)

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// A tapped session says how often each datagram arrives.
type tapped struct {
	*memsession.Session
	copies func(d []byte) int
	sent   atomic.Int64
}

func (s *tapped) SendDatagram(ctx context.Context, b []byte) error {
	s.sent.Add(1)
	for range s.copies(b) {
		if err := s.Session.SendDatagram(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func once([]byte) int { return 1 }

// A couple is the layer on both ends of a session.
type couple struct {
	sa, sb *tapped
	a, b   *mux
}

func newCouple(t *testing.T, copies func([]byte) int) *couple {
	t.Helper()
	sa, sb := sessions(t)
	c := &couple{sa: &tapped{Session: sa, copies: copies}, sb: &tapped{Session: sb, copies: copies}}
	c.a, c.b = start(t, c.sa).(*mux), start(t, c.sb).(*mux)
	t.Cleanup(func() { c.a.Close(); c.b.Close(); sa.Kill(errLost) })
	return c
}

// connect opens a conn from one side to the other.
func connect(t *testing.T, from, to *mux) (a, b stream.Conn) {
	t.Helper()
	a, err := from.Open(testContext(t), 80, stream.OpenOptions{EarlyData: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := to.Accept(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err = r.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// exchange sends each way and closes both ends.
func exchange(t *testing.T, a, b stream.Conn, text string) {
	t.Helper()
	for _, way := range [][2]stream.Conn{{a, b}, {b, a}} {
		if _, err := io.WriteString(way[0], text); err != nil {
			t.Fatal(err)
		}
		way[0].CloseWrite()
	}
	for _, c := range []stream.Conn{a, b} {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if got, err := io.ReadAll(c); err != nil || string(got) != text {
			t.Fatalf("read %q, %v; want %q", got, err, text)
		}
		c.Close()
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

func (m *mux) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.channels)
}

// runOut leaves a side only few numbers.
func (m *mux) runOut(left int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.numbers.used = MaxStreams - left
}

func TestClosedConnsLeaveNothing(t *testing.T) {
	c := newCouple(t, once)
	a, b := connect(t, c.a, c.b)
	b.Write(make([]byte, 100_000)) // which a never reads
	a.Close()
	b.Close()
	for _, m := range []*mux{c.a, c.b} {
		eventually(t, "no channel is left", func() bool { return m.count() == 0 })
	}
	eventually(t, "the sessions are not held", func() bool { return c.sa.Held()+c.sb.Held() == 0 })
}

func TestNumbersAreUsedAgain(t *testing.T) {
	c := newCouple(t, once)
	c.a.runOut(3)
	c.b.runOut(3)
	for i := range 500 {
		from, to := c.a, c.b
		if i%2 == 1 {
			from, to = to, from
		}
		eventually(t, "a number is free", func() bool { return from.count() < 3 })
		a, b := connect(t, from, to)
		exchange(t, a, b, fmt.Sprint("conn ", i))
	}
}

// isReset picks packets with resets that come from either side.
func isReset(d []byte) bool {
	return len(d) > wholeHeader+commonHeader && d[wholeHeader+commonHeader] == chunkReconfig
}

// Resets and their answers get lost, and so are sent again, while their numbers
// are in use again.
func TestNumbersAreUsedAgainAlthoughResetsAreLost(t *testing.T) {
	for name, copies := range map[string]func() int{
		"lost":  func() int { return min(rand.IntN(4), 1) },
		"twice": func() int { return 2 },
		"both":  func() int { return min(rand.IntN(5), 2) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCouple(t, func(d []byte) int {
					if isReset(d) {
						return copies()
					}
					return 1
				})
				c.a.runOut(2)
				c.b.runOut(2)
				for i := range 200 {
					from, to := c.a, c.b
					if i%2 == 1 {
						from, to = to, from
					}
					eventually(t, "a number is free", func() bool { return from.count() < 2 })
					a, b := connect(t, from, to)
					exchange(t, a, b, fmt.Sprint("conn ", i))
				}
			})
		})
	}
}

func TestTheLimitOfStreamNumbersIsAnError(t *testing.T) {
	c := newCouple(t, once)
	c.a.runOut(1)
	a, b := connect(t, c.a, c.b)
	if _, err := c.a.Open(testContext(t), 80, stream.OpenOptions{}); !errors.Is(err, errTooManyStreams) {
		t.Fatalf("Open beyond the limit: %v", err)
	}
	exchange(t, a, b, "last")
	eventually(t, "the number is free", func() bool { return c.a.count() == 0 })
	a, b = connect(t, c.a, c.b)
	exchange(t, a, b, "again")
}

func TestManyResetsAtOnceAreSentInTurn(t *testing.T) {
	c := newCouple(t, once)
	var conns []stream.Conn
	for range 2 * maxResets {
		a, b := connect(t, c.a, c.b)
		conns = append(conns, a, b)
	}
	var wg sync.WaitGroup
	for _, conn := range conns {
		wg.Go(func() { conn.Close() })
	}
	wg.Wait()
	for _, m := range []*mux{c.a, c.b} {
		eventually(t, "no channel is left", func() bool { return m.count() == 0 })
		if m.resets.open != 0 || len(m.resets.waiting) != 0 || len(m.resets.asked) != 0 {
			t.Errorf("left: %d resets, %d waiting, %d without answer", m.resets.open, len(m.resets.waiting), len(m.resets.asked))
		}
	}
}

// The path carries other datagrams than those that SCTP's packets were made
// for, to and fro.
func TestPacketsAreSplitWhereThePathBecomesNarrower(t *testing.T) {
	for name, widths := range map[string][]int{
		"narrower": {9000, 1100, 9000, 600},
		"wider":    {1100, 9000},
	} {
		t.Run(name, func(t *testing.T) {
			sa, sb := sessions(t)
			set := func(n int) { sa.SetMaxDatagram(n); sb.SetMaxDatagram(n) }
			set(widths[0])
			ma, mb := start(t, sa).(*mux), start(t, sb).(*mux)
			t.Cleanup(func() { ma.Close(); mb.Close(); sa.Kill(errLost) })
			a, b := connect(t, ma, mb)
			chunk := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
			for _, w := range widths {
				set(w)
				done := make(chan error, 1)
				go func() { _, err := a.Write(chunk); done <- err }()
				got := make([]byte, len(chunk))
				b.SetReadDeadline(time.Now().Add(time.Minute))
				if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, chunk) {
					t.Fatalf("with datagrams of %d: %v", w, err)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestIdleConnsSendNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(t, once)
		for range 10 {
			a, b := connect(t, c.a, c.b)
			exchangeOpen(t, a, b)
		}
		time.Sleep(time.Minute)
		before := c.sa.sent.Load() + c.sb.sent.Load()
		time.Sleep(time.Hour)
		if n := c.sa.sent.Load() + c.sb.sent.Load() - before; n != 0 {
			t.Errorf("%d datagrams in an idle hour", n)
		}
	})
}

// exchangeOpen sends each way and leaves the conn open.
func exchangeOpen(t *testing.T, a, b stream.Conn) {
	t.Helper()
	for _, way := range [][2]stream.Conn{{a, b}, {b, a}} {
		if _, err := io.WriteString(way[0], "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFlushWaitsForTheLastAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(t, once)
		a, b := connect(t, c.a, c.b)
		go io.Copy(io.Discard, b)
		if _, err := a.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := c.a.Flush(testContext(t)); err != nil || c.a.assoc.BufferedAmount() != 0 {
			t.Errorf("Flush: %v, %d bytes left", err, c.a.assoc.BufferedAmount())
		}
		if d := time.Since(began); d > 0 { // not for a delayed acknowledgement
			t.Errorf("Flush took %v", d)
		}
	})
}
