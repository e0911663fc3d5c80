//go:build unix

package integration

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/racetest"
	"github.com/weftnet/weft/overlay"
)

// A transfer is a read of what a server's source makes, beside the test.
type transfer struct {
	size    int64
	begun   chan struct{} // closed when a part has come
	done    chan struct{} // closed when all has come, or an error
	err     error         // readable after done
	longest time.Duration // between two reads; readable after done
	resumed time.Time     // when that was over
	took    time.Duration
}

// begin asks for size bytes on a conn to a source.
func (l *lab) begin(c net.Conn, size int64) *transfer {
	t := &transfer{size: size, begun: make(chan struct{}), done: make(chan struct{})}
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(size))); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer close(t.done)
		t.err = t.read(c)
	}()
	return t
}

// partOf is how much of a transfer is there when it counts as begun: more than
// any window, so that the path is in full use.
func partOf(size int64) int64 { return size / 8 }

// read reads the bytes, their hash, and the end.
func (t *transfer) read(c net.Conn) error {
	hash := sha256.New()
	buf := make([]byte, 256<<10)
	started := time.Now()
	last := started
	for got := int64(0); got < t.size; {
		n, err := c.Read(buf[:min(t.size-got, int64(len(buf)))])
		now := time.Now()
		if silent := now.Sub(last); silent > t.longest {
			t.longest, t.resumed = silent, now
		}
		last = now
		hash.Write(buf[:n])
		if part := partOf(t.size); got < part && got+int64(n) >= part {
			close(t.begun)
		}
		got += int64(n)
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", got, t.size, err)
		}
	}
	t.took = time.Since(started)
	sum := buf[:sha256.Size]
	if _, err := io.ReadFull(c, sum); err != nil {
		return fmt.Errorf("reading the hash: %w", err)
	}
	if got := hash.Sum(nil); string(got) != string(sum) {
		return fmt.Errorf("the bytes hash to %x, not to %x", got, sum)
	}
	if n, err := c.Read(buf); n != 0 || err != io.EOF {
		return fmt.Errorf("after all bytes: read %d and %v, want the end", n, err)
	}
	return nil
}

// awaitBegun waits until the transfer is well under way.
func (l *lab) awaitBegun(t *transfer) {
	l.t.Helper()
	select {
	case <-t.begun:
	case <-t.done:
		l.t.Fatal(t.err)
	}
}

// notDone checks that the transfer was not over before the test had done to it
// what it wanted.
func (l *lab) notDone(t *transfer) {
	l.t.Helper()
	select {
	case <-t.done:
		l.t.Errorf("the transfer is over too early: %v", t.err)
	default:
	}
}

// finish waits for the end.
func (l *lab) finish(t *transfer) {
	l.t.Helper()
	<-t.done // as l.ctx closes the conn
	if t.err != nil {
		l.t.Fatal(errors.Join(t.err, l.ctx.Err()))
	}
	l.t.Logf("%d MiB in %v, %.0f MB/s; longest silence %v", t.size>>20, t.took.Round(time.Millisecond),
		float64(t.size)/1e6/t.took.Seconds(), t.longest.Round(time.Millisecond))
}

func TestAGigabyteArrivesAsItWasSent(t *testing.T) {
	t.Parallel()
	size := int64(1 << 30)
	if racetest.Enabled && os.Getenv("WEFT_BIG") == "" {
		size /= 4
	}
	l := newLab(t)
	l.relay()
	server := l.server()
	l.finish(l.begin(l.dial(l.node(overlay.Config{}), server.addr(portSource)), size))
}

// interruptedSize is the size of transfers to which something happens, in
// bytes: several times what windows and buffers hold.
const interruptedSize = 192 << 20

func TestAStreamSurvivesThatTheRelayIsKilledAndRestarted(t *testing.T) {
	for name, vars := range map[string][]string{
		"as somebody else":   nil,
		"as who it was":      {overlay.EnvState + "=" + t.TempDir()},
		"after four seconds": {overlay.EnvState + "=" + t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			relay := l.relay(vars...)
			server := l.server()
			transfer := l.begin(l.dial(l.joined(), server.addr(portSource)), interruptedSize)
			l.awaitBegun(transfer)
			relay.kill()
			if name == "after four seconds" {
				time.Sleep(4 * time.Second)
			}
			l.notDone(transfer)
			l.startRelay(relay.addr, time.Second, vars...)
			back := time.Now()
			l.finish(transfer)
			t.Logf("silent until %v after the relay was back", transfer.resumed.Sub(back).Round(time.Millisecond))
		})
	}
}

func TestAStreamSurvivesThatAProcessOnItsWayStopsForAWhile(t *testing.T) {
	for _, tt := range []struct {
		who   string
		pause time.Duration
	}{
		{"relay", 3 * time.Second},
		{"relay", 20 * time.Second}, // its links count as dead meanwhile
		{"server", 20 * time.Second},
	} {
		t.Run(fmt.Sprint(tt.who, " for ", tt.pause), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			relay := l.relay()
			server := l.server()
			transfer := l.begin(l.dial(l.joined(), server.addr(portSource)), interruptedSize)
			l.awaitBegun(transfer)
			stopped := map[string]*process{"relay": relay.process, "server": server.process}[tt.who]
			stopped.signal(syscall.SIGSTOP)
			time.Sleep(tt.pause)
			l.notDone(transfer)
			stopped.signal(syscall.SIGCONT)
			back := time.Now()
			l.finish(transfer)
			t.Logf("silent until %v after the %s went on", transfer.resumed.Sub(back).Round(time.Millisecond), tt.who)
		})
	}
}

func TestCloseDeliversWhatWasWritten(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.relay()
	server := l.server()
	// The server closes conn and node with its last Write, and exits.
	transfer := l.begin(l.dial(l.joined(), server.addr(portLast)), 5<<20)
	l.finish(transfer)
	server.exit(l.ctx)
}
