package diag

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/overlay"
)

const (
	// roundTrips is how many round trips are measured, and tripPause the pause between
	// two: a second in all, on a short way.
	roundTrips = 100
	tripPause  = 10 * time.Millisecond
	// tripsTime is how long all of them may take, on a long way.
	tripsTime = 3 * time.Second
	// packets is how many packets are sent, of packetSize bytes, which every path
	// carries, with packetPause after each: 4 Mbit/s, for a second.
	packets     = 500
	packetSize  = 1000
	packetPause = 2 * time.Millisecond
	// packetPatience is how long the last of them have to come back.
	packetPatience = time.Second
)

// Options are how to measure.
type Options struct {
	Time    time.Duration // of each direction, to MaxTime
	Streams int           // that carry it at once, 1 to MaxStreams
	Rate    int64         // bytes a second in each direction; 0: as fast as it goes
	// Progress is told of each phase's bytes, by many goroutines at once. Nil: nobody.
	Progress func(phase string, bytes int)
}

// The phases that Options.Progress is told of.
const (
	PhaseTrips   = "round trips"
	PhasePackets = "packets"
	PhaseSend    = "sending"
	PhaseReceive = "receiving"
)

// A Result is what a bench has measured. Its JSON is only ever added to.
type Result struct {
	Node    string    `json:"node"`
	Path    string    `json:"path"`
	Trips   Trips     `json:"round_trip"`
	Packets Packets   `json:"packets"`
	Send    Direction `json:"send"`
	Receive Direction `json:"receive"`
	Streams int       `json:"streams"`
}

// Trips are round trips on a stream, in milliseconds, with nothing else under way.
type Trips struct {
	Count int     `json:"count"`
	Min   float64 `json:"min_ms"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// Packets are how many unreliable packets arrived and came back.
type Packets struct {
	Sent     int    `json:"sent"`
	Arrived  uint64 `json:"arrived"`
	Returned int    `json:"returned"`
}

// A Direction is how much went one way, as the receiver has seen it.
type Direction struct {
	Bytes   uint64  `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// PerSecond is the throughput in bytes a second, 0 if nothing went.
func (d Direction) PerSecond() float64 {
	if d.Seconds <= 0 {
		return 0
	}
	return float64(d.Bytes) / d.Seconds
}

// A measurement is a bench under way.
type measurement struct {
	node  localapi.Node
	host  string
	opt   Options
	token string
}

// Check returns a sentence about what is wrong with the options.
func (o *Options) Check() error {
	switch {
	case o.Time <= 0 || o.Time > MaxTime:
		return fmt.Errorf("a direction takes at most %v, and more than nothing", MaxTime)
	case o.Streams < 1 || o.Streams > MaxStreams:
		return fmt.Errorf("there are 1 to %d streams", MaxStreams)
	case o.Rate < 0 || o.Rate > MaxRate:
		return fmt.Errorf("a rate is at most %d bytes a second", int64(MaxRate))
	}
	return nil
}

// perStream is the rate of each stream, 0 for as fast as it goes.
func (o *Options) perStream() int64 {
	if o.Rate == 0 {
		return 0
	}
	return max(o.Rate/int64(o.Streams), 1)
}

// Bench measures the way to a node that is named as for a dial.
func Bench(ctx context.Context, node localapi.Node, host string, opt Options) (*Result, error) {
	if err := opt.Check(); err != nil {
		return nil, err
	}
	if opt.Progress == nil {
		opt.Progress = func(string, int) {}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxBench, errors.New("the bench takes too long; the way has broken, or is very slow"))
	defer cancel()
	held, a, err := ask(ctx, node, host, request{Do: doBegin})
	if err != nil {
		return nil, err
	}
	defer held.Close()
	m := &measurement{node, host, opt, a.Token}
	r := &Result{Streams: opt.Streams}
	r.Path, _ = localapi.PathOf(held.Conn)
	if peer, ok := held.RemoteAddr().(overlay.Addr); ok {
		r.Node = peer.Node.String()
	}
	for _, step := range []func(context.Context, *Result) error{m.trips, m.packets, m.send, m.receive} {
		if err := step(ctx, r); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, err
		}
	}
	if err := join.CloseWrite(held.Conn); err != nil {
		return nil, err
	}
	var end answer
	if err := readLine(held.r, &end); err != nil {
		return nil, err
	}
	r.Packets.Arrived = end.Packets
	if path, ok := localapi.PathOf(held.Conn); ok {
		r.Path = path // a direct one, perhaps, that was found meanwhile
	}
	return r, nil
}

func (m *measurement) ask(ctx context.Context, do string) (*asked, error) {
	req := request{Do: do, Token: m.token}
	if do == doSource {
		req.Millis, req.Rate = m.opt.Time.Milliseconds(), m.opt.perStream()
	}
	c, _, err := ask(ctx, m.node, m.host, req)
	return c, err
}

