package matrix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

var http2Cells = []cell{
	{name: "concurrent-streams", run: testConcurrentStreams},
	{name: "trailers", run: testTrailers},
	{name: "big-bodies", run: testBigBodies, locks: true},
	{name: "cancellation", run: testCancellation},
	{name: "stalled-download", run: testStalledDownload, locks: true},
	{name: "stalled-upload", run: testStalledUpload, locks: true},
	{name: "goaway", run: testGoAway},
	{name: "x-net-h2c", run: testOldH2C, locks: true},
	{name: "x-net-h2c-upgrade", run: testOldH2CUpgrade},
	{name: "both-ways-at-once", run: testBothWays, locks: true},
}

// prior is HTTP/2 by prior knowledge.
func prior() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// http2On serves a handler on B by HTTP/2.
func http2On(l *lab, h http.HandlerFunc) *web { return newWeb(l, l.b, l.a, h, prior()) }

// warmUp is requested before many requests are made at once, each of which would
// otherwise dial.
const warmUp = "/first"

// crowd is how many streams are open at once.
const crowd = 200

func testConcurrentStreams(l *lab) {
	var inside sync.WaitGroup
	inside.Add(crowd)
	w := http2On(l, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == warmUp {
			return
		}
		inside.Done()
		inside.Wait() // all are here at this time
		fmt.Fprintf(w, "%s %s", r.Proto, r.URL.Path)
	})
	w.get(warmUp)
	all(crowd, func(i int) {
		path := fmt.Sprintf("/%d", i)
		resp, err := w.client.Do(w.request(l.ctx, http.MethodGet, path, nil))
		if err != nil {
			l.Error(err)
			inside.Done()
			return
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "HTTP/2.0 "+path {
			l.Errorf("answer is %q, %v", got, err)
		}
	})
	w.wantConns(1)
}

func testTrailers(l *lab) {
	w := http2On(l, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Sum")
		n, err := io.Copy(w, r.Body)
		if err != nil || r.Trailer.Get("Count") != "4" {
			l.Errorf("request's trailers are %v, %v", r.Trailer, err)
		}
		w.Header().Set("Sum", fmt.Sprint(n))
		w.Header().Set(http.TrailerPrefix+"Late", "unannounced")
	})
	req := w.request(l.ctx, http.MethodPost, "/", io.MultiReader(strings.NewReader("body")))
	req.Trailer = http.Header{"Count": {"4"}}
	resp := w.do(req)
	got, err := io.ReadAll(resp.Body)
	l.must(err)
	if string(got) != "body" || resp.Trailer.Get("Sum") != "4" || resp.Trailer.Get("Late") != "unannounced" {
		l.Errorf("body %q, trailers %v", got, resp.Trailer)
	}
}

// testBigBodies has an upload and its answer pass each other.
func testBigBodies(l *lab) {
	n := l.big()
	w := http2On(l, func(w http.ResponseWriter, r *http.Request) {
		// The answer begins before the request's body has come.
		w.(http.Flusher).Flush()
		if _, err := io.Copy(w, r.Body); err != nil {
			l.Error(err)
		}
	})
	w.get(warmUp)
	all(2, func(i int) {
		resp, err := w.client.Do(w.request(l.ctx, http.MethodPost, "/", body(byte(i), n)))
		if err != nil {
			l.Error(err)
			return
		}
		defer resp.Body.Close()
		l.wantBody(resp.Body, byte(i), n)
	})
	w.wantConns(1)
}

