package statuspage

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

const (
	// freshFor is how old a snapshot may be that is sent, so that many watchers cost
	// little more than one.
	freshFor = 500 * time.Millisecond
	// maxReaders is how many requests for data are answered at one time. Each has one
	// every second and takes some milliseconds, unless it reads slowly.
	maxReaders = 32
	// writeTimeout is how long a client may take to read an answer, where the server
	// has a conn that knows of deadlines.
	writeTimeout = 10 * time.Second
)

// policy lets the page load its own files and ask its own server, and nothing else.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

//go:embed assets
var assets embed.FS

// files are what the page is made of, by path.
var files = map[string]struct{ name, contentType string }{
	"":         {"index.html", "text/html; charset=utf-8"},
	"page.css": {"page.css", "text/css; charset=utf-8"},
	"page.js":  {"page.js", "text/javascript; charset=utf-8"},
	"icon.svg": {"icon.svg", "image/svg+xml"},
}

// A Handler serves the page. Multiple goroutines may call its methods simultaneously.
type Handler struct {
	source   Source
	recorder recorder
	places   chan struct{} // taken by requests for data
	turn     chan struct{} // of who may touch what is below; capacity 1
	made     time.Time     // when status was
	status   []byte        // the JSON of the last snapshot
}

// New returns a handler for a source. Nothing is recorded any more once ctx ends.
func New(ctx context.Context, source Source) *Handler {
	return &Handler{
		source:   source,
		recorder: recorder{ctx: ctx, traffic: source.Traffic},
		places:   make(chan struct{}, maxReaders),
		turn:     make(chan struct{}, 1),
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	Protect(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		Refuse(w, http.StatusMethodNotAllowed, "the page is read-only: it takes GET and HEAD")
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	switch name {
	case "api/status":
		h.serveData(w, r, h.snapshot)
	case "api/history":
		h.serveData(w, r, h.history)
	default:
		serveFile(w, r, name)
	}
}

// Protect sets the headers of an answer that belongs to the page: nothing from elsewhere
// is loaded, nobody frames it, nothing is kept, and no link tells where it was.
func Protect(header http.Header) {
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
}

// Refuse answers with a sentence that says why not.
func Refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, why+"\n")
}

func serveFile(w http.ResponseWriter, r *http.Request, name string) {
	f, ok := files[name]
	if !ok {
		Refuse(w, http.StatusNotFound, "there is no such page")
		return
	}
	if to, wrong := unslashed(r); name == "" && wrong {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	b, err := assets.ReadFile("assets/" + f.name)
	if err != nil {
		Refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", f.contentType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// unslashed reports whether the page was asked for without the slash at the end, under a
// prefix that was stripped, and where it is: its files have addresses relative to its own.
func unslashed(r *http.Request) (to string, wrong bool) {
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil || u.Path == "" || strings.HasSuffix(u.Path, "/") {
		return "", false
	}
	to = "./" + url.PathEscape(path.Base(u.Path)) + "/"
	if u.RawQuery != "" {
		to += "?" + u.RawQuery
	}
	return to, true
}

// serveData answers with JSON, unless too many ask at once.
func (h *Handler) serveData(w http.ResponseWriter, r *http.Request, data func(context.Context) ([]byte, error)) {
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		w.Header().Set("Retry-After", "1")
		Refuse(w, http.StatusServiceUnavailable, "too many watch this page; ask again in a second")
		return
	}
	h.recorder.want()
	b, err := data(r.Context())
	if err != nil {
		Refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// snapshot returns a snapshot that is fresh enough.
func (h *Handler) snapshot(ctx context.Context) ([]byte, error) {
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if h.status != nil && time.Since(h.made) < freshFor {
		return h.status, nil
	}
	s := h.source.Snapshot()
	s.Format, s.Time = Format, time.Now()
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	h.status, h.made = b, s.Time
	return b, nil
}

func (h *Handler) history(context.Context) ([]byte, error) {
	return json.Marshal(h.recorder.history())
}
