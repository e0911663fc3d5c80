package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1) // see overlaytest
	goleak.VerifyTestMain(m)
}

// A boardLab is a simulated network with a board in it.
type boardLab struct {
	*overlaytest.Lab
	t    *testing.T
	b    *board
	stop func()
}

func inLab(t *testing.T, test func(t *testing.T, lab *boardLab)) {
	synctest.Test(t, func(t *testing.T) {
		lab := &boardLab{t: t, Lab: overlaytest.New(t, overlaytest.Config{
			Secret: "a secret for the tests of the board", Link: overlaytest.Impairment{Latency: 10 * time.Millisecond},
		})}
		lab.Relay("relay")
		ln, err := lab.Node("board", overlay.Config{}).Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		lab.b = newBoard(ctx)
		served := make(chan error, 1)
		go func() { served <- lab.b.serve(ln) }()
		lab.stop = stop
		defer func() {
			stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}()
		test(t, lab)
	})
}

// A browser is an HTTP/1.1 client on a node, as browsers are behind weft socks.
type browser struct {
	*http.Client
	t *testing.T
}

func (l *boardLab) browser(host string) browser {
	l.t.Helper()
	transport := l.Node(host, overlay.Config{}).HTTPTransport()
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	l.t.Cleanup(transport.CloseIdleConnections)
	return browser{&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, l.t}
}

// ask returns the status, the header and the body of an answer.
func (b browser) ask(method, path, body string, header ...string) (int, http.Header, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, "http://board"+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Error(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func (b browser) write(note string) (int, string) {
	b.t.Helper()
	status, _, text := b.ask(http.MethodPost, "/notes", url.Values{"note": {note}}.Encode())
	return status, text
}

// A watch is an open stream of events.
type watch struct {
	body  io.ReadCloser
	lines *bufio.Scanner
}

func (b browser) watch() *watch {
	b.t.Helper()
	resp, err := b.Get("http://board/events")
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		b.t.Fatalf("%s, %s", resp.Status, resp.Header)
	}
	b.t.Cleanup(func() { _ = resp.Body.Close() })
	return &watch{resp.Body, bufio.NewScanner(resp.Body)}
}

// sees returns the first state that is as wanted.
func (w *watch) sees(t *testing.T, want func(state) bool) state {
	t.Helper()
	for w.lines.Scan() {
		data, ok := strings.CutPrefix(w.lines.Text(), "data: ")
		var s state
		if ok && json.Unmarshal([]byte(data), &s) == nil && want(s) {
			return s
		}
	}
	t.Fatalf("the stream has ended: %v", w.lines.Err())
	return state{}
}

func TestNotesAreSeenByAll(t *testing.T) {
	inLab(t, func(t *testing.T, lab *boardLab) {
		alice, bob := lab.browser("alice"), lab.browser("bob")
		seenByAlice := alice.watch()
		if s := seenByAlice.sees(t, func(state) bool { return true }); s.You != "alice" || len(s.Notes) != 0 || !slices.Equal(s.Who, []string{"alice"}) {
			t.Errorf("%+v", s)
		}
		seenByBob := bob.watch()
		seenByAlice.sees(t, func(s state) bool { return slices.Equal(s.Who, []string{"alice", "bob"}) })
		began := time.Now()
		if status, text := bob.write(" hello,\r\n<b>all</b> "); status != http.StatusSeeOther {
			t.Error(status, text)
		}
		for _, w := range []*watch{seenByAlice, seenByBob} {
			s := w.sees(t, func(s state) bool { return len(s.Notes) == 1 })
			if n := s.Notes[0]; n.Text != "hello,  <b>all</b>" || n.By != "bob" {
				t.Errorf("%+v", n)
			}
		}
		if d := time.Since(began); d > 300*time.Millisecond {
			t.Errorf("seen after %v", d)
		}
		if _, _, text := alice.ask(http.MethodGet, "/", ""); !strings.Contains(text, "<p>hello,  &lt;b&gt;all&lt;/b&gt;</p><small>bob, <time") || !strings.Contains(text, `<b id="you">alice</b>`) {
			t.Errorf("the page is %s", text)
		}
		_ = seenByBob.body.Close()
		seenByAlice.sees(t, func(s state) bool { return slices.Equal(s.Who, []string{"alice"}) })
		for i := range maxNotes + 5 {
			alice.write(fmt.Sprint(i))
		}
		if s := seenByAlice.sees(t, func(s state) bool { return s.Notes[0].Text == fmt.Sprint(maxNotes+4) }); len(s.Notes) != maxNotes || s.Notes[maxNotes-1].Text != "5" {
			t.Errorf("%d notes, the last is %+v", len(s.Notes), s.Notes[len(s.Notes)-1])
		}
	})
}

func TestWhoIsCutOff(t *testing.T) {
	inLab(t, func(t *testing.T, lab *boardLab) {
		alice := lab.browser("alice").watch()
		lab.browser("bob").watch()
		alice.sees(t, func(s state) bool { return len(s.Who) == 2 })
		lab.Cut("bob")
		began := time.Now()
		alice.sees(t, func(s state) bool { return len(s.Who) == 1 })
		if d := time.Since(began); d > 2*time.Minute {
			t.Errorf("noticed after %v", d)
		}
		lab.stop()
		if alice.lines.Scan() && strings.HasPrefix(alice.lines.Text(), "data") {
			t.Error("the board goes on")
		}
	})
}

func TestRefusals(t *testing.T) {
	inLab(t, func(t *testing.T, lab *boardLab) {
		b := lab.browser("alice")
		for note, want := range map[string]string{
			"": "and this one has 0", "\x01 \n": "and this one has 0", strings.Repeat("ä", maxNote+1): "a note has 1 to 200 characters, and this one has 201",
		} {
			if status, text := b.write(note); status != http.StatusBadRequest || !strings.Contains(text, want) {
				t.Errorf("%.10q: %d %s", note, status, text)
			}
		}
		if status, text := b.write(strings.Repeat("ä", maxNote)); status != http.StatusSeeOther {
			t.Error(status, text)
		}
		if status, _ := b.write(strings.Repeat("x", 16<<10)); status != http.StatusBadRequest {
			t.Error(status)
		}
		if status, _, _ := b.ask(http.MethodPost, "/notes", "note=evil", "Origin", "http://evil.example"); status != http.StatusForbidden {
			t.Errorf("another site: %d", status)
		}
		for path, want := range map[string]int{"/": 200, "/page/board.js": 200, "/page/board.css": 200, "/page/icon.svg": 200, "/page/": 404, "/page/main.go": 404, "/nothing": 404} {
			status, header, _ := b.ask(http.MethodGet, path, "")
			if status != want || header.Get("Content-Security-Policy") != policy || header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %d, %v", path, status, header)
			}
		}
	})
}

