package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// httpCallers is how many requests are on their way at once, over one conn.
const httpCallers = 64

// A message is the body of requests and of answers.
type message struct {
	ID    uint64   `json:"id"`
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

// serveHTTP starts a server of HTTP/2 and returns the mode that hands it conns.
func (h *localSide) serveHTTP() func(net.Conn) (int64, error) {
	ln := &connListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(answerMessage), Protocols: onlyH2C(), ReadHeaderTimeout: patience}
	h.keep(server)
	go func() { _ = server.Serve(ln) }() // until release
	return func(c net.Conn) (int64, error) {
		select {
		case ln.conns <- plainConn{c}:
			return 0, nil
		case <-ln.closed:
			return 0, errors.Join(net.ErrClosed, c.Close())
		}
	}
}

func answerMessage(w http.ResponseWriter, r *http.Request) {
	var m message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.Name = "hello " + m.Name
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(m) // the client notices
}

func onlyH2C() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// plainConn hides what a conn is, because net/http treats those of crypto/tls in
// its own way.
type plainConn struct{ net.Conn }

// connListener accepts conns that come over a channel.
type connListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *connListener) Addr() net.Addr { return noAddr{} }

// measureHTTP fills requests.
func measureHTTP(ctx context.Context, e *ends, b budget, s *sample) error {
	if _, err := e.server.call(ctx, order{Do: doHTTP}); err != nil {
		return err
	}
	rt := &http.Transport{
		Protocols: onlyH2C(),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := e.client.Dial(ctx)
			return plainConn{c}, err
		},
	}
	defer rt.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, b.time+patience)
	defer cancel()
	client := &http.Client{Transport: rt}
	if err := post(ctx, client); err != nil { // makes the conn
		return fmt.Errorf("http: %w", err)
	}
	if _, err := e.server.call(ctx, order{Do: doAwait, N: 1}); err != nil {
		return err
	}
	start := time.Now()
	var done atomic.Int64
	errs := make([]error, httpCallers)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for errs[i] == nil && time.Since(start) < b.time {
				errs[i] = post(ctx, client)
				done.Add(1)
			}
		})
	}
	wg.Wait()
	s[requests] = float64(done.Load()) / time.Since(start).Seconds()
	_, err := e.server.call(ctx, order{Do: doRelease})
	return errors.Join(append(errs, err)...)
}

// post sends one message and reads the answer.
func post(ctx context.Context, c *http.Client) error {
	body, err := json.Marshal(message{42, "weft", []string{"reader", "writer"}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bench/message", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var m message
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
