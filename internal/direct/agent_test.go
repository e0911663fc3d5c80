package direct

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// A rig is an agent with a clock of its own; it records what the agent does.
type rig struct {
	t      *testing.T
	a      *Agent
	now    time.Time
	told   []Message
	toldAt []time.Time
	probes []probe
}

type probe struct {
	at time.Duration // since the rig's beginning
	to netip.AddrPort
}

var epoch = time.Unix(1e9, 0)

// relayRTT is the round trip over the relay.
const relayRTT = 80 * time.Millisecond

func newRig(t *testing.T, client bool) *rig {
	r := &rig{t: t, now: epoch}
	r.a = New(Config{
		Client: client,
		RTT:    func() time.Duration { return relayRTT },
		Announce: func(b []byte) {
			m, err := Parse(b)
			if err != nil {
				t.Error(err)
			}
			r.told, r.toldAt = append(r.told, m), append(r.toldAt, r.now)
		},
		Probe: func(addr netip.AddrPort) { r.probes = append(r.probes, probe{r.now.Sub(epoch), addr}) },
	})
	return r
}

// pass lets time pass, and the agent act when it wants to.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for range 100000 {
		next := r.a.Advance(r.now)
		if !next.IsZero() && !next.After(r.now) {
			r.t.Fatalf("at %v the agent wants to be called again at once", r.now.Sub(epoch))
		}
		if next.IsZero() || next.After(end) {
			r.now = end
			return
		}
		r.now = next
	}
	r.t.Fatal("the agent never comes to rest")
}

func (r *rig) receive(m Message) {
	r.t.Helper()
	if err := r.a.Receive(r.now, m.Append(nil)); err != nil {
		r.t.Fatal(err)
	}
}

// rounds are the times at which rounds began, with probes.
func (r *rig) rounds() (at []time.Duration) {
	for _, p := range r.probes {
		if len(at) == 0 || p.at-at[len(at)-1] > schedule[len(schedule)-1] {
			at = append(at, p.at)
		}
	}
	return at
}

var (
	own   = Local{Candidates: []Candidate{candidate(Host, "10.1.0.1:1")}}
	other = []Candidate{candidate(Host, "10.2.0.1:1"), candidate(Reflexive, "192.0.2.2:1")}
)

func TestClientBeginsHalfARoundTripAfterItSaidSo(t *testing.T) {
	r := newRig(t, true)
	r.a.SetLocal(r.now, own)
	r.pass(time.Second)
	if len(r.probes) > 0 || len(r.told) != 1 || r.told[0].Round != 0 {
		t.Fatalf("before it knows the peer's: %v, %+v", r.probes, r.told)
	}
	r.receive(Message{Candidates: other})
	r.pass(3 * time.Second)
	if len(r.told) != 2 || r.told[1].Round != 1 {
		t.Fatalf("told %+v", r.told)
	}
	if got, want := r.probes[0], (probe{time.Second + relayRTT/2, other[0].Addr}); got != want {
		t.Errorf("the first probe is %v, want %v", got, want)
	}
	if want := len(schedule) * len(other); len(r.probes) != want {
		t.Errorf("%d probes, want %d", len(r.probes), want)
	}
}

func TestServerBeginsWhenItHearsOfTheRound(t *testing.T) {
	r := newRig(t, false)
	r.a.SetLocal(r.now, own)
	r.receive(Message{Candidates: other})
	r.pass(time.Second)
	if len(r.probes) > 0 {
		t.Fatal("it begins by itself")
	}
	r.receive(Message{Candidates: other, Round: 1})
	r.pass(3 * time.Second)
	if len(r.probes) == 0 || r.probes[0].at != time.Second {
		t.Errorf("probes are %v", r.probes)
	}
}

func TestTheSideThatBeginsChanges(t *testing.T) {
	r := newRig(t, true)
	r.a.SetLocal(r.now, own)
	r.receive(Message{Candidates: other})
	r.pass(10 * time.Second)
	r.receive(Message{Candidates: other, Round: 2})
	began := r.now.Sub(epoch)
	r.pass(10 * time.Second)
	if at := r.rounds(); len(at) != 2 || at[1] != began+2*relayRTT {
		t.Errorf("rounds at %v, want the second at %v", at, began+2*relayRTT)
	}
	r.pass(time.Minute)
	if last := len(r.told) - 1; r.told[last].Round != 3 {
		t.Fatalf("told %+v", r.told[last])
	} else if at := r.rounds(); len(at) != 3 || at[2] != r.toldAt[last].Sub(epoch) {
		t.Errorf("rounds at %v, want the third at once", at)
	}
}

func TestAloneItGoesOnEverMoreRarely(t *testing.T) {
	for _, client := range []bool{true, false} {
		r := newRig(t, client)
		r.a.SetLocal(r.now, own)
		r.receive(Message{Candidates: other})
		if !client {
			r.receive(Message{Candidates: other, Round: 1})
		}
		r.pass(2 * time.Hour)
		at := r.rounds()
		for i, d := range at[1:] {
			gap, want := d-at[i], pauses[min(i, len(pauses)-1)]
			if gap < want || gap > want*11/10+lateLeader+5*time.Second {
				t.Errorf("client %v: round %d after %v, want %v and a little", client, i+2, gap, want)
			}
		}
		if len(at) < 10 || len(at) > 18 {
			t.Errorf("client %v: %d rounds in two hours", client, len(at))
		}
	}
}

