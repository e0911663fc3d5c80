package relay

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/statuspage"
)

// withPage gives a node that is no overlay.Node a page.
func (n *node) withPage() {
	n.parts.Page = statuspage.Source{
		Snapshot: func() statuspage.Snapshot { return statuspage.Snapshot{Node: n.id().String()} },
		Traffic:  func() statuspage.Traffic { return statuspage.Traffic{} },
	}
}

func TestThrottledNodesAreTold(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const limit = 64 << 10 // bytes a second
		p := newTrio(t, l, &Server{BytesPerSecond: limit})
		closed := false
		defer func() {
			if !closed {
				p.a.close()
			}
			p.b.close()
			l.stop(p.relay)
		}()
		if got := p.relay.ThrottledNodes(10); len(got) != 0 {
			t.Errorf("at first: %v", got)
		}
		stream, err := l.open(p.a, p.b.id())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = stream.Write(make([]byte, 4*limit))
			_ = stream.CloseWrite()
		}()
		if _, err := io.Copy(io.Discard, stream); err != nil {
			t.Fatal(err)
		}
		_ = stream.Close()
		find := func() (a ThrottledNode) {
			for _, n := range p.relay.ThrottledNodes(10) {
				if n.ID == p.a.id() {
					a = n
				}
			}
			return a
		}
		got := find()
		if got.Frames == 0 || !got.Attached {
			t.Errorf("the node that sends too much is %+v", got)
		}
		if all := p.relay.ThrottledNodes(0); len(all) != 0 {
			t.Errorf("none of them: %v", all)
		}
		p.a.close()
		closed = true
		time.Sleep(time.Second)
		synctest.Wait()
		if left := find(); left.Attached || left.Frames < got.Frames {
			t.Errorf("once it has left, it is %+v; before: %+v", left, got)
		}
	})
}

func TestNodesThatHaveLeftAreForgottenOldestFirst(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		p := newTrio(t, l, &Server{})
		defer p.close(l)
		r := p.relay.relay()
		r.mu.Lock()
		for i := range maxOvers {
			r.overs[identity.NodeID(1000+i)] = over{frames: 1, until: time.Now().Add(time.Duration(i-maxOvers) * time.Second)}
		}
		r.evictOverLocked()
		_, oldest := r.overs[1000]
		_, next := r.overs[1001]
		n := len(r.overs)
		r.mu.Unlock()
		if oldest || !next || n != maxOvers-1 {
			t.Errorf("the oldest is there: %v, the next %v; %d are", oldest, next, n)
		}
	})
}

func TestPageOfARelayThatServesOtherNetworks(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		other := &Server{Host: l.node("other", newKey(t, "lab", "other"))}
		p := &trio{relay: l.relay("relay", newKey(t, "", "relay"), &Server{Others: []*Server{other}, BytesPerSecond: 5})}
		defer func() {
			_ = other.Close()
			other.Host.(*node).close()
			l.stop(p.relay)
		}()
		// What was made of the nodes' parts when the relays began has no page yet.
		for _, s := range []*Server{p.relay.Server, other} {
			host := s.Host.(*node)
			host.withPage()
			s.relay().Page = host.parts.Page
		}
		h := p.relay.DebugHandler()
		ask := func(target string) (w *httptest.ResponseRecorder, s statuspage.Snapshot) {
			w = httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
			_ = json.Unmarshal(w.Body.Bytes(), &s)
			return w, s
		}
		if _, s := ask("/api/status"); s.Node != p.relay.id().String() || len(s.Hosted.Networks) != 1 || s.Hosted.Networks[0] != "lab" || s.Hosted.BytesPerSecond != 5 {
			t.Errorf("the first network: %+v, %+v", s, s.Hosted)
		}
		if _, s := ask("/network/lab/api/status"); s.Node != other.Host.(*node).id().String() {
			t.Errorf("the other network: %+v", s)
		}
		if w, _ := ask("/network/lab"); w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != "./lab/" {
			t.Errorf("without the slash: status %d, %v", w.Code, w.Header())
		}
		if w, _ := ask("/network/nothing/"); w.Code != http.StatusNotFound {
			t.Errorf("no network: status %d", w.Code)
		}
	})
}

func TestNeighbours(t *testing.T) {
	got := neighbours([]PeerStatus{
		{Addr: "a:1", State: "waiting", Err: errors.New("no answer")},
		{Addr: "b:1", State: "waiting", Err: errors.New("no answer")},
		{ID: 7, Addr: "c:1", State: "standing by"},
		{ID: 7, Addr: "c:2", State: "up", Up: true, RTT: time.Millisecond},
		{ID: 7, Addr: "c:3", State: "dialling"},
	}, []gossip.RelayInfo{
		{ID: 7, Reachable: true, Nodes: 3},
		{ID: 8, Addrs: []string{"d:1", "d:2"}, Nodes: 4},
	})
	want := []statuspage.Neighbour{
		{Addr: "a:1", State: "waiting", Error: "no answer"},
		{Addr: "b:1", State: "waiting", Error: "no answer"},
		{ID: "0000000000000007", Addr: "c:2", Up: true, Reachable: true, State: "up", RTT: 1, Nodes: 3},
		{ID: "0000000000000008", Addr: "d:1", State: "no link", Nodes: 4},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d is %+v, want %+v", i, got[i], want[i])
		}
	}
}
