package statuspage

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "write testdata anew")

// nothing is a source of a node that does nothing.
var nothing = Source{
	Snapshot: func() Snapshot { return Snapshot{Node: "0000000000000001"} },
	Traffic:  func() Traffic { return Traffic{} },
}

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

// newTest returns a handler whose record ends with the test.
func newTest(t *testing.T, s Source) *Handler {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return New(ctx, s)
}

func TestPageIsMadeOfItsOwnFiles(t *testing.T) {
	h := newTest(t, nothing)
	for target, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8",
		"/icon.svg": "image/svg+xml", "/api/status": "application/json", "/api/history": "application/json",
	} {
		w := ask(h, http.MethodGet, target)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != contentType || w.Body.Len() == 0 {
			t.Errorf("%s: status %d, %v, %d bytes", target, w.Code, w.Header(), w.Body.Len())
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "Cache-Control": "no-store",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", target, name, got, want)
			}
		}
		length := w.Header().Get("Content-Length")
		if w = ask(h, http.MethodHead, target); w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") != length {
			t.Errorf("HEAD %s: status %d, %v, %d bytes", target, w.Code, w.Header(), w.Body.Len())
		}
	}
	for _, target := range []string{"/index.html", "/assets/page.js", "/../snapshot.go", "/api", "/api/status/", "/nowhere"} {
		if w := ask(h, http.MethodGet, target); w.Code != http.StatusNotFound || w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("%s: status %d", target, w.Code)
		}
	}
}

func TestPageIsReadOnly(t *testing.T) {
	h := newTest(t, nothing)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, http.MethodTrace, "FOO"} {
		for _, target := range []string{"/", "/api/status"} {
			if w := ask(h, method, target); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: status %d, %v", method, target, w.Code, w.Header())
			}
		}
	}
}

// The policy lets no inline script, style or handler work, and nothing from elsewhere.
func TestFilesNeedNothingThatThePolicyForbids(t *testing.T) {
	page, err := assets.ReadFile("assets/index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, forbidden := range []string{`<style`, `<script>`, ` style=`, ` on\w+=`, `javascript:`} {
		if found := regexp.MustCompile(forbidden).Find(page); found != nil {
			t.Errorf("index.html has %q", found)
		}
	}
	for name := range files {
		b, err := assets.ReadFile("assets/" + files[name].name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "") // a name, not an address
		if found := regexp.MustCompile(`(?i)https?://|url\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|setAttribute\("style`).FindString(text); found != "" {
			t.Errorf("%s has %q", files[name].name, found)
		}
	}
}

func TestPageWorksUnderAPrefix(t *testing.T) {
	h := newTest(t, nothing)
	for _, prefix := range []string{"/debug/weft", "/debug/weft/"} {
		under := http.StripPrefix(prefix, h)
		for target, want := range map[string]int{"/debug/weft/": 200, "/debug/weft/page.js": 200, "/debug/weft/api/status": 200, "/debug/weft/nowhere": 404} {
			if w := ask(under, http.MethodGet, target); w.Code != want {
				t.Errorf("%s stripped, %s: status %d", prefix, target, w.Code)
			}
		}
	}
	w := ask(http.StripPrefix("/debug/weft", h), http.MethodGet, "/debug/weft?a=b")
	if w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != "./weft/?a=b" {
		t.Errorf("without the slash: status %d, %v", w.Code, w.Header())
	}
}

func TestManyWatchersCostOneSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var made atomic.Int32
		h := New(ctx, Source{
			Snapshot: func() Snapshot { made.Add(1); time.Sleep(100 * time.Millisecond); return Snapshot{} },
			Traffic:  nothing.Traffic,
		})
		codes := make(chan int)
		const watchers = maxReaders + 8
		for range watchers {
			go func() { codes <- ask(h, http.MethodGet, "/api/status").Code }()
		}
		got := map[int]int{}
		for range watchers {
			got[<-codes]++
		}
		if made.Load() != 1 || got[http.StatusOK] != maxReaders || got[http.StatusServiceUnavailable] != 8 {
			t.Errorf("%d snapshots; answers by status: %v", made.Load(), got)
		}
		time.Sleep(freshFor)
		if w := ask(h, http.MethodGet, "/api/status"); w.Code != http.StatusOK || made.Load() != 2 {
			t.Errorf("later: status %d, %d snapshots", w.Code, made.Load())
		}
	})
}

func TestAWatcherThatLeftIsNotServed(t *testing.T) {
	h := newTest(t, nothing)
	h.turn <- struct{}{} // another one is being served
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/status", nil).WithContext(ctx))
	if w.Code != http.StatusInternalServerError || len(h.places) != 0 {
		t.Errorf("status %d, %d places taken", w.Code, len(h.places))
	}
}

func TestTrafficIsRecordedWhileSomebodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var now Traffic
		var counted atomic.Pointer[Traffic]
		counted.Store(&Traffic{Sent: 1000})
		h := New(ctx, Source{Snapshot: nothing.Snapshot, Traffic: func() Traffic { return *counted.Load() }})
		history := func() (got History) {
			if err := json.Unmarshal(ask(h, http.MethodGet, "/api/history").Body.Bytes(), &got); err != nil {
				t.Error(err)
			}
			return got
		}
		now = Traffic{Sent: 1000}
		if got := history(); len(got.Samples) != 0 || got.Interval != 1000 {
			t.Errorf("at first: %v", got)
		}
		for _, more := range []Traffic{{Sent: 5}, {Received: 7}, {Forwarded: 9}} {
			now.Sent, now.Received, now.Forwarded = now.Sent+more.Sent, now.Received+more.Received, now.Forwarded+more.Forwarded
			counted.Store(new(now))
			time.Sleep(sampleEvery)
			synctest.Wait()
			got := history().Samples
			last := got[len(got)-1]
			if want := (Sample{time.Now().UnixMilli(), more.Sent, more.Received, more.Forwarded}); last != want {
				t.Errorf("the last sample is %v, want %v", last, want)
			}
		}
		counted.Store(&Traffic{}) // without that of a session that has ended and is not counted yet
		time.Sleep(sampleEvery)
		synctest.Wait()
		if got := history().Samples; got[len(got)-1].Sent != 0 {
			t.Errorf("after a fall: %v", got)
		}
		for range 700 {
			time.Sleep(sampleEvery)
			ask(h, http.MethodGet, "/api/status")
		}
		synctest.Wait()
		got := history().Samples
		if len(got) != maxSamples {
			t.Errorf("%d samples", len(got))
		}
		for i := range got[1:] {
			if got[i+1].Time-got[i].Time != 1000 {
				t.Fatalf("samples %d and %d: %v, %v", i, i+1, got[i], got[i+1])
			}
		}
		time.Sleep(recordFor + 2*sampleEvery)
		synctest.Wait()
		if h.recorder.timer != nil {
			t.Error("it goes on although nobody asks")
		}
		if got := history().Samples; len(got) != 0 {
			t.Errorf("after a pause: %d samples", len(got))
		}
		cancel()
		synctest.Wait()
		if h.recorder.timer != nil {
			t.Error("it goes on although the node is gone")
		}
		if history(); h.recorder.timer != nil {
			t.Error("it begins although the node is gone")
		}
	})
}

// The form of a snapshot is an interface: other programs read it.
func TestFormOfASnapshot(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	path := Path{Kind: "relay", Via: "relay.example.org:9999", Path: "relay relay.example.org:9999", Active: true, State: "validated", Since: at, RTT: 12.5, Sent: 1, Received: 2, Packets: 3, Lost: 4, MaxPacket: 1200, Reason: "why not"}
	full := Snapshot{
		Format: Format, Time: at, Node: "0000000000000001", Key: "key", Name: "kv-1", Network: "weft", Layer: "native", Ports: []uint16{80},
		UDP:     UDP{Addr: "192.0.2.1:4000", Mapping: "m", Filtering: "f", Candidates: []string{"host 192.0.2.1:4000"}},
		Traffic: Traffic{1, 2, 3},
		Relays:  []Relay{{ID: "0000000000000002", Addr: "relay.example.org:9999", Name: "r", Up: true, Home: true, State: "up: home", Since: at, RTT: 10, Observed: "192.0.2.1:5", Dropped: 1, Error: "e", GoingAway: true, Learned: true}},
		Peers:   []Peer{{ID: "0000000000000003", Key: "key3", Names: []string{"kv-3"}, Roles: []string{"relay"}, Kind: "relay", Path: path.Path, NotDirect: "why", Conns: 1, RTT: 12.5, MinRTT: 11, Sent: 5, Received: 6, Packets: 7, Lost: 1, Paths: []Path{path}}},

		Sessions: 1, LAN: []LANPeer{{ID: "0000000000000004", Addrs: []string{"192.0.2.4:4000"}}},
		Dials: []Dial{{Time: at, Addr: "kv-3:80", Peer: "0000000000000003", Path: path.Path, Duration: 25, Steps: []Step{{Target: "kv-3", Path: path.Path, Error: "e"}}, OK: true}},
		Drops: []Count{{What: "packets", N: 3}},
		Hosted: &Hosted{
			Nodes: 1, Links: 2, Frames: 3, Throttled: 4, BytesPerSecond: 5, PacketsPerSecond: 6, Networks: []string{"lab"},
			Relays:         []Neighbour{{ID: "0000000000000005", Addr: "a", Up: true, Reachable: true, State: "up", RTT: 1, Nodes: 2, Error: "e"}},
			Attached:       []Attached{{ID: "0000000000000006", Names: []string{"n"}, Addr: "a", Since: at, RTT: 1, From: 2, To: 3, Throttled: 4}},
			ThrottledNodes: []Throttled{{ID: "0000000000000006", Names: []string{"n"}, Attached: true, Frames: 4}},
		},
	}
	got, err := json.MarshalIndent(full, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("testdata", "status.json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the form has changed; if that only adds to it, go test -update writes %s anew:\n%s", file, got)
	}
}

func FuzzHandlerAnswersEveryPath(f *testing.F) {
	for _, seed := range []string{"", "api/status", "//x", "..", "%2e%2e/page.js", "a?b#c"} {
		f.Add(seed)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.Cleanup(cancel)
	h := New(ctx, nothing)
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.RequestURI = path, "/prefix/"+path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusMovedPermanently && !strings.HasPrefix(w.Header().Get("Location"), "./") {
			t.Errorf("%q leads to %q", path, w.Header().Get("Location"))
		}
	})
}
