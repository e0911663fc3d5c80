package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weftnet/weft/overlay"
)

const (
	// maxNotes is how many notes are on the board; the oldest make room.
	maxNotes = 50
	// maxNote is how long one may be, in characters.
	maxNote = 200
	// maxWatchers is how many may look at one time: each costs a conn and a goroutine.
	maxWatchers = 256
	// heartbeat is how often a watcher is sent something, so that who is gone is
	// noticed, and how long it may take.
	heartbeat = 15 * time.Second
)

// policy lets the page load and ask its own server and nobody else, and run no script
// that somebody wrote into a note.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

//go:embed page
var files embed.FS

var page = template.Must(template.ParseFS(files, "page/index.html"))

// A note is on the board. By is a proven name or ID.
type note struct {
	ID   int    `json:"id"` // counts up, from 1
	Text string `json:"text"`
	By   string `json:"by"`
	Time string `json:"time"` // RFC 3339
}

// A state is what watchers are told, all of it each time: who looks slowly misses
// states and never the last one, and nobody has a queue.
type state struct {
	You   string   `json:"you,omitempty"`
	Notes []note   `json:"notes"` // the newest first
	Who   []string `json:"who"`   // is looking
}

// A board is what all look at.
type board struct {
	ctx context.Context // ends when the server leaves

	mu       sync.Mutex
	notes    []note
	written  int
	watchers map[chan struct{}]string // with room for one: there is news
}

func newBoard(ctx context.Context) *board {
	return &board{ctx: ctx, notes: []note{}, watchers: make(map[chan struct{}]string)}
}

// serve serves the page until ctx ends.
func (b *board) serve(ln net.Listener) error {
	srv := &http.Server{
		Handler:           b.handler(),
		ConnContext:       overlay.ConnContext, // for PeerFrom
		ReadHeaderTimeout: heartbeat,
		Protocols:         new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)            // browsers
	srv.Protocols.SetUnencryptedHTTP2(true) // nodes
	stopped := make(chan error, 1)
	stop := context.AfterFunc(b.ctx, func() { stopped <- srv.Shutdown(context.WithoutCancel(b.ctx)) })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

func (b *board) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", b.serveBoard)
	mux.HandleFunc("GET /page/{name}", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, r.URL.Path[1:]) })
	mux.HandleFunc("GET /events", b.serveEvents)
	mux.HandleFunc("POST /notes", b.serveNote)
	protected := http.NewCrossOriginProtection().Handler(mux) // other sites in the same browser cannot write
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-store")
		protected.ServeHTTP(w, r)
	})
}

// caller is who asks: a name from the node's certificate, or its ID. Nobody can pretend to
// be another one.
func caller(r *http.Request) string {
	peer, _ := overlay.PeerFrom(r.Context())
	if len(peer.Names) > 0 {
		return peer.Names[0]
	}
	return peer.ID.String()
}

// now is the present state.
func (b *board) now(you string) state {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := state{You: you, Notes: slices.Clone(b.notes), Who: []string{}}
	for _, name := range b.watchers {
		s.Who = append(s.Who, name)
	}
	slices.Sort(s.Who)
	s.Who = slices.Compact(s.Who)
	return s
}

// changed wakes all who look. The caller holds b.mu.
func (b *board) changed() {
	for news := range b.watchers {
		select {
		case news <- struct{}{}:
		default: // it will see this state, too, when it wakes
		}
	}
}

// serveBoard is the page as it is now, which is of use without scripts, too.
func (b *board) serveBoard(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, b.now(caller(r))) // otherwise nobody is there any more
}

func (b *board) serveNote(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "that is no form of this page: "+err.Error(), http.StatusBadRequest)
		return
	}
	text := strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, r.PostForm.Get("note")))
	if n := utf8.RuneCountInString(text); n == 0 || n > maxNote {
		http.Error(w, fmt.Sprintf("a note has 1 to %d characters, and this one has %d", maxNote, n), http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.written++
	b.notes = slices.Insert(b.notes, 0, note{b.written, text, caller(r), time.Now().UTC().Format(time.RFC3339)})
	b.notes = b.notes[:min(len(b.notes), maxNotes)]
	b.changed()
	b.mu.Unlock()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// enter adds a watcher, nil if there are too many.
func (b *board) enter(name string) chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.watchers) >= maxWatchers {
		return nil
	}
	news := make(chan struct{}, 1)
	b.watchers[news] = name
	b.changed()
	return news
}

func (b *board) leave(news chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watchers, news)
	b.changed()
}

// serveEvents sends each new state, as server-sent events: a browser connects again by
// itself when they end.
func (b *board) serveEvents(w http.ResponseWriter, r *http.Request) {
	you := caller(r)
	news := b.enter(you)
	if news == nil {
		http.Error(w, fmt.Sprintf("%d are looking already; come back later", maxWatchers), http.StatusServiceUnavailable)
		return
	}
	defer b.leave(news)
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-news:
			data, err := json.Marshal(b.now(you))
			if err != nil || send(rc, w, "data: "+string(data)+"\n\n") != nil {
				return
			}
		case <-ticker.C:
			if send(rc, w, ": still here\n\n") != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-b.ctx.Done():
			return
		}
	}
}

// send sends a watcher something, which must not take longer than a heartbeat.
func send(rc *http.ResponseController, w http.ResponseWriter, text string) error {
	_ = rc.SetWriteDeadline(time.Now().Add(heartbeat))
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return rc.Flush()
}