func TestASuccessEndsTheRound(t *testing.T) {
	r := newRig(t, true)
	r.a.SetLocal(r.now, own)
	r.receive(Message{Candidates: other})
	r.pass(relayRTT/2 + 60*time.Millisecond)
	n := len(r.probes)
	if r.a.Connected(r.now, true); r.a.Status().Reason != "" {
		t.Error("it says why there is no path: ", r.a.Status().Reason)
	}
	r.pass(time.Hour)
	if len(r.probes) != n {
		t.Errorf("%d probes after it had worked", len(r.probes)-n)
	}
	if next := r.a.Advance(r.now); !next.IsZero() {
		t.Error("it still wants to be called, at ", next)
	}
}

func TestALostPathIsReplacedAtOnce(t *testing.T) {
	r := newRig(t, true)
	r.a.SetLocal(r.now, own)
	r.receive(Message{Candidates: other})
	r.pass(10 * time.Second)
	r.a.Connected(r.now, true)
	r.pass(time.Hour)
	for i := range 5 {
		r.probes = nil
		lost := r.now.Sub(epoch)
		r.a.Connected(r.now, false)
		r.pass(30 * time.Second)
		if len(r.probes) == 0 {
			t.Fatal("no round")
		}
		// Paths that die young are not replaced at once for ever.
		if wait := r.probes[0].at - lost; i == 0 && wait > 2*relayRTT || wait > time.Second<<i+2*relayRTT {
			t.Errorf("round %d after %v", i, wait)
		}
		r.a.Connected(r.now, true)
	}
}

func TestNewAddressesBeginARound(t *testing.T) {
	r := newRig(t, true)
	r.a.SetLocal(r.now, own)
	r.receive(Message{Candidates: other})
	r.pass(4 * time.Second)
	told := len(r.told)
	began := r.now
	for i := range 100 { // an interface that comes and goes
		c := append([]Candidate{candidate(Host, fmt.Sprintf("10.3.0.%d:1", i+1))}, own.Candidates...)
		r.a.SetLocal(r.now, Local{Candidates: c})
		r.pass(10 * time.Millisecond)
	}
	r.pass(2 * time.Second)
	if n := len(r.told) - told; n < 1 || n > 4 {
		t.Errorf("told %d times in 3 s", n)
	}
	last := r.told[len(r.told)-1]
	if last.Candidates[0].Addr != netip.MustParseAddrPort("10.3.0.100:1") {
		t.Errorf("told last: %v", last)
	}
	if r.probes[len(r.probes)-1].at < began.Sub(epoch) {
		t.Error("no new round")
	}
}

// A peer names addresses of somebody else, and begins rounds as fast as it can.
func TestAPeerCannotMakeItSendMuch(t *testing.T) {
	r := newRig(t, true)
	r.a.SetLocal(r.now, own)
	victim := Message{}
	const d = 90 * time.Second
	for i := range int(d / time.Millisecond) {
		victim.Candidates = victim.Candidates[:0]
		for j := range MaxCandidates {
			victim.Candidates = append(victim.Candidates, Candidate{Reflexive, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1+i*MaxCandidates+j))})
		}
		victim.Round++
		_ = r.a.Receive(r.now, victim.Append(nil))
		r.pass(time.Millisecond)
	}
	limit := probeBurst + int(d/probeEvery)
	if len(r.probes) > limit {
		t.Errorf("%d probes in %v, want at most %d", len(r.probes), d, limit)
	}
	if n := len(r.told); n > 2+int(d/announceEvery) {
		t.Errorf("told %d times", n)
	}
	t.Logf("%d probes, told %d times, %d ignored", len(r.probes), len(r.told), r.a.Status().Ignored)
}

func TestRoundsDoNotOverflow(t *testing.T) {
	r := newRig(t, true)
	r.a.SetLocal(r.now, own)
	r.receive(Message{Candidates: other, Round: 1<<32 - 1})
	r.pass(time.Hour)
	if got := r.a.Status().Round; got != 1<<32-1 {
		t.Error("round is ", got)
	}
}

func TestOwnAndLoopbackAddressesAreNoTargets(t *testing.T) {
	r := newRig(t, true)
	r.a.SetLocal(r.now, own)
	r.receive(Message{Candidates: []Candidate{own.Candidates[0], candidate(Host, "127.0.0.1:1"), candidate(TCP, "10.2.0.1:1")}})
	r.pass(time.Hour)
	if len(r.probes) > 0 {
		t.Errorf("probes to %v", r.probes)
	}
	if got, want := r.a.Status().Reason, "the peer has no address that this node can reach"; got != want {
		t.Errorf("reason is %q, want %q", got, want)
	}
	l := own
	l.Loopback = true
	r.a.SetLocal(r.now, l)
	r.pass(10 * time.Second)
	if len(r.probes) == 0 {
		t.Error("no probes to loopback")
	}
}

