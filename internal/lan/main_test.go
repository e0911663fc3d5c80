package lan_test

import (
	"net/netip"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/lan"
	"github.com/weftnet/weft/internal/lan/lantest"
	"github.com/weftnet/weft/internal/racetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}

// network is the key of the tests' network.
var network = [32]byte{1, 2, 3}

// A host is a node on a segment.
type host struct {
	*lan.LAN
	conn   *lantest.Conn
	events chan lan.Event
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// start starts a node on a segment; more fills in the rest of its config.
func start(t *testing.T, seg *lantest.Segment, id identity.NodeID, addr string, more ...func(*lan.Config)) *host {
	t.Helper()
	h := &host{conn: seg.Join(prefix(addr)), events: make(chan lan.Event, 1000)}
	log := logrus.New()
	log.SetOutput(t.Output())
	log.SetLevel(logrus.DebugLevel)
	cfg := lan.Config{
		Key: network, Self: id, Port: 1000 + uint16(id), Conns: []lan.PacketConn{h.conn},
		OnPeer: func(e lan.Event) { h.events <- e }, Logger: log,
	}
	for _, f := range more {
		f(&cfg)
	}
	l, err := lan.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.LAN = l
	return h
}

// next returns the next event, 0 if there is none now.
func (h *host) next() lan.Event {
	select {
	case e := <-h.events:
		return e
	default:
		return lan.Event{}
	}
}

// wantPeer fails the test if the node does not know a peer at just those
// addresses; none: if it knows it at all.
func (h *host) wantPeer(t *testing.T, id identity.NodeID, addrs ...string) {
	t.Helper()
	p, ok := h.Peer(id)
	if ok != (len(addrs) > 0) {
		t.Errorf("known: %v, want %v", ok, len(addrs) > 0)
	}
	var got []string
	for _, a := range p.Addrs {
		got = append(got, a.String())
	}
	if len(got) != len(addrs) {
		t.Fatalf("node %v is at %v, want %v", id, got, addrs)
	}
	for i := range got {
		if got[i] != addrs[i] {
			t.Fatalf("node %v is at %v, want %v", id, got, addrs)
		}
	}
}
