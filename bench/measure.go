package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	writeSize    = 64 << 10
	pingSize     = 64
	manyStreams  = 16
	opens        = 100
	idleBatch    = 50 // what fits into any listener's backlog
	colds        = 5
	maxPings     = 20_000
	megabyte     = 1e6
	gigabyte     = 1e9
	patience     = time.Minute // beyond a measurement's own time; then it has failed
	microseconds = float64(time.Microsecond)
	milliseconds = float64(time.Millisecond)
)

// A budget bounds each single measurement: it ends at whichever limit comes
// first.
type budget struct {
	bytes int64
	time  time.Duration
	idle  int // how many streams are open for idleHeap
	crowd int // how many nodes dial, and how many are dialled by each, for sessionHeap
}

// halfCloser is what a conn must offer so that its reader sees the end.
type halfCloser interface{ CloseWrite() error }

// ends are the two running sides of a transport.
type ends struct {
	client Client
	server side
	remote bool // the server's side is another process, which outlives them
}

// connect brings up both sides; the server's in another process unless that is
// nil.
func connect(ctx context.Context, t Transport, other *child) (*ends, error) {
	if t, ok := t.(together); ok {
		s, c, err := t.Start(ctx)
		if err != nil {
			return nil, err
		}
		return &ends{client: c, server: newLocalSide(s)}, nil
	}
	split := t.(apart)
	e := &ends{}
	var addr string
	if other != nil {
		a, err := other.call(ctx, order{Do: doServe, Transport: t.Name()})
		if err != nil {
			return nil, err
		}
		e.server, e.remote, addr = other, true, a.Addr
	} else {
		s, err := split.Serve(ctx)
		if err != nil {
			return nil, err
		}
		e.server, addr = newLocalSide(s), s.Addr()
	}
	var err error
	if e.client, err = split.Client(ctx, addr); err != nil {
		return nil, errors.Join(err, e.closeServer())
	}
	return e, nil
}

// settle waits until both sides are what is to be measured.
func (e *ends) settle(ctx context.Context) error {
	if s, ok := e.client.(settler); ok {
		if err := s.Settle(ctx); err != nil {
			return err
		}
	}
	_, err := e.server.call(ctx, order{Do: doSettle})
	return err
}

// usage is that of both sides.
func (e *ends) usage(ctx context.Context) (usage, error) {
	u := used()
	if !e.remote {
		return u, nil
	}
	a, err := e.server.call(ctx, order{Do: doUsage})
	u.Before += a.Usage.Before
	u.After += a.Usage.After
	u.Mallocs += a.Usage.Mallocs
	u.Bytes += a.Usage.Bytes
	u.Goroutines += a.Usage.Goroutines
	return u, err
}

func (e *ends) closeServer() error {
	if !e.remote {
		return e.server.Close()
	}
	_, err := e.server.call(context.Background(), order{Do: doServe})
	return err
}

func (e *ends) Close() error { return errors.Join(e.client.Close(), e.closeServer()) }

