package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/weftnet/weft/overlay"
)

const (
	// maxAdd is how much one message can add.
	maxAdd = 1000
	// maxMessage is how long one may be, in bytes.
	maxMessage = 256
	// maxWatchers is how many may watch at one time: each costs a conn and two
	// goroutines.
	maxWatchers = 256
	// heartbeat is how often a watcher is asked whether it is there, and how long it
	// may take to answer, or to receive anything else.
	heartbeat = 15 * time.Second
)

// A message from a watcher.
type message struct {
	Add int64 `json:"add"`
}

// A state is what watchers are told.
type state struct {
	Total int64  `json:"total"`
	By    string `json:"by,omitempty"` // the node that was the last to add
	Yours int64  `json:"yours"`        // what this WebSocket has added: an acknowledgement
}

// A counter counts. Who watches slowly misses states and never the last one: there is
// no queue for anybody.
type counter struct {
	ctx context.Context // ends when the server leaves
	wg  sync.WaitGroup  // of handlers, for which http.Server.Shutdown does not wait

	mu       sync.Mutex // guards what follows, watchers' fields included
	last     state
	watchers map[*watcher]struct{}
}

type watcher struct {
	added int64
	told  int64         // the total in the last state that was sent, -1 for none
	news  chan struct{} // has room for one: last has changed
}

func newCounter(ctx context.Context) *counter {
	return &counter{ctx: ctx, watchers: make(map[*watcher]struct{})}
}

// serve counts until ctx ends.
func (c *counter) serve(ln net.Listener) error {
	srv := &http.Server{ // of HTTP/1.1, which WebSockets begin with
		Handler:           c,
		ConnContext:       overlay.ConnContext, // for PeerFrom
		ReadHeaderTimeout: heartbeat,
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(c.ctx, func() { stopped <- srv.Shutdown(context.WithoutCancel(c.ctx)) })
	defer stop()
	err := srv.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		err = <-stopped
	}
	c.wg.Wait()
	return err
}

// ServeHTTP serves a watcher.
func (c *counter) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := c.enter()
	if w == nil {
		http.Error(rw, fmt.Sprintf("%d are watching already; come back later", maxWatchers), http.StatusServiceUnavailable)
		return
	}
	defer c.leave(w)
	conn, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return // Accept has answered
	}
	conn.SetReadLimit(maxMessage)
	peer, _ := overlay.PeerFrom(r.Context())
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(conn, w, name(peer))
	}()
	c.write(conn, w, read)
	_ = conn.CloseNow()
	<-read
}

// name is what the certificate of a node says, or its ID.
func name(peer overlay.Peer) string {
	if len(peer.Names) > 0 {
		return peer.Names[0]
	}
	return peer.ID.String()
}

// enter returns a watcher, nil if there are too many.
func (c *counter) enter() *watcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.watchers) >= maxWatchers {
		return nil
	}
	w := &watcher{told: -1, news: make(chan struct{}, 1)}
	w.news <- struct{}{} // the present state
	c.watchers[w] = struct{}{}
	c.wg.Add(1)
	return w
}

func (c *counter) leave(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watchers, w)
	c.wg.Done()
}

// add counts, and wakes those who watch.
func (c *counter) add(w *watcher, n int64, by string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last.Total += n
	c.last.By = by
	w.added += n
	for other := range c.watchers {
		select {
		case other.news <- struct{}{}:
		default: // it will see this state, too, when it wakes
		}
	}
}

// next returns the present state as a watcher sees it, and whether that is news.
func (c *counter) next(w *watcher) (state, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.last
	s.Yours = w.added
	changed := s.Total != w.told
	w.told = s.Total
	return s, changed
}

// read counts what a watcher adds, until its WebSocket ends. The reason of the end is
// for the watcher, in the close frame.
func (c *counter) read(conn *websocket.Conn, w *watcher, by string) {
	for {
		_, data, err := conn.Read(context.Background()) // a context that ends would break off a write
		if err != nil {
			return // closed by one side; too long a message, the library has answered
		}
		var m message
		if err := json.Unmarshal(data, &m); err != nil || m.Add < 1 || m.Add > maxAdd {
			_ = conn.Close(websocket.StatusPolicyViolation, fmt.Sprintf(`say {"add": N} with N from 1 to %d`, maxAdd))
			return
		}
		c.add(w, m.Add, by)
	}
}

// write sends a watcher the states, until read is over, it does not receive any more, or
// the server leaves.
func (c *counter) write(conn *websocket.Conn, w *watcher, read <-chan struct{}) {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-w.news:
			if s, changed := c.next(w); changed {
				err = inTime(func(ctx context.Context) error { return send(ctx, conn, s) })
			}
		case <-ticker.C:
			err = inTime(conn.Ping)
		case <-c.ctx.Done():
			_ = conn.Close(websocket.StatusGoingAway, "the counter is leaving")
			return
		case <-read:
			return
		}
		if err != nil {
			return
		}
	}
}

// inTime does something that must not take longer than a heartbeat. The end of the
// server does not break it off.
func inTime(do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), heartbeat)
	defer cancel()
	return do(ctx)
}

// send sends a value as JSON.
func send(ctx context.Context, conn *websocket.Conn, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return conn.Write(ctx, websocket.MessageText, data)
}
