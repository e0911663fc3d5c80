package relay

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/uplink"
)

// One port serves two networks, whose nodes and names do not meet, and refuses
// a third.
func TestOnePortServesSeveralNetworks(t *testing.T) { synctest.Test(t, testOthers) }
func testOthers(t *testing.T) {
	l := newLab(t)
	defer l.close()
	lab := &Server{MaxLinks: 3}
	lab.Host = l.node("relay", newKey(t, "lab"))
	weft := l.relay("relay", newKey(t, "weft"), &Server{Others: []*Server{lab}})
	defer func() {
		l.net.Kill("relay")
		_ = lab.Close()
		lab.Host.(*node).close()
		l.stop(weft)
	}()
	var nodes []*node
	for _, host := range []string{"weft-a", "weft-b", "lab-a", "lab-b"} {
		network, _, _ := strings.Cut(host, "-")
		n := l.node(host, newKey(t, network, "kv-"+host))
		defer n.close()
		n.parts.Hooks.Watch(&echoer{l})
		l.register(n, weft.addr, 1)
		nodes = append(nodes, n)
	}
	for i, from := range nodes {
		for j, to := range nodes {
			_, err := l.open(from, to.id())
			switch same := i/2 == j/2; {
			case i == j:
			case same != (err == nil):
				t.Errorf("from %s to %s: %v", from.host, to.host, err)
			}
		}
	}
	if found := weft.relay().directory.Find(identity.Target{Name: "kv-lab-a"}); found != nil {
		t.Errorf("a name of the other network was found: %v", found)
	}
	a, b := weft.Stats(), lab.Stats()
	if a.Links != 2 || b.Links != 2 || a.Nodes != 2 || b.Nodes != 2 || a.Prefaces+b.Prefaces != 0 || a.Accepted != 2 || b.Accepted != 2 {
		t.Errorf("stats are %+v and %+v", a, b)
	}
	l.link(nodes[2], weft.addr) // in place of its first link
	stranger := l.node("stranger", newKey(t, "other"))
	defer stranger.close()
	l.attach(stranger, weft.addr)
	time.Sleep(time.Second)
	if st := stranger.up.Status()[0]; st.Phase == uplink.PhaseUp || weft.Stats().RefusedNetwork == 0 {
		t.Errorf("a third network: %+v", st)
	}
	for range 3 {
		n := l.node("more", newKey(t, "lab"))
		defer n.close()
		l.attach(n, weft.addr)
	}
	time.Sleep(time.Second)
	if lab.Stats().RefusedBusy == 0 || weft.Stats().RefusedBusy != 0 {
		t.Errorf("a limit of one network was not its own: %+v, %+v", lab.Stats(), weft.Stats())
	}
}