// measure takes one sample of a transport.
func measure(ctx context.Context, t Transport, other *child, b budget) (s sample, err error) {
	if err := measureCold(ctx, t, other, b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", t.Name(), err)
	}
	if other == nil {
		if err := measureSessions(ctx, t, b, &s); err != nil {
			return s, fmt.Errorf("%s: %w", t.Name(), err)
		}
	}
	e, err := connect(ctx, t, other)
	if err != nil {
		return s, fmt.Errorf("%s: %w", t.Name(), err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if _, err = firstByte(ctx, e); err == nil {
		err = e.settle(ctx)
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w", t.Name(), err)
	}
	for _, step := range []func(context.Context, *ends, budget, *sample) error{
		measureOpen, measureIdle, measurePing, measureBulk, measureParallel, measureHTTP,
	} {
		runtime.GC()
		if err := step(ctx, e, b, &s); err != nil {
			return s, fmt.Errorf("%s: %w", t.Name(), err)
		}
	}
	return s, nil
}

// measureCold fills startup and cold.
func measureCold(ctx context.Context, t Transport, other *child, b budget, s *sample) error {
	var ups, firsts []float64
	for begun := time.Now(); len(ups) < colds && (len(ups) == 0 || time.Since(begun) < b.time); {
		runtime.GC()
		start := time.Now()
		e, err := connect(ctx, t, other)
		if err != nil {
			return err
		}
		up := time.Since(start)
		first, err := firstByte(ctx, e)
		if err = errors.Join(err, e.Close()); err != nil {
			return fmt.Errorf("cold: %w", err)
		}
		ups, firsts = append(ups, float64(up)/milliseconds), append(firsts, float64(first)/milliseconds)
	}
	slices.Sort(ups)
	slices.Sort(firsts)
	s[startup], s[cold] = quantile(ups, 0.5), quantile(firsts, 0.5)
	return nil
}

// firstByte dials and gets one byte echoed; it returns how long that took.
func firstByte(ctx context.Context, e *ends) (took time.Duration, err error) {
	if err := e.begin(ctx, doEcho, patience); err != nil {
		return 0, err
	}
	if took, err = openOnce(ctx, e); err != nil {
		return 0, err
	}
	return took, e.await(ctx, 1)
}

// begin sets what happens to the conns that arrive from now on.
func (e *ends) begin(ctx context.Context, mode string, timeout time.Duration) error {
	_, err := e.server.call(ctx, order{Do: mode, Timeout: timeout})
	return err
}

// await waits until n conns were dealt with.
func (e *ends) await(ctx context.Context, n int) error {
	_, err := e.server.call(ctx, order{Do: doAwait, N: n})
	return err
}

// measureBulk fills bulk, bulkCPU and bulkAllocs.
func measureBulk(ctx context.Context, e *ends, b budget, s *sample) error {
	before, err := e.usage(ctx)
	if err != nil {
		return err
	}
	n, took, err := transfer(ctx, e, 1, b)
	if err != nil {
		return fmt.Errorf("bulk: %w", err)
	}
	after, err := e.usage(ctx)
	if err != nil {
		return err
	}
	s[bulk] = float64(n) / megabyte / took.Seconds()
	s[bulkCPU] = (after.Before - before.After).Seconds() / (float64(n) / gigabyte)
	s[bulkAllocs] = float64(after.Mallocs-before.Mallocs) / (float64(n) / megabyte)
	return nil
}

// measureParallel fills parallel.
func measureParallel(ctx context.Context, e *ends, b budget, s *sample) error {
	n, took, err := transfer(ctx, e, manyStreams, b)
	if err != nil {
		return fmt.Errorf("%d streams: %w", manyStreams, err)
	}
	s[parallel] = float64(n) / megabyte / took.Seconds()
	return nil
}

// transfer sends over n new streams at once, from client to server, and returns
// how many bytes arrived and how long it took until the last of them.
func transfer(ctx context.Context, e *ends, n int, b budget) (int64, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, b.time+patience)
	defer cancel()
	if err := e.begin(ctx, doDrain, b.time+patience); err != nil {
		return 0, 0, err
	}
	conns, err := dialAll(ctx, e, n)
	defer closeAll(conns)
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if err := setDeadlines(start.Add(b.time+patience), conns); err != nil {
		return 0, 0, err
	}
	sent, errs := make([]int64, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { sent[i], errs[i] = send(conns[i], b.bytes/int64(n), start.Add(b.time)) })
	}
	wg.Wait()
	a, err := e.server.call(ctx, order{Do: doAwait, N: n})
	took := time.Since(start)
	var total int64
	for _, n := range sent {
		total += n
	}
	if err = errors.Join(append(errs, err)...); err == nil && total != a.Bytes {
		err = fmt.Errorf("sent %d bytes, received %d", total, a.Bytes)
	}
	return a.Bytes, took, err
}

