package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
)

const (
	// maxUDP is the longest packet of UDP.
	maxUDP = 64 << 10
	// flowQueue is how many packets of a new flow wait for its target to be reached.
	flowQueue = 256
	// socketBuffer is what the kernel is asked to keep of what comes faster than it is
	// read; it may give less.
	socketBuffer = 4 << 20
)

// openUDP opens what a forward of UDP listens on.
func (f *forward) openUDP(ctx context.Context) error {
	if !f.spec.Remote {
		addr, err := net.ResolveUDPAddr("udp", f.spec.Listen)
		if err != nil {
			return err
		}
		conn, err := net.ListenUDP("udp", addr)
		if err != nil {
			return err
		}
		_ = conn.SetReadBuffer(socketBuffer)
		f.listen, f.close = conn.LocalAddr().String(), conn.Close
		t := &flows[netip.AddrPort]{
			f:    f,
			read: conn.ReadFromUDPAddrPort,
			reply: func(b []byte, to netip.AddrPort) error {
				_, err := conn.WriteToUDPAddrPort(b, to)
				return err
			},
			dial: func(ctx context.Context) (net.Conn, error) { return f.cfg.Node.DialPacket(ctx, f.spec.Target) },
		}
		f.serve = t.run
		return nil
	}
	port, err := strconv.ParseUint(f.spec.Listen, 10, 16)
	if err != nil {
		return err
	}
	allowed, err := nodesOf(f.cfg.Allow)
	if err != nil {
		return err
	}
	conn, err := f.cfg.Node.ListenPacket(ctx, uint16(port))
	if err != nil {
		return err
	}
	f.listen, f.close = f.describe(conn.LocalAddr()), conn.Close
	t := &flows[overlay.Addr]{
		f: f,
		read: func(b []byte) (int, overlay.Addr, error) {
			n, from, err := conn.ReadFrom(b)
			addr, _ := from.(overlay.Addr)
			return n, addr, err
		},
		reply: func(b []byte, to overlay.Addr) error {
			_, err := conn.WriteTo(b, to)
			return err
		},
		dial:   f.dialUDP,
		admits: func(from overlay.Addr) bool { return allowed == nil || allowed[from.Node] },
	}
	f.serve = t.run
	return nil
}

// dialUDP reaches the target of a remote forward.
func (f *forward) dialUDP(ctx context.Context) (net.Conn, error) {
	conn, err := f.cfg.Dial(ctx, "udp", f.spec.Target)
	if u, ok := conn.(*net.UDPConn); ok {
		_ = u.SetReadBuffer(socketBuffer)
	}
	return conn, err
}

// nodesOf is who a rule allows, as far as a packet shows: by ID. Nil: everybody.
func nodesOf(rule *overlay.Rule) (map[overlay.NodeID]bool, error) {
	if rule == nil {
		return nil, nil
	}
	if len(rule.Names) > 0 || len(rule.Roles) > 0 || rule.Func != nil {
		return nil, errors.New("packets do not show names and roles: for UDP, allow nodes by ID or key")
	}
	nodes := map[overlay.NodeID]bool{}
	for _, id := range rule.IDs {
		nodes[id] = true
	}
	for _, key := range rule.Keys {
		nodes[key.ID()] = true
	}
	return nodes, nil
}

// flows carry packets between a port and a target. A flow is what one sender exchanges
// with the target; it ends after a silence in both directions.
type flows[K comparable] struct {
	f      *forward
	read   func(b []byte) (int, K, error)
	reply  func(b []byte, to K) error
	dial   func(ctx context.Context) (net.Conn, error)
	admits func(from K) bool // nil: everybody

	wg   sync.WaitGroup
	mu   sync.Mutex
	open map[K]*flow
}

// A flow is what one sender exchanges with the target.
type flow struct {
	out  chan []byte
	last atomic.Int64 // when the last packet came or went, in nanoseconds of Unix time
}

func (w *flow) touch() { w.last.Store(time.Now().UnixNano()) }

