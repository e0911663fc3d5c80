package overlaytest

import (
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/sctp"
)

// The service levels of direct paths.
const (
	// deadUnderTraffic and deadIdle are within what time a direct path that does
	// not carry anything any more is left.
	deadUnderTraffic = 3 * time.Second
	deadIdle         = 15 * time.Second
	// directAgain is within what time nodes have a direct path again once there
	// can be one: the longest pause between attempts after which nothing changed is
	// ten minutes.
	directAgain = 11 * time.Minute
	// directSoon is the same after something changed that one of the nodes notices.
	directSoon = 10 * time.Second
)

// layerOf returns the layer for a seed: every fourth is sctp.
func layerOf(seed uint64) stream.Layer {
	if seed%4 == 3 {
		return sctp.Layer{}
	}
	return native.Layer{}
}

// coneKinds are those of which each pair can be punched.
var coneKinds = []NATKind{PortRestricted, AddressRestricted, EndpointIndependent, Firewall, Open}

// directly runs a test with two nodes that talk to each other on a direct path.
func directly(t *testing.T, n uint64, test func(t *testing.T, d *duo, k *talk)) {
	t.Helper()
	eachSeed(t, n, func(t *testing.T, seed uint64) {
		rng := seeded(seed)
		l := New(t, Config{Seed: seed})
		far(l, rng)
		nats := [2]NAT{{Kind: coneKinds[rng.IntN(len(coneKinds))]}, {Kind: coneKinds[rng.IntN(len(coneKinds))]}}
		d := newDuo(t, l, nats, overlay.Config{Reliability: layerOf(seed)})
		d.settle()
		k := talkBetween(t, d.a, d.b)
		d.wantDirect(directSoon)
		time.Sleep(5 * time.Second)
		k.forget()
		test(t, d, k)
		k.survived()
		if t.Failed() {
			t.Logf("%v\n%s\n%v", nats, paths(d.a, d.b), d.journal)
		}
	})
}

// cutDirect breaks the direct path between the nodes of a duo, and nothing else.
func (d *duo) cutDirect() (heal func()) {
	d.mu.Lock()
	was := d.pairs[[2]string{"a", "b"}]
	d.mu.Unlock()
	d.Impair("a", "b", Impairment{Loss: 1})
	return func() { d.Impair("a", "b", was) }
}

func TestTalksGoOnWhenTheDirectPathDies(t *testing.T) {
	directly(t, 4, func(_ *testing.T, d *duo, k *talk) {
		heal := d.cutDirect()
		d.wantRelayed(deadUnderTraffic)
		time.Sleep(20 * time.Second)
		k.wantSilence(deadUnderTraffic + time.Second)
		heal()
		d.wantDirect(directAgain)
		k.wantSilence(deadUnderTraffic + time.Second)
	})
}

func TestIdleDirectPathsAreWatched(t *testing.T) {
	eachSeed(t, 2, func(t *testing.T, seed uint64) {
		l := New(t, Config{Seed: seed})
		far(l, seeded(seed))
		d := newDuo(t, l, [2]NAT{}, overlay.Config{Reliability: layerOf(seed)})
		d.settle()
		echo(t, d.b, 7)
		c := dial(t, d.a, "b:7")
		d.wantDirect(directSoon)
		time.Sleep(10 * time.Minute) // mappings last for 30 s
		if !bothDirect(d.a, d.b) || len(d.journal.moves("a", d.journal.began)) != 1 {
			t.Errorf("an idle direct path did not stay:\n%s\n%v", paths(d.a, d.b), d.journal)
		}
		if trip := roundTrip(t, c); trip > d.relayTrip() {
			t.Errorf("a round trip took %v, over the relay it takes %v", trip, d.relayTrip())
		}
		d.cutDirect()
		d.wantRelayed(deadIdle)
	})
}

func TestNATsThatReboot(t *testing.T) {
	directly(t, 4, func(t *testing.T, d *duo, k *talk) {
		there, back, done := transfer(t, d.a, d.b, 3_000_000)
		for _, reboot := range []func(){
			func() { d.RebootNAT(homes[0]) },
			func() { d.RebootNAT(homes[1]) },
			func() { d.RenumberNAT(homes[0]) },
			func() { d.RenumberNAT(homes[0]); d.RenumberNAT(homes[1]) },
		} {
			reboot()
			time.Sleep(time.Second)
			d.wantDirect(time.Minute)
			time.Sleep(5 * time.Second)
		}
		k.wantSilence(maxSilence)
		arrives(t, time.Minute, there, back, done)
	})
}

func TestHostsThatRoam(t *testing.T) {
	for _, test := range []struct {
		name string
		roam func(d *duo)
	}{
		{"new address of the dialler", func(d *duo) { d.Roam("a") }},
		{"new address of the acceptor", func(d *duo) { d.Roam("b") }},
		{"new address of both", func(d *duo) { d.Roam("a"); d.Roam("b") }},
		{"another place", func(d *duo) { d.Place("a", "") }},
		{"other places of both", func(d *duo) { d.Place("a", ""); d.Place("b", homes[0]) }},
		{"the same place", func(d *duo) { d.Place("a", homes[1]) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			directly(t, 2, func(t *testing.T, d *duo, k *talk) {
				there, back, done := transfer(t, d.a, d.b, 1_000_000)
				test.roam(d)
				time.Sleep(time.Second)
				d.wantDirect(time.Minute)
				k.wantSilence(maxSilence)
				arrives(t, time.Minute, there, back, done)
			})
		})
	}
}