// send writes until a limit is reached and then half-closes.
func send(c net.Conn, bytes int64, until time.Time) (sent int64, err error) {
	buf := make([]byte, writeSize)
	for sent < bytes && time.Now().Before(until) {
		n, err := c.Write(buf)
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	h, ok := c.(halfCloser)
	if !ok {
		return sent, fmt.Errorf("%T has no CloseWrite", c)
	}
	return sent, h.CloseWrite()
}

// measurePing fills rttP50 and rttP99.
func measurePing(ctx context.Context, e *ends, b budget, s *sample) error {
	if err := e.begin(ctx, doEcho, b.time+patience); err != nil {
		return err
	}
	conns, err := dialAll(ctx, e, 1)
	defer closeAll(conns)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	start := time.Now()
	if err := setDeadlines(start.Add(b.time+patience), conns); err != nil {
		return err
	}
	rtts := make([]float64, 0, maxPings)
	buf := make([]byte, pingSize)
	for len(rtts) < maxPings && time.Since(start) < b.time {
		sent := time.Now()
		if err := exchange(conns[0], buf); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		rtts = append(rtts, float64(time.Since(sent))/microseconds)
	}
	slices.Sort(rtts)
	s[rttP50], s[rttP99] = quantile(rtts, 0.5), quantile(rtts, 0.99)
	closeAll(conns)
	return e.await(ctx, 1)
}

// exchange sends buf and waits until as much came back.
func exchange(c net.Conn, buf []byte) error {
	if _, err := c.Write(buf); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf)
	return err
}

// measureOpen fills openP50.
func measureOpen(ctx context.Context, e *ends, b budget, s *sample) error {
	if err := e.begin(ctx, doEcho, patience); err != nil {
		return err
	}
	start := time.Now()
	var took []float64
	for len(took) < opens && time.Since(start) < b.time {
		d, err := openOnce(ctx, e)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		took = append(took, float64(d)/microseconds)
	}
	slices.Sort(took)
	s[openP50] = quantile(took, 0.5)
	return e.await(ctx, len(took))
}

// openOnce dials, gets one byte echoed, and closes, which does not count.
func openOnce(ctx context.Context, e *ends) (time.Duration, error) {
	opened := time.Now()
	conns, err := dialAll(ctx, e, 1)
	defer closeAll(conns)
	if err != nil {
		return 0, err
	}
	if err := setDeadlines(opened.Add(patience), conns); err != nil {
		return 0, err
	}
	err = exchange(conns[0], make([]byte, 1))
	return time.Since(opened), err
}

// measureIdle fills idleHeap and idleGo. A round before makes what the runtime
// keeps of goroutines that have ended.
func measureIdle(ctx context.Context, e *ends, b budget, s *sample) error {
	if _, err := holdIdle(ctx, e, b.idle); err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	before, err := e.calm(ctx)
	if err != nil {
		return err
	}
	after, err := holdIdle(ctx, e, b.idle)
	if err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	s[idleHeap] = (after.Bytes - before.Bytes) / float64(b.idle)
	s[idleGo] = (after.Goroutines - before.Goroutines) / float64(b.idle)
	return nil
}

// holdIdle returns the usage while n streams are open that have carried one byte.
func holdIdle(ctx context.Context, e *ends, n int) (u usage, err error) {
	if err := e.begin(ctx, doHold, 0); err != nil {
		return u, err
	}
	var conns []net.Conn
	defer func() { closeAll(conns) }()
	for len(conns) < n && err == nil {
		var some []net.Conn
		some, err = dialAll(ctx, e, min(idleBatch, n-len(conns)))
		conns = append(conns, some...)
		for _, c := range some {
			if err == nil {
				_, err = c.Write([]byte{0}) // some exist for the peer from then on
			}
		}
		if err == nil {
			err = e.await(ctx, len(some))
		}
	}
	if err == nil {
		u, err = e.calm(ctx)
	}
	_, released := e.server.call(ctx, order{Do: doRelease})
	return u, errors.Join(err, released)
}

// calm returns the usage of both sides once what was done before has been
// cleaned up: when memory has stopped falling.
func (e *ends) calm(ctx context.Context) (u usage, err error) {
	const (
		pause = 20 * time.Millisecond
		tries = 25
		still = 0.002 // what memory may fall
	)
	for range tries {
		last := u
		if u, err = e.usage(ctx); err != nil {
			return u, err
		}
		if last.Bytes > 0 && u.Bytes > last.Bytes*(1-still) && u.Goroutines >= last.Goroutines {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return u, context.Cause(ctx)
		}
	}
	return u, nil
}

// dialAll dials n conns. What it returns is to be closed even with an error.
func dialAll(ctx context.Context, e *ends, n int) (conns []net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range n {
		c, err := e.client.Dial(ctx)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close() // the measurement is over
	}
}

func setDeadlines(t time.Time, conns []net.Conn) error {
	for _, c := range conns {
		if err := c.SetDeadline(t); err != nil {
			return err
		}
	}
	return nil
}
