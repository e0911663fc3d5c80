package localapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

// An announcement says that a conn waits to be fetched.
type announcement struct {
	Conn string `json:"conn"` // what to ask for
}

// listen lets a client listen on a port of the node, until the client goes away.
func (s *Server) listen(w http.ResponseWriter, r *http.Request) {
	port, err := portOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	rule, err := readRule(r.FormValue("rule"))
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	ln, err := overlay.ListenConfig{Allow: rule}.Listen(s.node, port)
	if err != nil {
		fail(w, http.StatusConflict, err)
		return
	}
	defer ln.Close()
	client, err := s.upgrade(w, connInfo{Local: ln.Addr().String()})
	if err != nil {
		return
	}
	defer s.wg.Done()
	defer client.Close()
	s.wg.Go(func() { // the client says nothing, but goes away one day
		_, _ = io.Copy(io.Discard, client)
		_ = ln.Close()
	})
	stop := s.onStop(ln, client)
	defer stop()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		s.announce(client, conn)
	}
}

// announce tells a client of a conn.
func (s *Server) announce(client *Conn, conn net.Conn) {
	token := rand.Text()
	text, err := json.Marshal(announcement{token})
	if err != nil || !s.keep(token, conn) {
		join.Reset(conn, stream.CodeBacklogFull)
		return
	}
	if _, err := client.Write(text); err != nil {
		s.drop(token)
	}
}

// keep keeps a conn until it is fetched, and reports whether there is room.
func (s *Server) keep(token string, conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.waiting) >= maxWaiting {
		return false
	}
	s.waiting[token] = waiting{conn, time.AfterFunc(fetchTimeout, func() { s.drop(token) })}
	return true
}

// fetch returns the conn that waits, or nil.
func (s *Server) fetch(token string) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.waiting[token]
	if !ok {
		return nil
	}
	delete(s.waiting, token)
	w.timer.Stop()
	return w.conn
}

// drop resets a conn that nobody fetches.
func (s *Server) drop(token string) {
	if conn := s.fetch(token); conn != nil {
		join.Reset(conn, stream.CodeBacklogFull)
	}
}

// take gives a client a conn that it was told of.
func (s *Server) take(w http.ResponseWriter, r *http.Request) {
	conn := s.fetch(r.FormValue("conn"))
	if conn == nil {
		fail(w, http.StatusGone, errors.New("the conn is gone: it was not fetched in time"))
		return
	}
	s.hand(w, conn)
}

// onStop closes all of closers when the server does, until it is called.
func (s *Server) onStop(closers ...io.Closer) (stop func() bool) {
	return context.AfterFunc(s.ctx, func() {
		for _, c := range closers {
			_ = c.Close()
		}
	})
}
