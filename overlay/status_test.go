package overlay

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/switchboard"
)

func TestStatusTellsWhatTheNodeIsDoing(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server := l.ready("server", Config{})
		l.echo(server)
		client := l.ready("client", Config{Name: "c", Relays: []string{relayAddr, "nowhere:1"}})
		c, err := client.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		roundTrip(t, c)
		time.Sleep(time.Second)
		st := client.Status()
		if st.ID != client.ID() || st.Key != client.Key() || st.Name != "c" || st.Network != "weft" || st.Layer != "native" {
			t.Errorf("the node is %+v", st)
		}
		up, down := st.Relays[0], st.Relays[1]
		if !up.Up || up.ID != l.host.ID() || up.RTT != 2*delay || up.ObservedAddr == "" || up.Err != nil {
			t.Errorf("the relay is %+v", up)
		}
		if down.Up || down.Err == nil || down.Addr != "nowhere:1" {
			t.Errorf("the relay that is not there is %+v", down)
		}
		i := slices.IndexFunc(st.Peers, func(p PeerStatus) bool { return p.ID == server.ID() })
		if i < 0 || len(st.Peers) != 2 {
			t.Fatalf("peers are %+v", st.Peers)
		}
		p := st.Peers[i]
		if p.Path != "relay "+relayAddr || p.Conns != 1 || p.RTT < 4*delay || p.MinRTT != 4*delay || !p.Initiator ||
			p.Layer != "native" || p.BytesSent == 0 || p.BytesReceived == 0 {
			t.Errorf("the peer is %+v", p)
		}
		if ports := server.Status().Ports; !slices.Equal(ports, []uint16{7}) {
			t.Errorf("ports are %v", ports)
		}
		for range client.Peers() {
			break
		}
	})
}

// An idle node with an open conn wakes up for nothing but to see whether its
// relay and its peer are there.
func TestAnIdleNodeSleeps(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		ca, cb := l.pair(a, b)
		defer ca.Close()
		defer cb.Close()
		time.Sleep(time.Minute)
		before := frames(a.sw)
		const idle = time.Hour
		time.Sleep(idle)
		synctest.Wait()
		// A ping and its answer every 5 s on the link; on the two sessions, a
		// keep-alive and its acknowledgement every 10 s from either side.
		limit := uint64(idle/(5*time.Second)*2 + idle/(10*time.Second)*2*2*2)
		if sent := frames(a.sw) - before; sent > limit {
			t.Errorf("%d frames in an idle hour, want at most %d", sent, limit)
		}
		roundTripBetween(t, ca, cb)
	})
}

// frames counts what went over a switch's links, pings included.
func frames(sw *switchboard.Switch) (n uint64) {
	for _, p := range sw.Ports() {
		c := p.Link().Counters()
		n += c.FramesIn + c.FramesOut + c.Pings + c.Pongs
	}
	return n
}