// run carries packets until ctx ends. The error says why there can be no more before.
func (t *flows[K]) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer t.wg.Wait()
	defer cancel(errStopped)
	t.open = map[K]*flow{}
	buf := make([]byte, maxUDP)
	for {
		n, from, err := t.read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && aboutPacket(err):
			continue
		case err != nil:
			return err
		}
		t.take(ctx, from, append([]byte(nil), buf[:n]...))
	}
}

// aboutPacket reports whether a read failed because of one packet, such as one that
// ICMP says did not arrive, and the next read will not.
func aboutPacket(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, io.ErrShortBuffer)
}

// take hands a packet to its flow.
func (t *flows[K]) take(ctx context.Context, from K, b []byte) {
	count := &t.f.count
	if t.admits != nil && !t.admits(from) {
		count.dropped.Add(1)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.open[from]
	if w == nil {
		if len(t.open) >= t.f.cfg.MaxFlows {
			count.refused.Add(1)
			count.dropped.Add(1)
			t.f.limited.Do(func() {
				t.f.log.Warnf("packets are dropped: there are %d flows, which is the limit (--max-flows)", t.f.cfg.MaxFlows)
			})
			return
		}
		w = &flow{out: make(chan []byte, flowQueue)}
		t.open[from] = w
		count.total.Add(1)
		count.open.Add(1)
		t.wg.Go(func() { t.carry(ctx, from, w) })
	}
	w.touch()
	select {
	case w.out <- b:
	default:
		count.dropped.Add(1)
	}
}

// carry is the life of a flow.
func (t *flows[K]) carry(ctx context.Context, from K, w *flow) {
	log := t.f.log.WithField("from", fmt.Sprint(from))
	defer t.f.count.open.Add(-1)
	defer t.forget(from)
	dctx, cancel := context.WithTimeout(ctx, t.f.cfg.DialTimeout)
	conn, err := t.dial(dctx)
	cancel()
	if err != nil {
		t.f.count.failed.Add(1)
		if ctx.Err() == nil {
			t.f.unreached.Do(func() { log.WithError(err).Warn("packets are lost, because their target cannot be reached") })
		}
		pause(ctx, min(time.Second, t.f.cfg.FlowIdle)) // the next packets do not try it at once
		return
	}
	ctx, broken := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer broken()
		t.back(conn, from, w, log)
	}()
	t.forth(ctx, conn, w, log)
	_ = conn.Close() // which ends back
	<-done
}

func (t *flows[K]) forget(from K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, from)
}

// forth sends packets to the target until nothing was heard in either direction for
// long enough.
func (t *flows[K]) forth(ctx context.Context, conn net.Conn, w *flow, log logrus.FieldLogger) {
	idle := time.NewTimer(t.f.cfg.FlowIdle)
	defer idle.Stop()
	for {
		select {
		case b := <-w.out:
			if _, err := conn.Write(b); err != nil {
				t.f.count.dropped.Add(1)
				log.WithError(err).Debug("a packet is lost")
				continue
			}
			t.f.count.bytes.AtoB.Add(uint64(len(b)))
		case <-idle.C:
			left := t.f.cfg.FlowIdle - time.Since(time.Unix(0, w.last.Load()))
			if left <= 0 {
				return
			}
			idle.Reset(left)
		case <-ctx.Done():
			return
		}
	}
}

// back sends the target's packets to who began the flow, until conn is closed.
func (t *flows[K]) back(conn net.Conn, from K, w *flow, log logrus.FieldLogger) {
	buf := make([]byte, maxUDP)
	for {
		n, err := conn.Read(buf)
		switch {
		case err != nil && aboutPacket(err):
			continue
		case err != nil:
			return
		}
		w.touch()
		if err := t.reply(buf[:n], from); err != nil {
			t.f.count.dropped.Add(1)
			log.WithError(err).Debug("a packet is lost")
			continue
		}
		t.f.count.bytes.BtoA.Add(uint64(n)) //nolint:gosec // never negative
	}
}