func TestHostsThatSleep(t *testing.T) {
	directly(t, 2, func(t *testing.T, d *duo, k *talk) {
		for _, host := range []string{"a", "b"} {
			d.Sleep(host)
			time.Sleep(25 * time.Second)
			d.Resume(host)
			k.forget()
			d.wantDirect(2 * time.Minute)
			k.wantSilence(maxSilence)
		}
	})
}

func TestInterfacesThatGoAwayAndComeBack(t *testing.T) {
	directly(t, 2, func(t *testing.T, d *duo, k *talk) {
		for _, host := range []string{"a", "b"} {
			d.InterfaceDown(host)
			time.Sleep(10 * time.Second)
			d.InterfaceUp(host)
			k.forget()
			d.wantDirect(time.Minute)
			k.wantSilence(maxSilence)
		}
	})
}

// Streams need no relay once there is a direct path.
func TestStreamsGoOnWithoutRelays(t *testing.T) {
	directly(t, 4, func(t *testing.T, d *duo, k *talk) {
		d.Kill("relay")
		d.Kill("relay-2")
		time.Sleep(time.Second)
		k.wantSilence(time.Second)
		there, back, done := transfer(t, d.a, d.b, 1_000_000)
		arrives(t, time.Minute, there, back, done)
		time.Sleep(time.Minute)
		k.wantSilence(time.Second)
		d.Restart("relay")
		d.Restart("relay-2")
		d.WaitReady("a", "b")
		time.Sleep(10 * time.Second)
		if !bothDirect(d.a, d.b) {
			t.Error("the direct path is gone with the relays' return")
		}
		k.wantSilence(time.Second)
	})
}

// Pairs without a direct path stay on the relay, say so, and do not send into the
// dark for ever.
func TestPairsThatStayRelayed(t *testing.T) {
	for _, test := range []struct {
		name string
		nats [2]NAT
	}{
		{"UDP blocked", [2]NAT{{Kind: UDPBlocked}, {}}},
		{"symmetric", [2]NAT{{Kind: Symmetric}, {Kind: Symmetric}}},
		{"symmetric and port-restricted", [2]NAT{{Kind: Symmetric}, {}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachSeed(t, 2, func(t *testing.T, seed uint64) {
				l := New(t, Config{Seed: seed})
				far(l, seeded(seed))
				d := newDuo(t, l, test.nats, overlay.Config{Reliability: layerOf(seed)})
				d.settle()
				echo(t, d.b, 7)
				c := dial(t, d.a, "b:7")
				time.Sleep(2 * time.Minute)
				before := [2]Traffic{d.Traffic("a"), d.Traffic("b")}
				time.Sleep(time.Hour)
				for i, host := range []string{"a", "b"} {
					const most = 3600 // datagrams an hour, STUN included
					n := d.Traffic(host).DatagramsSent - before[i].DatagramsSent
					t.Logf("%s sent %d datagrams in an hour", host, n)
					if n > most {
						t.Errorf("%s sent %d datagrams in an hour, want %d at most", host, n, most)
					}
				}
				checkReasons(t, d)
				roundTrip(t, c)
			})
		})
	}
}

// Nodes behind one NAT use the local network, also if it does not hairpin; behind
// two NATs of one provider, what that one's hairpinning allows.
func TestNodesNearEachOther(t *testing.T) {
	for _, test := range []struct {
		name   string
		build  func(l *Lab)
		direct bool
	}{
		{"one NAT", func(l *Lab) {
			l.NAT("home", NAT{})
			l.Place("a", "home")
			l.Place("b", "home")
		}, true},
		{"one symmetric NAT", func(l *Lab) {
			l.NAT("home", NAT{Kind: Symmetric})
			l.Place("a", "home")
			l.Place("b", "home")
		}, true},
		{"a provider that hairpins", func(l *Lab) {
			l.NAT("provider", NAT{Kind: EndpointIndependent, Hairpin: true})
			l.NAT("home-a", NAT{Behind: "provider"})
			l.NAT("home-b", NAT{Behind: "provider"})
			l.Place("a", "home-a")
			l.Place("b", "home-b")
		}, true},
		{"a provider that does not", func(l *Lab) {
			l.NAT("provider", NAT{Kind: EndpointIndependent})
			l.NAT("home-a", NAT{Behind: "provider"})
			l.NAT("home-b", NAT{Behind: "provider"})
			l.Place("a", "home-a")
			l.Place("b", "home-b")
		}, false},
		{"one of them inside of the other's", func(l *Lab) {
			l.NAT("provider", NAT{})
			l.NAT("home", NAT{Behind: "provider"})
			l.Place("a", "home")
			l.Place("b", "provider")
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachSeed(t, 2, func(t *testing.T, seed uint64) {
				l := New(t, Config{Seed: seed, Link: Impairment{Latency: latency}})
				l.Relay("relay-2", l.Relay("relay"))
				test.build(l)
				d := &duo{Lab: l, t: t, journal: newJournal()}
				d.a, d.b = l.Node("a", d.journal.of("a", overlay.Config{})), l.Node("b", d.journal.of("b", overlay.Config{}))
				d.settle()
				echo(t, d.b, 7)
				c := dial(t, d.a, "b:7")
				if !test.direct {
					time.Sleep(patience)
					if bothDirect(d.a, d.b) {
						t.Errorf("there is a direct path where none can be:\n%s", paths(d.a, d.b))
					}
					checkReasons(t, d)
					return
				}
				d.wantDirect(directSoon)
				if trip := roundTrip(t, c); trip > time.Millisecond {
					t.Errorf("a round trip took %v, so it left the neighbourhood", trip)
				}
			})
		})
	}
}
