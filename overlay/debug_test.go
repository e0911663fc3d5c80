package overlay

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/statuspage"
)

// snapshotOf asks a handler for its page's data.
func snapshotOf(t *testing.T, h http.Handler, target string) (got statuspage.Snapshot) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	if strings.Contains(w.Body.String(), "null") {
		t.Errorf("a list is null: %s", w.Body)
	}
	return got
}

func TestDebugHandlerShowsTheNode(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server := l.ready("server", Config{Name: "kv-1"})
		l.echo(server)
		client := l.ready("client", Config{Name: "ann", Relays: []string{relayAddr, "nowhere:1"}})
		if got := snapshotOf(t, DebugHandler(client), "/api/status"); got.Format != statuspage.Format || len(got.Peers) != 1 || got.Sessions != 1 || len(got.Dials) != 0 {
			t.Errorf("at first: %+v", got)
		}
		c, err := client.Dial(t.Context(), "kv-1:7")
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		if _, err := client.Dial(t.Context(), "nobody:7"); err == nil {
			t.Error("a node is there that is not")
		}
		got := snapshotOf(t, http.StripPrefix("/debug/weft", DebugHandler(client)), "/debug/weft/api/status")
		if got.Node != client.ID().String() || got.Key != client.Key().String() || got.Name != "ann" || got.Layer != "native" || got.Hosted != nil {
			t.Errorf("the node is %+v", got)
		}
		if r := got.Relays; len(r) != 2 || !r[0].Home || r[0].RTT != 20 || r[0].ID != l.host.ID().String() || r[1].Up || r[1].Error == "" {
			t.Errorf("relays are %+v", r)
		}
		i := slices.IndexFunc(got.Peers, func(p statuspage.Peer) bool { return p.ID == server.ID().String() })
		if i < 0 || got.Peers[i].Kind != "relay" || got.Peers[i].Paths[0].Via != relayAddr || got.Peers[i].NotDirect == "" || got.Peers[i].Sent == 0 {
			t.Errorf("peers are %+v", got.Peers)
		}
		if d := got.Dials; len(d) != 2 || d[0].OK || len(d[0].Steps) != 1 || !strings.Contains(d[0].Steps[0].Error, "knows no node") || !d[1].OK || d[1].Peer != server.ID().String() {
			t.Errorf("dials are %+v", d)
		}
		page := DebugHandler(client)
		before := client.traffic()
		_ = c.Close()
		_ = server.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if after := client.traffic(); after.Sent < before.Sent || after.Received < before.Received || len(slices.Collect(client.Peers())) != 1 {
			t.Errorf("once the session has ended, the traffic is %+v, before %+v", after, before)
		}
		_ = client.Close()
		if got := snapshotOf(t, page, "/api/status"); got.Sessions != 0 {
			t.Errorf("once the node is closed: %+v", got)
		}
	})
}

func TestDebugHandlerShowsTheRelay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{Name: "ann"}), l.ready("b", Config{Name: "bob"})
		ca, cb := l.pair(a, b)
		defer ca.Close()
		defer cb.Close()
		got := snapshotOf(t, l.server.DebugHandler(), "/api/status")
		h := got.Hosted
		if h == nil || h.Nodes != 2 || h.Links != 2 || h.Frames == 0 || len(h.Attached) != 2 || got.Traffic.Forwarded == 0 {
			t.Fatalf("the relay is %+v", h)
		}
		for _, at := range h.Attached {
			if n := at.Names; len(n) != 1 || n[0] != "ann" && n[0] != "bob" || at.From == 0 || at.To == 0 || at.Addr == "" {
				t.Errorf("attached is %+v", at)
			}
		}
	})
}

func TestRecentDialsAreBounded(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server, client := l.ready("server", Config{}), l.ready("client", Config{})
		l.echo(server)
		if got := client.Status().RecentDials; got != nil {
			t.Errorf("at first: %v", got)
		}
		if _, err := client.Dial(t.Context(), "no address"); err == nil || client.Status().RecentDials != nil {
			t.Errorf("what is no address: %v, %v", err, client.Status().RecentDials)
		}
		began := time.Now()
		addr := server.ID().String() + ":7"
		for range MaxRecentDials + 3 {
			c, err := client.Dial(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		if _, err := client.Dial(t.Context(), server.ID().String()+":8"); err == nil {
			t.Error("somebody listens on port 8")
		}
		got := client.Status().RecentDials
		if len(got) != MaxRecentDials {
			t.Fatalf("%d dials", len(got))
		}
		failed, ok := got[0].Err.(*DialError)
		if !ok || len(failed.Attempts) != 1 || len(got[0].Attempts) != 1 || got[0].Peer != 0 || got[0].Path != "" || got[0].Attempts[0].Path != "relay "+relayAddr {
			t.Errorf("the last is %+v", got[0])
		}
		for i, d := range got[1:] {
			if d.Addr != addr || d.Peer != server.ID() || d.Path != "relay "+relayAddr || d.Err != nil || d.Attempts != nil || d.Duration != 4*delay {
				t.Fatalf("dial %d is %+v", i, d)
			}
			if i > 0 && d.Time.After(got[i].Time) || d.Time.Before(began) {
				t.Fatalf("dial %d began at %v, the one after it at %v", i, d.Time, got[i].Time)
			}
		}
	})
}

func TestNotingADialAllocatesNothing(t *testing.T) {
	var d dialReports
	r := DialReport{Time: time.Now(), Addr: "kv-1:80", Path: "relay " + relayAddr}
	if n := testing.AllocsPerRun(1000, func() { d.note(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPathKinds(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		ca, cb := l.pair(a, b)
		defer ca.Close()
		defer cb.Close()
		for p := range a.Peers() {
			for _, path := range p.Paths {
				if path.Kind != PathRelay {
					t.Errorf("%s is of kind %s", path.Path, path.Kind)
				}
			}
		}
		for p := range l.host.Peers() {
			for _, path := range p.Paths {
				if path.Kind != PathLink {
					t.Errorf("for the relay, %s is of kind %s", path.Path, path.Kind)
				}
			}
		}
	})
}

// The most active sessions are those of a page, and no more.
func TestPageOfMany(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		ca, cb := l.pair(a, b)
		defer ca.Close()
		defer cb.Close()
		if _, err := ca.Write(make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		all := a.ep.Sessions()
		if got := busiest(all, len(all)); len(got) != 2 {
			t.Errorf("%d of %d", len(got), len(all))
		}
		got := busiest(all, 1)
		if want := a.ep.Session(b.ID()); len(got) != 1 || !slices.Equal(got, []*session.Session{want}) {
			t.Errorf("got %v", got)
		}
	})
}
