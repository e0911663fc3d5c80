// Package tunnel forwards ports: from this machine to nodes, and from a node to
// targets that this machine reaches; TCP and UDP; to one target, or to those that
// each conn names.
package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/cmd/weft/internal/socks"
	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/overlay"
)

// The defaults of Config.
const (
	DefaultMaxConns    = 1024
	DefaultMaxFlows    = 1024
	DefaultFlowIdle    = time.Minute
	DefaultDialTimeout = 30 * time.Second
)

// A Config is how to forward. It must not be modified once Start has it.
type Config struct {
	// Node is the node from and to which is forwarded. It must be set.
	Node localapi.Node
	// Logger is told what happens. It must be set.
	Logger logrus.FieldLogger
	// MaxConns is how many conns each forward may have open; further ones are reset.
	// Each has two goroutines and 128 KiB of buffers. Zero: DefaultMaxConns.
	MaxConns int
	// MaxFlows is how many flows each forward of UDP may have; packets of further ones
	// are dropped. Zero: DefaultMaxFlows.
	MaxFlows int
	// FlowIdle is the silence, in both directions, after which a flow ends. Zero:
	// DefaultFlowIdle.
	FlowIdle time.Duration
	// DialTimeout is how long reaching a target may take. Zero: DefaultDialTimeout.
	DialTimeout time.Duration
	// Allow says which nodes may use the ports of remote forwards. Nil: all.
	Allow *overlay.Rule
	// Targets are those that diallers may name to remote forwards without a target.
	Targets Targets
	// ProxyProtocol sends targets of remote TCP forwards a PROXY header that says which
	// node is calling.
	ProxyProtocol bool
	// Direct lets programs that use a dynamic forward reach what is not of the overlay,
	// too, from this machine.
	Direct bool
	// User and Password are what programs have to say to dynamic forwards. Both empty:
	// nothing.
	User, Password string
	// Dial reaches targets on this machine and those around it. Nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Group is forwards that run.
type Group struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelCauseFunc
	failed chan error // capacity 1: the first forward that cannot go on
	wg     sync.WaitGroup

	forwards []*forward
}

// A forward is one Spec that runs.
type forward struct {
	spec   Spec
	cfg    *Config
	log    logrus.FieldLogger
	listen string // where it is, in words
	count  counters
	close  func() error
	serve  func(ctx context.Context) error

	limited, unreached rate.Sometimes // keep the log readable when much goes wrong
}

// logPause is how long the log is spared the next line of a kind.
const logPause = time.Second

var errStopped = errors.New("the forward was stopped")

// Start listens on the ports of all specs and forwards what comes there, until Close.
func Start(ctx context.Context, cfg Config, specs []Spec) (*Group, error) {
	cfg.MaxConns = orDefault(cfg.MaxConns, DefaultMaxConns)
	cfg.MaxFlows = orDefault(cfg.MaxFlows, DefaultMaxFlows)
	cfg.FlowIdle = orDefault(cfg.FlowIdle, DefaultFlowIdle)
	cfg.DialTimeout = orDefault(cfg.DialTimeout, DefaultDialTimeout)
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	g := &Group{cfg: cfg, failed: make(chan error, 1)}
	g.ctx, g.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	for _, spec := range specs {
		f := &forward{spec: spec, cfg: &g.cfg, log: cfg.Logger.WithField("forward", spec.String())}
		f.limited.Interval, f.unreached.Interval = logPause, logPause
		if err := f.open(ctx); err != nil {
			_ = g.Close()
			return nil, fmt.Errorf("%v cannot be forwarded: %w", spec, err)
		}
		g.forwards = append(g.forwards, f)
	}
	for _, f := range g.forwards {
		g.wg.Go(func() {
			if err := f.serve(g.ctx); err != nil {
				select {
				case g.failed <- fmt.Errorf("%v is not forwarded any more: %w", f.spec, err):
				default:
				}
			}
		})
	}
	return g, nil
}

func orDefault[T int | time.Duration](value, standard T) T {
	if value == 0 {
		return standard
	}
	return value
}

// Failed returns a channel with an error once a forward cannot go on.
func (g *Group) Failed() <-chan error { return g.failed }

// Close stops all forwards, resets their conns, and waits for that.
func (g *Group) Close() error {
	g.cancel(errStopped)
	for _, f := range g.forwards {
		_ = f.close()
	}
	g.wg.Wait()
	return nil
}

// Status says what the forwards are and have done, in the order of their specs.
func (g *Group) Status() []Status {
	var all []Status
	for _, f := range g.forwards {
		all = append(all, f.status())
	}
	return all
}

func (f *forward) status() Status {
	s := Status{Kind: "local", Net: "tcp", Listen: f.listen, Target: f.spec.Target, Stats: f.count.snapshot()}
	switch {
	case f.spec.Remote:
		s.Kind = "remote"
	case f.spec.Target == "":
		s.Kind = "dynamic"
	}
	if f.spec.UDP {
		s.Net = "udp"
	}
	if f.spec.Via != "" {
		s.Target += "/" + f.spec.Via
	}
	return s
}

