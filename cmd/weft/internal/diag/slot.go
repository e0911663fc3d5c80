package diag

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/weftnet/weft/overlay"
)

// A bench is one that goes on.
type bench struct {
	token   string
	peer    overlay.NodeID
	streams int           // of data; guarded by Server.mu
	packets atomic.Uint64 // that have come
	limit   *rate.Limiter // of all that the node sends for it
}

// hold begins a bench, and keeps it as long as the stream is open.
func (s *Server) hold(conn net.Conn, peer overlay.NodeID) error {
	b := &bench{token: rand.Text(), peer: peer, limit: limiter(MaxRate)}
	s.mu.Lock()
	busy := s.bench
	if busy == nil {
		s.bench = b
	}
	s.mu.Unlock()
	if busy != nil {
		return s.refuse(conn, errors.New("it is busy with another bench; try again in a minute"))
	}
	defer func() {
		s.mu.Lock()
		s.bench = nil
		s.mu.Unlock()
	}()
	log := s.cfg.Logger.WithField("from", peer.String())
	log.Info("another node measures the way to this one (weft bench)")
	if err := conn.SetDeadline(time.Now().Add(maxBench)); err != nil {
		return err
	}
	if err := writeLine(conn, answer{Token: b.token}); err != nil {
		return err
	}
	// Whatever else it says is no more than that it is there.
	if _, err := io.Copy(io.Discard, io.LimitReader(conn, maxLine)); err != nil {
		return err
	}
	return writeLine(conn, answer{Packets: b.packets.Load()})
}

// join counts a stream of the bench that goes on.
func (s *Server) join(token string, peer overlay.NodeID) (*bench, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch b := s.bench; {
	case b == nil || b.token != token || b.peer != peer:
		return nil, errors.New("there is no such bench, or it has taken too long")
	case b.streams >= MaxStreams:
		return nil, fmt.Errorf("a bench has at most %d streams", MaxStreams)
	default:
		b.streams++
		return b, nil
	}
}

func (s *Server) leave(b *bench) {
	s.mu.Lock()
	b.streams--
	s.mu.Unlock()
}

// echoPackets sends packets of the bench back to where they come from.
func (s *Server) echoPackets() {
	buf := make([]byte, maxEcho)
	for {
		n, from, err := s.pc.ReadFrom(buf)
		if err != nil {
			return
		}
		addr, ok := from.(overlay.Addr)
		if b := s.current(); ok && b != nil && b.peer == addr.Node && n >= TokenSize && string(buf[:TokenSize]) == b.token {
			b.packets.Add(1)
			_, _ = s.pc.WriteTo(buf[:n], from) // what is lost is what is measured
		}
	}
}

// maxEcho is as long as a packet may be that comes back; what is longer is cut.
const maxEcho = 1200

func (s *Server) current() *bench {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bench
}