func TestReasons(t *testing.T) {
	r := newRig(t, true)
	want := func(s string) {
		t.Helper()
		if got := r.a.Status().Reason; got != s {
			t.Errorf("reason is %q, want %q", got, s)
		}
	}
	l := own
	l.Mapping = MappingEndpoint
	r.a.SetLocal(r.now, l)
	want("the peer has told no addresses")
	r.receive(Message{Candidates: other})
	want("waiting to begin")
	r.pass(time.Second)
	want("trying the peer's 2 addresses")
	r.pass(10 * time.Second)
	want("none of the peer's 2 addresses answered in 1 attempt; this node's NAT gives each destination another port")
	r.receive(Message{Candidates: other[:1], Mapping: MappingEndpoint})
	want("both nodes are behind NATs that give each destination another port")
	l.Mapping = MappingSame
	r.a.SetLocal(r.now, l)
	r.pass(10 * time.Second)
	want("none of the peer's 1 address answered in 2 attempts; the peer's NAT gives each destination another port")
	r.receive(Message{Candidates: []Candidate{{Kind: Host, Addr: netip.MustParseAddrPort("10.2.0.10:4000")}}})
	want("none of the peer's 1 address answered in 2 attempts; the peer knows of no address outside of its own network")
}

// rigWithLinks is a rig that also records when links are dialled.
func rigWithLinks(t *testing.T, client bool) (r *rig, dials *[]probe) {
	r, dials = newRig(t, client), new([]probe)
	r.a.cfg.Dial = func(addrs []netip.AddrPort) {
		for _, addr := range addrs {
			*dials = append(*dials, probe{r.now.Sub(epoch), addr})
		}
	}
	return r, dials
}

func TestLinksAreDialledAfterARoundThatFailed(t *testing.T) {
	tcp := candidate(TCP, "10.2.0.1:2")
	listening := Local{Candidates: []Candidate{own.Candidates[0], candidate(TCP, "10.1.0.1:2")}}
	round := schedule[len(schedule)-1] + answerTime
	for name, c := range map[string]struct {
		client bool
		local  Local
		remote []Candidate
		want   time.Duration // after the round began; 0: never
	}{
		"client":                      {true, own, append([]Candidate{tcp}, other...), round},
		"nothing but links":           {true, own, []Candidate{tcp}, round},
		"server":                      {false, own, append([]Candidate{tcp}, other...), round},
		"client, both listen":         {true, listening, append([]Candidate{tcp}, other...), round},
		"server, both listen":         {false, listening, append([]Candidate{tcp}, other...), round + lateDial},
		"nobody listens":              {true, own, other, 0},
		"only this side listens":      {true, listening, other, 0},
		"on a host that is not this":  {true, own, []Candidate{candidate(TCP, "127.0.0.1:2")}, 0},
		"at this very node's address": {true, listening, []Candidate{candidate(TCP, "10.1.0.1:2")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, dials := rigWithLinks(t, c.client)
			r.a.SetLocal(r.now, c.local)
			r.receive(Message{Round: 0, Candidates: c.remote})
			begun := relayRTT / 2
			if !c.client {
				r.receive(Message{Round: 1, Candidates: c.remote})
				begun = 0
			}
			r.pass(20 * time.Second)
			switch {
			case c.want == 0 && len(*dials) > 0, c.want > 0 && len(*dials) != 1:
				t.Errorf("dialled %v", *dials)
			case c.want > 0 && (*dials)[0].at != begun+c.want:
				t.Errorf("dialled at %v, want %v", (*dials)[0].at, begun+c.want)
			}
		})
	}
}

func TestALinkIsMadeAgainWhenItBreaks(t *testing.T) {
	r, dials := rigWithLinks(t, true)
	r.a.SetLocal(r.now, own)
	remote := other
	for port := range uint16(6) {
		remote = append(remote, Candidate{TCP, netip.AddrPortFrom(netip.MustParseAddr("10.2.0.1"), port+100)})
	}
	r.receive(Message{Candidates: remote})
	r.pass(5 * time.Second)
	if len(*dials) != maxDials {
		t.Fatalf("a round dialled %v", *dials)
	}
	r.a.Linked(r.now, true)
	r.pass(10 * time.Minute)
	if len(r.rounds()) < 3 || len(*dials) != maxDials {
		t.Errorf("with a link there were %d rounds and %d dials", len(r.rounds()), len(*dials))
	}
	r.a.Linked(r.now, false)
	r.pass(5 * time.Second)
	if len(*dials) != 2*maxDials {
		t.Errorf("after its end there were %d dials", len(*dials))
	}
	r.a.Linked(r.now, true)
	r.a.Connected(r.now, true)
	before := len(r.rounds())
	r.a.Linked(r.now, false)
	r.pass(10 * time.Minute)
	if len(*dials) != 2*maxDials || len(r.rounds()) != before {
		t.Error("a link is made although there is a path")
	}
}