// open opens what the forward listens on.
func (f *forward) open(ctx context.Context) error {
	if f.spec.UDP {
		return f.openUDP(ctx)
	}
	var ln net.Listener
	var err error
	if f.spec.Remote {
		var port uint64
		if port, err = strconv.ParseUint(f.spec.Listen, 10, 16); err == nil {
			ln, err = f.cfg.Node.ListenFor(ctx, uint16(port), f.cfg.Allow)
		}
	} else {
		ln, err = new(net.ListenConfig).Listen(ctx, "tcp", f.spec.Listen)
	}
	if err != nil {
		return err
	}
	f.listen = f.describe(ln.Addr())
	f.close = ln.Close
	f.serve = func(ctx context.Context) error { return f.accept(ctx, ln) }
	return nil
}

// describe is an address in words: the node of a remote one is this one, by name.
func (f *forward) describe(addr net.Addr) string {
	a, ok := addr.(overlay.Addr)
	if name := f.cfg.Node.Name(); ok && name != "" {
		return net.JoinHostPort(name, strconv.Itoa(int(a.Port)))
	}
	return addr.String()
}

// handler returns what is done with each conn, and what has to be done in the end.
func (f *forward) handler() (handle func(ctx context.Context, conn net.Conn), end func()) {
	switch {
	case f.spec.Remote && f.spec.Target == Any:
		return f.proxy(f.dialNamed, "")
	case f.spec.Remote:
		return f.toTarget, func() {}
	case f.spec.Target == "":
		return f.proxy(f.dialOverlay, listener.Suffix)
	}
	return f.toNode, func() {}
}

func (f *forward) proxy(dial func(ctx context.Context, host string, port uint16) (net.Conn, error), suffix string) (func(context.Context, net.Conn), func()) {
	cfg := socks.Config{
		Dial: dial, DialTimeout: f.cfg.DialTimeout, Suffix: suffix, Logger: f.log,
		Count: &f.count.bytes, Failed: func() { f.count.failed.Add(1) },
	}
	if !f.spec.Remote { // the overlay has its own way to say who may connect
		cfg.User, cfg.Password = f.cfg.User, f.cfg.Password
	}
	s := socks.New(cfg)
	return s.ServeConn, func() { _ = s.Close() }
}

// dialNamed reaches a target that a dialler names.
func (f *forward) dialNamed(ctx context.Context, host string, port uint16) (net.Conn, error) {
	if err := f.cfg.Targets.Check(host, port); err != nil {
		return nil, fmt.Errorf("%w: %w", socks.ErrNotAllowed, err)
	}
	return f.cfg.Dial(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
}

// dialOverlay reaches what a program here names.
func (f *forward) dialOverlay(ctx context.Context, host string, port uint16) (net.Conn, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(int(port)))
	switch {
	case socks.IsOverlay(host):
		return f.cfg.Node.Dial(ctx, addr)
	case f.cfg.Direct:
		return f.cfg.Dial(ctx, "tcp", addr)
	}
	return nil, fmt.Errorf("%w: %s is no name of the overlay, such as NODE%s; --direct lets others be reached from this machine", socks.ErrNotAllowed, host, listener.Suffix)
}

// toNode joins a conn of this machine with the node that the spec names.
func (f *forward) toNode(ctx context.Context, conn net.Conn) {
	dctx, cancel := context.WithTimeout(ctx, f.cfg.DialTimeout)
	// A refusal comes later then, but what the program says does not wait a round trip.
	there, err := dialVia(dctx, f.cfg.Node.DialEarly, f.spec.Target, f.spec.Via)
	cancel()
	f.joined(ctx, conn, there, err)
}

// toTarget joins a conn of the overlay with the target that the spec names.
func (f *forward) toTarget(ctx context.Context, conn net.Conn) {
	dctx, cancel := context.WithTimeout(ctx, f.cfg.DialTimeout)
	there, err := f.cfg.Dial(dctx, "tcp", f.spec.Target)
	cancel()
	if err == nil && f.cfg.ProxyProtocol {
		var header []byte
		if header, err = proxyHeader(conn); err == nil {
			_, err = there.Write(header)
		}
		if err != nil {
			join.Reset(there, join.CodeTarget)
		}
	}
	f.joined(ctx, conn, there, err)
}

// joined carries bytes between a conn and its target, if that was reached.
func (f *forward) joined(ctx context.Context, conn, there net.Conn, err error) {
	log := f.log.WithField("from", conn.RemoteAddr().String())
	if err != nil {
		f.count.failed.Add(1)
		join.Reset(conn, join.CodeTarget)
		if ctx.Err() == nil {
			f.unreached.Do(func() {
				log.WithField("why", join.Why(err)).Warn("a conn was reset, because its target cannot be reached")
			})
		}
		return
	}
	err = join.Conns(ctx, conn, there, &f.count.bytes)
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, overlay.ErrRefused):
		f.count.failed.Add(1)
		f.unreached.Do(func() { log.WithField("why", join.Why(err)).Warn("a conn was reset, because the node refuses it") })
	default:
		f.count.broken.Add(1)
		log.WithField("why", join.Why(err)).Info("a conn has ended in disorder")
	}
}

// DialVia dials a port of a node and, if via is not empty, asks what is there for that
// target.
func DialVia(ctx context.Context, node localapi.Node, target, via string) (net.Conn, error) {
	return dialVia(ctx, node.Dial, target, via)
}

func dialVia(ctx context.Context, dial func(ctx context.Context, addr string) (net.Conn, error), target, via string) (net.Conn, error) {
	conn, err := dial(ctx, target)
	if err != nil || via == "" {
		return conn, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	through, err := socks.Request(conn, via)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return through, nil
}