// testCancellation cancels requests before and within the answer. Neither ends
// the conn.
func testCancellation(l *lab) {
	gone := make(chan string, 2)
	entered := make(chan struct{})
	w := http2On(l, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/before":
			close(entered)
		case "/within":
			io.WriteString(w, "first words")
			w.(http.Flusher).Flush()
		default:
			io.WriteString(w, "well")
			return
		}
		<-r.Context().Done()
		gone <- r.URL.Path
	})
	ctx, cancel := context.WithCancel(l.ctx)
	failed := make(chan error, 1)
	go func() {
		resp, err := w.client.Do(w.request(ctx, http.MethodGet, "/before", nil))
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	await(l, "the request", entered)
	cancel()
	if err := await(l, "the request's end", failed); !errors.Is(err, context.Canceled) {
		l.Errorf("error is %v, want context.Canceled", err)
	}
	if path := await(l, "the server notices", gone); path != "/before" {
		l.Errorf("%s is cancelled", path)
	}

	ctx, cancel = context.WithCancel(l.ctx)
	resp := w.do(w.request(ctx, http.MethodGet, "/within", nil))
	_, err := io.ReadFull(resp.Body, make([]byte, len("first words")))
	l.must(err)
	cancel()
	if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		l.Errorf("Read: error is %v, want context.Canceled", err)
	}
	await(l, "the server notices", gone)
	if got := w.get("/"); got != "well" {
		l.Errorf("answer is %q", got)
	}
	w.wantConns(1)
}

// testStalledDownload leaves the body of an answer unread until its stream's
// window is full, and longer.
func testStalledDownload(l *lab) {
	n := l.big()
	w := http2On(l, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quick" {
			io.WriteString(w, "quick")
			return
		}
		io.Copy(w, body(1, n))
	})
	slow := w.do(w.request(l.ctx, http.MethodGet, "/slow", nil))
	for range 10 {
		if got := w.get("/quick"); got != "quick" {
			l.Errorf("answer is %q", got)
		}
	}
	l.wantBody(slow.Body, 1, n)
	w.wantConns(1)
}

// testStalledUpload has a server that does not read what it is sent. Its windows
// are smaller for a stream than for a conn, as they must be for that.
func testStalledUpload(l *lab) {
	n := l.big()
	release := make(chan struct{})
	w := http2On(l, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case warmUp:
			return
		case "/slow":
			<-release
		}
		l.wantBody(r.Body, 1, n)
	})
	w.server.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 1 << 20}
	w.get(warmUp)
	stalled := make(chan error, 1)
	go func() {
		resp, err := w.client.Do(w.request(l.ctx, http.MethodPost, "/slow", body(1, n)))
		if err == nil {
			resp.Body.Close()
		}
		stalled <- err
	}()
	for range 3 {
		w.do(w.request(l.ctx, http.MethodPost, "/quick", body(1, n))).Body.Close()
	}
	close(release)
	l.must(await(l, "the upload", stalled))
	w.wantConns(1)
}

// testGoAway shuts a server down while a request is served.
func testGoAway(l *lab) {
	entered, finish := make(chan struct{}), make(chan struct{})
	w := http2On(l, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-finish
		}
		io.WriteString(w, "served")
	})
	if got := w.get("/"); got != "served" {
		l.Errorf("answer is %q", got)
	}
	slow := make(chan string, 1)
	w.shutDown(func() { go func() { slow <- w.get("/slow") }(); await(l, "the request", entered) },
		func() { close(finish) })
	if got := await(l, "the answer", slow); got != "served" {
		l.Errorf("answer is %q", got)
	}
	w.wantConns(1)
}

// testBothWays has two peers call each other over one session, as the members of
// a ring do.
func testBothWays(l *lab) {
	const callers, calls = 10, 10
	var served atomic.Int64
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		io.Copy(w, r.Body)
	})
	webs := []*web{newWeb(l, l.b, l.a, echo, prior()), newWeb(l, l.a, l.b, echo, prior())}
	for _, w := range webs {
		w.get(warmUp)
	}
	served.Store(0)
	all(callers*len(webs), func(i int) {
		w := webs[i%len(webs)]
		for j := range calls {
			n := 1 + (i*calls+j)*997%20_000
			resp, err := w.client.Do(w.request(l.ctx, http.MethodPost, "/", body(byte(j), n)))
			if err != nil {
				l.Errorf("call to %v: %v", w.on.id, err)
				return
			}
			l.wantBody(resp.Body, byte(j), n)
			resp.Body.Close()
		}
	})
	if got := served.Load(); got != int64(callers*calls*len(webs)) {
		l.Errorf("%d calls were served, want %d", got, callers*calls*len(webs))
	}
	for _, w := range webs {
		w.wantConns(1)
	}
}
