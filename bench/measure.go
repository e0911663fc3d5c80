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
	idleStreams  = 100
	opens        = 100
	maxPings     = 20_000
	megabyte     = 1e6
	gigabyte     = 1e9
	patience     = time.Minute // beyond a measurement's own time; then it has failed
	microseconds = float64(time.Microsecond)
)

// A budget bounds each single measurement: it ends at whichever limit comes
// first.
type budget struct {
	bytes int64
	time  time.Duration
}

// halfCloser is what a conn must offer so that its reader sees the end.
type halfCloser interface{ CloseWrite() error }

// measure takes one sample of a transport.
func measure(ctx context.Context, t Transport, b budget) (s sample, err error) {
	pairs, err := t.Start(ctx)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, pairs.Close()) }()
	for _, step := range []func(context.Context, Pairs, budget, *sample) error{
		measureOpen, measurePing, measureBulk, measureParallel, measureIdle,
	} {
		runtime.GC()
		if err := step(ctx, pairs, b, &s); err != nil {
			return s, fmt.Errorf("%s: %w", t.Name(), err)
		}
	}
	return s, nil
}

// measureBulk fills bulk, bulkCPU and bulkAllocs.
func measureBulk(ctx context.Context, p Pairs, b budget, s *sample) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := cpuTime()
	n, took, err := transfer(ctx, p, 1, b)
	if err != nil {
		return fmt.Errorf("bulk: %w", err)
	}
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)
	s[bulk] = float64(n) / megabyte / took.Seconds()
	s[bulkCPU] = cpu.Seconds() / (float64(n) / gigabyte)
	s[bulkAllocs] = float64(after.Mallocs-before.Mallocs) / (float64(n) / megabyte)
	return nil
}

// measureParallel fills parallel.
func measureParallel(ctx context.Context, p Pairs, b budget, s *sample) error {
	n, took, err := transfer(ctx, p, manyStreams, b)
	if err != nil {
		return fmt.Errorf("%d streams: %w", manyStreams, err)
	}
	s[parallel] = float64(n) / megabyte / took.Seconds()
	return nil
}

// transfer sends over n new streams at once, from client to server, and returns
// how many bytes arrived and how long it took until the last of them.
func transfer(ctx context.Context, p Pairs, n int, b budget) (int64, time.Duration, error) {
	clients, servers, err := openAll(ctx, p, n)
	defer closeAll(clients, servers)
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if err := setDeadlines(start.Add(b.time+patience), clients, servers); err != nil {
		return 0, 0, err
	}
	sent, received := make([]int64, n), make([]int64, n)
	sendErr, drainErr := make([]error, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { sent[i], sendErr[i] = send(clients[i], b.bytes/int64(n), start.Add(b.time)) })
		wg.Go(func() { received[i], drainErr[i] = drain(servers[i]) })
	}
	wg.Wait()
	took := time.Since(start)
	var total int64
	var errs []error
	for i := range n {
		total += received[i]
		errs = append(errs, sendErr[i], drainErr[i])
		if sent[i] != received[i] {
			errs = append(errs, fmt.Errorf("stream %d: sent %d bytes, received %d", i, sent[i], received[i]))
		}
	}
	return total, took, errors.Join(errs...)
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

// drain reads to the end. (io.Copy to io.Discard would read 8 KiB at a time.)
func drain(c net.Conn) (received int64, err error) {
	buf := make([]byte, 2*writeSize)
	for {
		n, err := c.Read(buf)
		received += int64(n)
		if errors.Is(err, io.EOF) {
			return received, nil
		} else if err != nil {
			return received, err
		}
	}
}

// measurePing fills rttP50 and rttP99.
func measurePing(ctx context.Context, p Pairs, b budget, s *sample) error {
	clients, servers, err := openAll(ctx, p, 1)
	defer closeAll(clients, servers)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	start := time.Now()
	if err := setDeadlines(start.Add(b.time+patience), clients, servers); err != nil {
		return err
	}
	var echo sync.WaitGroup
	defer echo.Wait()
	echo.Go(func() { echoAll(servers[0]) })
	defer func() { _ = clients[0].Close() }() // ends echo
	var rtts []float64
	buf := make([]byte, pingSize)
	for len(rtts) < maxPings && time.Since(start) < b.time {
		sent := time.Now()
		if err := exchange(clients[0], buf); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		rtts = append(rtts, float64(time.Since(sent))/microseconds)
	}
	slices.Sort(rtts)
	s[rttP50], s[rttP99] = quantile(rtts, 0.5), quantile(rtts, 0.99)
	return nil
}

// exchange sends buf and waits until as much came back.
func exchange(c net.Conn, buf []byte) error {
	if _, err := c.Write(buf); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf)
	return err
}

// echoAll sends back what it reads until the conn ends; the other end notices
// if that is too early.
func echoAll(c net.Conn) {
	buf := make([]byte, pingSize)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// measureOpen fills openP50.
func measureOpen(ctx context.Context, p Pairs, b budget, s *sample) error {
	start := time.Now()
	var took []float64
	for len(took) < opens && time.Since(start) < b.time {
		d, err := openOnce(ctx, p)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		took = append(took, float64(d)/microseconds)
	}
	slices.Sort(took)
	s[openP50] = quantile(took, 0.5)
	return nil
}

// openOnce opens a stream, gets one byte echoed, and closes it, which does not
// count.
func openOnce(ctx context.Context, p Pairs) (time.Duration, error) {
	opened := time.Now()
	clients, servers, err := openAll(ctx, p, 1)
	defer closeAll(clients, servers)
	if err != nil {
		return 0, err
	}
	if err := setDeadlines(time.Now().Add(patience), clients, servers); err != nil {
		return 0, err
	}
	var echo sync.WaitGroup
	defer echo.Wait()
	echo.Go(func() { echoAll(servers[0]) })
	defer func() { _ = clients[0].Close() }()
	err = exchange(clients[0], make([]byte, 1))
	return time.Since(opened), err
}

// measureIdle fills idleHeap and idleGo.
func measureIdle(ctx context.Context, p Pairs, _ budget, s *sample) error {
	heap, goroutines := footprint()
	clients, servers, err := openAll(ctx, p, idleStreams)
	defer closeAll(clients, servers)
	if err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	heapOpen, goroutinesOpen := footprint()
	s[idleHeap] = (heapOpen - heap) / idleStreams
	s[idleGo] = (goroutinesOpen - goroutines) / idleStreams
	return nil
}

// footprint returns the live heap and stacks in bytes, and the number of
// goroutines.
func footprint() (bytes, goroutines float64) {
	runtime.GC()
	runtime.GC() // the first one only moves what pools hold aside
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse), float64(runtime.NumGoroutine())
}

// openAll opens n streams. What it returns is to be closed even with an error.
func openAll(ctx context.Context, p Pairs, n int) (clients, servers []net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range n {
		c, s, err := p.Open(ctx)
		if err != nil {
			return clients, servers, err
		}
		clients, servers = append(clients, c), append(servers, s)
	}
	return clients, servers, nil
}

func closeAll(groups ...[]net.Conn) {
	for _, g := range groups {
		for _, c := range g {
			_ = c.Close() // the measurement is over
		}
	}
}

func setDeadlines(t time.Time, groups ...[]net.Conn) error {
	for _, g := range groups {
		for _, c := range g {
			if err := c.SetDeadline(t); err != nil {
				return err
			}
		}
	}
	return nil
}
