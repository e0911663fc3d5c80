package metrics

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// via is a peer whose packets take a path.
func via(id overlay.NodeID, kind overlay.PathKind, path string) overlay.PeerStatus {
	return overlay.PeerStatus{
		Peer:  overlay.Peer{ID: id},
		Paths: []overlay.PathStatus{{Kind: overlay.PathRelay, Path: "relay other:1"}, {Kind: kind, Path: path, Active: true}},
		RTT:   time.Duration(id) * time.Millisecond, Conns: 1,
	}
}

var someNode = overlay.Status{
	ID: 0xabc, Name: "laptop", Network: "weft",
	Relays: []overlay.RelayStatus{
		{Addr: "r:1", ID: 1, Up: true, Home: true, RTT: 20 * time.Millisecond},
		{Addr: "s:1", ID: 2, Up: true},
		{Addr: "bad\xff"},
		{Addr: "bad\xff"}, // said twice
	},
	Peers: []overlay.PeerStatus{
		via(1, overlay.PathRelay, "relay r:1"),
		via(3, overlay.PathRelay, "relay r:1"), via(3, overlay.PathRelay, "relay s:1"), // two sessions for a moment
		via(4, overlay.PathUDP, "udp 192.0.2.1:4000"), via(5, overlay.PathLink, "tcp 192.0.2.1:4000"), via(6, overlay.PathRelay, "no route"),
		via(7, overlay.PathUDP, "udp 192.0.2.7:1"), via(8, overlay.PathLAN, "udp 192.168.0.1:1"),
	},
	UDP:    overlay.UDPStatus{Addr: netip.MustParseAddrPort("0.0.0.0:4000"), Mapping: "endpoint-independent", Filtering: "unknown"},
	Invite: &overlay.InviteStatus{Expires: time.Unix(1_800_000_000, 0)},
	Dials:  overlay.DialTotals{Connected: 5, NoRelay: 2},
}

func TestANodeInNumbers(t *testing.T) {
	all := gathered(t, NodeConfig{MaxPeers: 2}.collect(func() overlay.Status { return someNode }))
	for series, want := range map[string]float64{
		"weft_node_info{name=laptop,network=weft,node=0000000000000abc}":                  1,
		"weft_node_registered{network=weft}":                                              1,
		"weft_node_relays_up{network=weft}":                                               2,
		"weft_node_home_rtt_seconds{network=weft}":                                        0.02,
		"weft_node_relay_up{network=weft,relay=s:1}":                                      1,
		"weft_node_relay_up{network=weft,relay=bad\uFFFD}":                                0,
		"weft_node_relay_rtt_seconds{network=weft,relay=r:1}":                             0.02,
		"weft_node_sessions{network=weft}":                                                8,
		"weft_node_conns{network=weft}":                                                   8,
		"weft_node_peers{network=weft,path=relay}":                                        1,
		"weft_node_peers{network=weft,path=udp}":                                          2,
		"weft_node_peers{network=weft,path=link}":                                         1,
		"weft_node_peers{network=weft,path=lan}":                                          1,
		"weft_node_peers{network=weft,path=none}":                                         1,
		"weft_node_nat_info{filtering=unknown,mapping=endpoint-independent,network=weft}": 1,
		"weft_node_invite_expires_timestamp_seconds{network=weft}":                        1_800_000_000,
		"weft_node_dials_total{network=weft,outcome=connected}":                           5,
		"weft_node_dials_total{network=weft,outcome=no_relay}":                            2,
		"weft_node_dials_total{network=weft,outcome=failed}":                              0,
		"weft_node_peer_path_info{network=weft,path=relay,peer=0000000000000003}":         1,
		"weft_node_peer_rtt_seconds{network=weft,peer=0000000000000004}":                  0.004,
	} {
		if got, ok := all[series]; !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", series, got, ok, want)
		}
	}
	for series := range all {
		if strings.Contains(series, "0005") || strings.HasPrefix(series, "weft_node_relay_rtt_seconds") && strings.Contains(series, "s:1") {
			t.Errorf("there is %s", series)
		}
	}
}

// Without MaxPeers nothing grows with the number of peers.
func TestSeriesOfANodeAreBounded(t *testing.T) {
	var st overlay.Status
	count := func() int {
		return len(gathered(t, NodeConfig{}.collect(func() overlay.Status { return st })))
	}
	st.Relays = make([]overlay.RelayStatus, 1)
	before := count()
	for i := range 1000 {
		st.Peers = append(st.Peers, via(overlay.NodeID(i+1), overlay.PathUDP, "udp 192.0.2.1:1"))
	}
	if after := count(); after != before {
		t.Errorf("%d series with 1000 peers, %d with none", after, before)
	}
	for i := range 1000 {
		st.Relays = append(st.Relays, overlay.RelayStatus{Addr: strings.Repeat("r", i+1), RTT: 1})
	}
	if after := count(); after > before+4*maxRelays {
		t.Errorf("%d series with 1000 relays, %d with one", after, before)
	}
}

func TestANodeThatHasNothing(t *testing.T) {
	all := gathered(t, NodeConfig{MaxPeers: 10}.collect(func() overlay.Status { return overlay.Status{} }))
	if all["weft_node_registered{network=}"] != 0 {
		t.Error("it is registered")
	}
	for _, series := range slices.Sorted(maps.Keys(all)) {
		for _, absent := range []string{"weft_node_home", "weft_node_nat", "weft_node_invite", "weft_node_relay_", "weft_node_peer_"} {
			if strings.HasPrefix(series, absent) {
				t.Errorf("there is %s", series)
			}
		}
	}
}
