package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/internal/httpconn"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

const (
	// maxWaiting is how many conns of one listener may wait to be fetched; further
	// ones are reset. As with overlay.Config.Backlog.
	maxWaiting = 128
	// fetchTimeout is how long one may wait.
	fetchTimeout = 10 * time.Second
)

// A Server gives a node to other processes. Serve it as an http.Handler on a socket that
// only they can reach, and Close it after that.
type Server struct {
	node *overlay.Node
	log  logrus.FieldLogger
	mux  *http.ServeMux

	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting map[string]waiting // by token
}

// A waiting conn waits to be fetched.
type waiting struct {
	conn  net.Conn
	timer *time.Timer
}

var errStopping = errors.New("the running node stops")

// NewServer returns a server that has to be closed.
func NewServer(node *overlay.Node, log logrus.FieldLogger) *Server {
	s := &Server{node: node, log: log, mux: http.NewServeMux(), waiting: map[string]waiting{}}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.mux.HandleFunc("GET /ready", s.ready)
	s.mux.HandleFunc("GET /ping", s.ping)
	s.mux.HandleFunc("POST /dial", s.dial)
	s.mux.HandleFunc("POST /listen", s.listen)
	s.mux.HandleFunc("POST /take", s.take)
	s.mux.HandleFunc("POST /dialpacket", s.dialPacket)
	s.mux.HandleFunc("POST /listenpacket", s.listenPacket)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close resets the conns that other processes have, and waits for what serves them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	s.cancel(errStopping)
	for _, w := range waiting {
		w.timer.Stop()
		join.Reset(w.conn, stream.CodeShuttingDown)
	}
	s.wg.Wait()
	return nil
}

// begin counts something that Close has to wait for, unless Close was called.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// within is the request's context, which also ends with the server.
func (s *Server) within(r *http.Request) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	stop := context.AfterFunc(s.ctx, func() { cancel(errStopping) })
	return ctx, func() { stop(); cancel(nil) }
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, done := s.within(r)
	defer done()
	if err := s.node.WaitReady(ctx); err != nil {
		fail(w, http.StatusBadGateway, err)
	}
}

func (s *Server) ping(w http.ResponseWriter, r *http.Request) {
	ctx, done := s.within(r)
	defer done()
	result, err := s.node.Ping(ctx, r.FormValue("host"))
	if err != nil {
		fail(w, http.StatusBadGateway, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(pingAnswer{
		result.RTT, result.Path, result.Layer,
		connInfo{Remote: result.Peer.ID.String() + ":0", Key: result.Peer.Key.String(), Names: result.Peer.Names, Roles: result.Peer.Roles},
	})
}

// A pingAnswer is an overlay.PingResult.
type pingAnswer struct {
	RTT   time.Duration `json:"rtt_ns"`
	Path  string        `json:"path"`
	Layer string        `json:"layer"`
	Peer  connInfo      `json:"peer"`
}

func (s *Server) dial(w http.ResponseWriter, r *http.Request) {
	ctx, done := s.within(r)
	dialer := overlay.Dialer{EarlyData: r.FormValue("early") == "1"}
	conn, err := dialer.Dial(ctx, s.node, r.FormValue("addr"))
	done()
	if err != nil {
		fail(w, http.StatusBadGateway, err)
		return
	}
	s.hand(w, conn)
}

// hand gives a conn to the client that has asked for it.
func (s *Server) hand(w http.ResponseWriter, conn net.Conn) {
	client, err := s.upgrade(w, infoOf(conn))
	if err != nil {
		join.Reset(conn, stream.CodeCanceled)
		return
	}
	defer s.wg.Done()
	if err := join.Conns(s.ctx, client, conn, nil); err != nil {
		s.log.WithError(err).WithField("peer", conn.RemoteAddr()).Debug("a conn of another process has ended in disorder")
	}
}

// upgrade makes the request's conn one of frames. After a success the caller owes
// s.wg.Done.
func (s *Server) upgrade(w http.ResponseWriter, info connInfo) (*Conn, error) {
	text, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	if !s.begin() {
		fail(w, http.StatusServiceUnavailable, errStopping)
		return nil, errStopping
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.wg.Done()
		fail(w, http.StatusInternalServerError, err)
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	rest, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err == nil {
		_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s: %s\r\n\r\n", protocol, headerConn, text)
	}
	if err != nil {
		_ = conn.Close()
		s.wg.Done()
		return nil, err
	}
	return newConn(httpconn.Unread(conn, rest), info), nil
}

// portOf reads the port that a request is about.
func portOf(r *http.Request) (uint16, error) {
	port, err := strconv.ParseUint(r.FormValue("port"), 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%.10q is no port: want a number from 0 to 65535", r.FormValue("port"))
	}
	return uint16(port), nil
}