// trips measures round trips.
func (m *measurement) trips(ctx context.Context, r *Result) error {
	c, err := m.ask(ctx, doEcho)
	if err != nil {
		return err
	}
	defer c.Close()
	pause := time.NewTicker(tripPause)
	defer pause.Stop()
	begun := time.Now()
	var all []time.Duration
	var buf [8]byte
	for len(all) < roundTrips && (len(all) == 0 || time.Since(begun) < tripsTime) {
		sent := time.Now()
		if _, err := c.Write(buf[:]); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, buf[:]); err != nil {
			return err
		}
		all = append(all, time.Since(sent))
		m.opt.Progress(PhaseTrips, len(buf))
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.Trips = tripsOf(all)
	return nil
}

// tripsOf sums up round trips, of which there is at least one.
func tripsOf(all []time.Duration) Trips {
	slices.Sort(all)
	at := func(percent int) float64 { return ms(all[(len(all)-1)*percent/100]) }
	return Trips{Count: len(all), Min: at(0), P50: at(50), P99: at(99), Max: at(100)}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// packets counts what of them comes back.
func (m *measurement) packets(ctx context.Context, r *Result) error {
	c, err := m.node.DialPacket(ctx, net.JoinHostPort(m.host, strconv.Itoa(Port)))
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := c.SetReadDeadline(time.Now().Add(packets*packetPause + packetPatience)); err != nil {
		return err
	}
	back := make(chan int, 1)
	go func() { back <- countBack(c, m.token) }()
	pause := time.NewTicker(packetPause)
	defer pause.Stop()
	b := make([]byte, packetSize)
	copy(b, m.token)
	for i := range packets {
		binary.BigEndian.PutUint32(b[TokenSize:], uint32(i))
		if _, err := c.Write(b); err == nil {
			r.Packets.Sent++
			m.opt.Progress(PhasePackets, len(b))
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			_ = c.Close()
			<-back
			return ctx.Err()
		}
	}
	r.Packets.Returned = <-back
	return nil
}

// countBack counts the packets that come back, each once, until all have or time is up.
func countBack(c net.Conn, token string) int {
	seen := make(map[uint32]bool, packets)
	buf := make([]byte, maxEcho)
	for len(seen) < packets {
		n, err := c.Read(buf)
		if err != nil {
			break
		}
		if i, ok := numberOf(buf[:n], token); ok {
			seen[i] = true
		}
	}
	return len(seen)
}

// numberOf reads the number of a packet that was sent.
func numberOf(b []byte, token string) (uint32, bool) {
	if len(b) != packetSize || len(token) != TokenSize || string(b[:TokenSize]) != token {
		return 0, false
	}
	i := binary.BigEndian.Uint32(b[TokenSize:])
	return i, i < packets
}

// send measures the direction to the node.
func (m *measurement) send(ctx context.Context, r *Result) error {
	return m.parallel(ctx, &r.Send, doSink, func(ctx context.Context, c *asked) (Direction, error) {
		err := pump(ctx, c, m.opt.Time, func(n int) { m.opt.Progress(PhaseSend, n) }, limiter(m.opt.perStream()))
		if err != nil {
			return Direction{}, err
		}
		var a answer
		if err := readLine(c.r, &a); err != nil {
			return Direction{}, err
		}
		return Direction{a.Bytes, float64(a.Micros) / 1e6}, nil
	})
}

// receive measures the direction from the node.
func (m *measurement) receive(ctx context.Context, r *Result) error {
	return m.parallel(ctx, &r.Receive, doSource, func(_ context.Context, c *asked) (d Direction, err error) {
		var begun, last time.Time
		buf := make([]byte, blockSize)
		for {
			n, err := c.Read(buf)
			if n > 0 {
				last = time.Now()
				if begun.IsZero() {
					begun = last
				}
				d.Bytes += uint64(n)
				m.opt.Progress(PhaseReceive, n)
			}
			if errors.Is(err, io.EOF) {
				d.Seconds = last.Sub(begun).Seconds()
				return d, nil
			}
			if err != nil {
				return d, err
			}
		}
	})
}

// parallel measures one direction on all streams and adds them up.
func (m *measurement) parallel(ctx context.Context, sum *Direction, do string, run func(context.Context, *asked) (Direction, error)) error {
	// Streams are there before any of them is busy.
	var conns []*asked
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range m.opt.Streams {
		c, err := m.ask(ctx, do)
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	results, errs := make([]Direction, len(conns)), make([]error, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() { results[i], errs[i] = run(ctx, c) })
	}
	wg.Wait()
	for _, d := range results {
		sum.Bytes += d.Bytes
		sum.Seconds = max(sum.Seconds, d.Seconds)
	}
	return errors.Join(errs...)
}
