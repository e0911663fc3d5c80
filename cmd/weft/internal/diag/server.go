package diag

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

// A Config is how to serve.
type Config struct {
	// Node is whose port is served. It must be set.
	Node *overlay.Node
	// Allow says who may ask, in addition to the node's Config.Allow. Nil: all.
	Allow *overlay.Rule
	// Version is told to those who ask.
	Version string
	// Logger is told of benches. It must be set.
	Logger logrus.FieldLogger
}

// A Server answers other nodes until it is closed.
type Server struct {
	cfg    Config
	ln     net.Listener
	pc     net.PacketConn
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns int
	bench *bench // nil: none goes on
}

// Serve answers on Port. That it is taken is an error.
func Serve(ctx context.Context, cfg Config) (*Server, error) {
	ln, err := overlay.ListenConfig{Allow: cfg.Allow}.Listen(cfg.Node, Port)
	if err != nil {
		return nil, err
	}
	pc, err := cfg.Node.ListenPacket(Port)
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	s := &Server{cfg: cfg, ln: ln, pc: pc}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.wg.Go(s.accept)
	s.wg.Go(s.echoPackets)
	return s, nil
}

// Close ends what goes on, and waits for that.
func (s *Server) Close() error {
	s.cancel()
	err := errors.Join(s.ln.Close(), s.pc.Close())
	s.wg.Wait()
	return err
}

func (s *Server) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		if !s.room(1) {
			join.Reset(conn, stream.CodeBacklogFull)
			continue
		}
		s.wg.Go(func() {
			defer s.room(-1)
			stop := context.AfterFunc(s.ctx, func() { join.Reset(conn, stream.CodeShuttingDown) })
			defer stop()
			defer conn.Close()
			if err := s.serve(conn); err != nil {
				s.cfg.Logger.WithError(err).WithField("from", conn.RemoteAddr().String()).Debug("a request of weft doctor or weft bench has failed")
			}
		})
	}
}

// room counts conns, and reports whether there is room for n more.
func (s *Server) room(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns+n > maxConns {
		return false
	}
	s.conns += n
	return true
}

// serve answers one request.
func (s *Server) serve(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	r := newReader(conn)
	var req request
	err := readLine(r, &req)
	if err == nil {
		err = req.check()
	}
	if err != nil {
		return s.refuse(conn, err)
	}
	peer, _ := overlay.PeerOf(conn)
	switch req.Do {
	case doView:
		return writeLine(conn, answer{View: viewFor(s.cfg.Node.Status(), peer.ID, s.cfg.Version)})
	case doBegin:
		return s.hold(conn, peer.ID)
	}
	b, err := s.join(req.Token, peer.ID)
	if err != nil {
		return s.refuse(conn, err)
	}
	defer s.leave(b)
	// Not longer than one direction, whatever the other side does.
	if err := conn.SetDeadline(time.Now().Add(MaxTime + requestTimeout)); err != nil {
		return err
	}
	if err := writeLine(conn, answer{}); err != nil {
		return err
	}
	switch req.Do {
	case doEcho:
		_, err = io.Copy(onlyWriter{conn}, r)
	case doSink:
		err = sink(conn, r)
	case doSource:
		err = pump(s.ctx, conn, req.time(), nil, b.limit, limiter(req.Rate))
	}
	return err
}

// onlyWriter hides what io.Copy would look for.
type onlyWriter struct{ io.Writer }

func (s *Server) refuse(conn net.Conn, why error) error {
	return errors.Join(why, writeLine(conn, answer{Error: why.Error()}))
}

// sink counts what comes.
func sink(conn net.Conn, r io.Reader) error {
	var total uint64
	var begun, last time.Time
	buf := make([]byte, blockSize)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			last = time.Now()
			if begun.IsZero() {
				begun = last
			}
			total += uint64(n)
		}
		if errors.Is(err, io.EOF) {
			return writeLine(conn, answer{Bytes: total, Micros: last.Sub(begun).Microseconds()})
		}
		if err != nil {
			return err
		}
	}
}

// blockSize is how much is read or written at a time.
const blockSize = 64 << 10

// limiter keeps a rate in bytes a second; nil for none. It lets a hundredth of a second's
// worth go at once, since timers are not exact.
func limiter(perSecond int64) *rate.Limiter {
	if perSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(int(perSecond/100), blockSize))
}

// pump writes to conn for a time, not faster than limits allow that are not nil, and ends
// the direction. It tells count of what it has written, if that is not nil.
func pump(ctx context.Context, conn net.Conn, d time.Duration, count func(int), limits ...*rate.Limiter) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	block := make([]byte, blockSize)
	for i := range block {
		block[i] = byte(i * 131) // nothing on the way compresses it, but it may look so
	}
	for ctx.Err() == nil {
		for _, l := range limits {
			if l != nil && l.WaitN(ctx, len(block)) != nil { // time is up, or nearly so
				return join.CloseWrite(conn)
			}
		}
		n, err := conn.Write(block)
		if count != nil {
			count(n)
		}
		if err != nil {
			return fmt.Errorf("the bench was cut off: %w", err)
		}
	}
	return join.CloseWrite(conn)
}