func TestTooManyLook(t *testing.T) {
	inLab(t, func(t *testing.T, lab *boardLab) {
		b := lab.browser("alice")
		for range maxWatchers {
			lab.b.enter("somebody")
		}
		if status, _, text := b.ask(http.MethodGet, "/events", ""); status != http.StatusServiceUnavailable || !strings.Contains(text, "256 are looking already") {
			t.Error(status, text)
		}
	})
}

func TestFromTheEnvironment(t *testing.T) {
	cfg := testnet.Start(t)
	ln, err := testnet.Named(t, cfg, "board").Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	b := newBoard(ctx)
	served := make(chan error, 1)
	go func() { served <- b.serve(ln) }()
	testnet.Setenv(t, cfg)
	t.Setenv(overlay.EnvName, "alice")
	if err := run(testnet.Context(t), []string{"board", "hello"}); err != nil {
		t.Error(err)
	}
	if s := b.now(""); len(s.Notes) != 1 || s.Notes[0].Text != "hello" || s.Notes[0].By != "alice" {
		t.Errorf("%+v", s)
	}
	if err := run(testnet.Context(t), []string{"board", ""}); err == nil || err.Error() != "board says: a note has 1 to 200 characters, and this one has 0" {
		t.Error(err)
	}
	if err := run(t.Context(), []string{"board"}); err == nil || !strings.Contains(err.Error(), "say nothing to serve") {
		t.Error(err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	testnet.Setenv(t, overlay.Config{})
	if err := run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "set WEFT_SECRET") {
		t.Error(err)
	}
}
