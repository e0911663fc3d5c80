package checkup

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/cmd/weft/internal/diag"
	"github.com/weftnet/weft/overlay"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// reached is a visit that went well.
func reached() *Visit {
	return &Visit{
		Target: "kv-1", From: "00000000000000aa", Version: "v1", Now: now, Network: fine(),
		Member: Member{Network: "weft", Name: "laptop"},
		Ping:   &Ping{Node: "00000000000000bb", Names: []string{"kv-1"}, Path: "udp 192.0.2.9:1", Layer: "native", RTT: 3},
		Ports:  []Port{{Port: 22}},
		Paths:  []diag.Path{{Path: "relay r1:9999", State: "validated"}, {Path: "udp 192.0.2.9:1", Direct: true, Active: true, State: "validated", RTT: 3}},
		View: &diag.View{
			Version: "v1", Now: now, UDP: true, Seen: []string{"192.0.2.9:1"}, Path: "udp 192.0.2.7:5000",
			Relays: []diag.Relay{{Addr: "r1:9999", Home: true, Up: true}},
		},
	}
}

func relayed(v *Visit) {
	v.NotDirect = "no answer"
	v.Paths = []diag.Path{{Path: "relay r1:9999", Active: true}, {Path: "udp 192.0.2.9:1", Direct: true, State: "failed", Reason: "no answer"}}
	v.View.NotDirect = "both NATs are symmetric"
	v.View.Paths = []diag.Path{{Path: "udp 192.0.2.7:5000", Direct: true, State: "probing"}}
}

func lost(err error) func(v *Visit) {
	return func(v *Visit) { v.Ping, v.Ports, v.View, v.PingErr = nil, nil, nil, fmt.Errorf("ping: %w", err) }
}

func TestVisit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(v *Visit)
		worst  Verdict
		want   string
	}{
		{"well", func(*Visit) {}, OK, "ok       verdict: kv-1 is reached directly"},
		{"who this is", func(*Visit) {}, OK, "ok       membership: this is node laptop (00000000000000aa) of network weft"},
		{"who that is", func(*Visit) {}, OK, "ok       look-up: kv-1 is kv-1 (00000000000000bb)"},
		{"the other end", func(*Visit) {}, OK, "ok       other end: home relay r1:9999; NAT mapping unknown"},
		{"relayed", relayed, Note, "ok       verdict: kv-1 is reached, over a relay"},
		{"what was tried", relayed, Note, "note     path tried: udp 192.0.2.9:1: failed no answer"},
		{"what was tried there", relayed, Note, "note     tried there: udp 192.0.2.7:5000: probing"},
		{"why not, there", relayed, Note, "note     path back: not direct: both NATs are symmetric"},
		{"no socket", func(v *Visit) { relayed(v); v.Network.UDPAddr = "" }, Note, "note     path: packets go over a relay: no answer\n         -> this node has no UDP socket"},
		{"not seen", func(v *Visit) { relayed(v); v.Network.Seen = nil }, Note, "note     path: packets go over a relay: no answer\n         -> no relay sees this node's UDP"},
		{"no socket there", func(v *Visit) { relayed(v); v.View.UDP = false }, Note, "note     path: packets go over a relay: no answer\n         -> the other node has no UDP socket"},
		{"not seen there", func(v *Visit) { relayed(v); v.View.Seen = nil }, Note, "note     path: packets go over a relay: no answer\n         -> no relay sees the other node's UDP"},
		{"an invite", func(v *Visit) { v.Member.Invite, v.Member.Expires = "ab", now.Add(48*time.Hour) }, OK, "ok       membership: this is node laptop (00000000000000aa) of network weft, with a key of its own; its invite ends at 2026"},
		{"an invite that ends", func(v *Visit) { v.Member.Invite, v.Member.Expires = "ab", now.Add(time.Hour) }, Warning, "warning  membership: "},
		{"an old invite", func(v *Visit) { v.Member.Invite, v.Member.Expires = "ab", now.Add(-time.Hour) }, Failure, "failure  verdict: it fails at the step membership\n         -> get a new invite"},
		{"losses", func(v *Visit) { v.Lost = 0.1 }, Warning, "warning  loss: 10.0 %"},
		{"clocks", func(v *Visit) { v.View.Now = now.Add(-time.Hour) }, Warning, "warning  clocks: those of the two nodes differ by 1h0m0s"},
		{"versions", func(v *Visit) { v.View.Version = "v2" }, Note, "note     version: there v2, here v1"},
		{"no view", func(v *Visit) { v.View, v.ViewErr = nil, overlay.ErrRefused }, Note, "note     other end: it does not tell what it sees"},
		{"nobody listens", func(v *Visit) { v.Ports[0].Err = overlay.ErrRefused }, Failure, "failure  verdict: it fails at the step port 22\n         -> start what should"},
		{"not allowed", func(v *Visit) { v.Ports[0].Err = overlay.ErrNotAllowed }, Failure, "failure  port 22: "},
		{"another layer", func(v *Visit) { v.Ports[0].Err = overlay.ErrLayerMismatch }, Failure, "failure  port 22: "},
		{"a port that hangs", func(v *Visit) { v.Ports[0].Err = errors.New("x") }, Failure, "failure  port 22: x"},
		{"silence", lost(errors.New("nothing after 10s")), Failure, "failure  handshake: ping: nothing after 10s"},
		{"unknown", lost(overlay.ErrUnknownNode), Failure, "failure  verdict: it fails at the step look-up"},
		{"attempts", lost(&overlay.DialError{Attempts: []overlay.Attempt{{Path: "relay r1:9999", Err: overlay.ErrPeerRestarted}, {Path: "relay r2:9999", Err: overlay.ErrUnknownNode}}}), Failure,
			"note     attempt: by relay r1:9999: the peer has restarted"},
		{"revoked", lost(overlay.ErrRevoked), Failure, "failure  verdict: it fails at the step membership"},
		{"another node", lost(overlay.ErrWrongPeer), Failure, "failure  verdict: it fails at the step handshake"},
		{"no relay", func(v *Visit) {
			lost(overlay.ErrNoRelay)(v)
			v.Network.Relays = []Relay{{Addr: "r1:9999", Port: Answer{Failed: stepTCP, Error: "connection refused"}}}
		}, Failure, "failure  verdict: it fails at the step relay r1:9999\n         -> check the relay's port"},
		{"no answer at all", func(v *Visit) { v.Ping = nil }, Failure, "failure  verdict: there was no answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := reached()
			tt.change(v)
			steps := v.Judge()
			var b strings.Builder
			steps.Write(&b)
			if steps.Worst() != tt.worst || !strings.Contains("\n"+b.String(), "\n"+tt.want) {
				t.Errorf("worst is %s, want %s; no %q in\n%s", steps.Worst(), tt.worst, tt.want, b.String())
			}
			if last := steps[len(steps)-1]; last.Name != "verdict" {
				t.Errorf("it ends with %+v", last)
			}
		})
	}
}
