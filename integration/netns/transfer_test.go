//go:build linux

package netns

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A transfer sends random bytes over a stream, both ways at a time, until the
// side that began it ends it. First that side says how fast both are to send,
// in 4 bytes. Each direction is blocks, each with its length
// before it; after the last one, of length 0, comes the SHA-256 of all.
type transfer struct {
	conn net.Conn
	rate uint32        // bytes per second to send; 0: as fast as they go
	echo bool          // the other side began, and says when it ends
	stop chan struct{} // closed to end it
	done chan struct{} // closed when it has ended

	sent, received atomic.Int64
	gap            time.Duration // longest wait for a block; readable after done
}

// block is how many bytes are written at a time.
const block = 8 << 10

func newTransfer(c net.Conn, rate uint32) *transfer {
	return &transfer{conn: c, rate: rate, stop: make(chan struct{}), done: make(chan struct{})}
}

// run transfers, reports which way the stream takes whenever it is another one,
// and how it ended.
func (t *transfer) run() {
	defer close(t.done)
	defer t.conn.Close()
	watched, unwatch := context.WithCancel(context.Background())
	if !t.echo {
		go t.watch(watched)
	}
	defer unwatch()
	if err := t.agree(); err != nil {
		failed("transfer", err)
		return
	}
	sending := make(chan error, 1)
	go func() {
		err := t.send()
		if err != nil {
			_ = t.conn.Close() // nothing comes after that
		}
		sending <- err
	}()
	err := t.receive()
	if err != nil {
		_ = t.conn.Close()
	}
	if t.echo {
		close(t.stop) // whoever began has ended
	}
	if err = errors.Join(err, <-sending); err != nil {
		failed("transfer", err)
		return
	}
	unwatch()
	r := t.report("ended")
	r.Gap = t.gap.Milliseconds()
	say(r)
}

func (t *transfer) report(event string) report {
	path, _ := overlay.PathOf(t.conn)
	return report{Event: event, Sent: t.sent.Load(), Received: t.received.Load(), Path: path}
}

// agree makes the rate known to the other side.
func (t *transfer) agree() error {
	var b [4]byte
	if !t.echo {
		_, err := t.conn.Write(binary.BigEndian.AppendUint32(nil, t.rate))
		return err
	}
	_, err := io.ReadFull(t.conn, b[:])
	t.rate = binary.BigEndian.Uint32(b[:])
	return err
}

func (t *transfer) watch(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for last := ""; ; {
		if path, _ := overlay.PathOf(t.conn); path != last {
			say(report{Event: "path", Path: path})
			last = path
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// send sends blocks until it is told to stop.
func (t *transfer) send() error {
	random := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, t.conn.LocalAddr(), t.conn.RemoteAddr())))
	sum := sha256.New()
	b := binary.BigEndian.AppendUint32(nil, block)
	b = append(b, make([]byte, block)...)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for begun := time.Now(); ; {
		select {
		case <-t.stop:
			return t.finish(sum)
		case <-pause.C:
		}
		_, _ = random.Read(b[4:])
		sum.Write(b[4:])
		if _, err := t.conn.Write(b); err != nil {
			return fmt.Errorf("sending after %d bytes: %w", t.sent.Load(), err)
		}
		t.sent.Add(block)
		var due time.Time
		if t.rate > 0 {
			due = begun.Add(time.Duration(t.sent.Load()) * time.Second / time.Duration(t.rate))
		}
		pause.Reset(time.Until(due))
	}
}

func (t *transfer) finish(sum hash.Hash) error {
	if _, err := t.conn.Write(sum.Sum(make([]byte, 4))); err != nil {
		return fmt.Errorf("sending the end: %w", err)
	}
	return t.conn.(interface{ CloseWrite() error }).CloseWrite()
}

// receive checks what comes until its end.
func (t *transfer) receive() error {
	sum := sha256.New()
	b := make([]byte, block)
	var length [4]byte
	for last := time.Now(); ; {
		if _, err := io.ReadFull(t.conn, length[:]); err != nil {
			return fmt.Errorf("receiving after %d bytes: %w", t.received.Load(), err)
		}
		t.gap = max(t.gap, time.Since(last))
		last = time.Now()
		n := binary.BigEndian.Uint32(length[:])
		if n == 0 {
			break
		}
		if n > block {
			return fmt.Errorf("after %d bytes comes a block of %d", t.received.Load(), n)
		}
		if _, err := io.ReadFull(t.conn, b[:n]); err != nil {
			return fmt.Errorf("receiving after %d bytes: %w", t.received.Load(), err)
		}
		sum.Write(b[:n])
		t.received.Add(int64(n))
	}
	end, err := io.ReadAll(t.conn)
	if err == nil && !bytes.Equal(sum.Sum(nil), end) {
		err = fmt.Errorf("%d bytes came with another hash than they were sent with", t.received.Load())
	}
	return err
}
