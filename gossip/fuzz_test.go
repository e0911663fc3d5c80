package gossip

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// sample returns one message of each kind.
func sample(t testing.TB) [][]byte {
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	node := &signed{
		Record: Record{ID: key.ID(), Key: key.Public(), Attachment: Attachment{
			Relay: 9, Epoch: 1, Seq: 2, Names: []string{"kv-1", "kv"}, Candidates: []string{"192.0.2.1:9"},
		}},
		certificate: []byte("certificate"),
	}
	copy(node.signature[:], node.statement(simNetwork).Sign(key))
	gone := *node
	gone.depart(simNetwork, key, false)
	relay := &relayRecord{epoch: 1, seq: 2, addrs: []string{"relay.example:9"}, certificate: []byte("c")}
	relay.sign(simNetwork, key)
	dir := NewDirectory(DirectoryConfig{})
	if _, err := dir.merge(node, live, false, 9); err != nil {
		t.Fatal(err)
	}
	p := &pull{nonce: 1, hi: lastID, briefs: []brief{{id: 1, epoch: 2, seq: 3, hash: 4}, {id: 9}}}
	p.buckets.add(0)
	items := appendRelay(appendNode(appendNode([]byte{kindItems}, node), &gone), relay)
	return [][]byte{
		items,
		appendRelay(appendNonce(kindAsk, 5), relay),
		append(answerHead(5, lastID), items[1:]...),
		p.append(nil),
		makeDigest(9, 1, dir),
		{kindDatagram, 17: 1},
		{kindAck, 16: 1},
	}
}

func TestRecordsReadBackWhatWasWritten(t *testing.T) {
	items := sample(t)[0]
	r := &reader{b: items[1:]}
	nodes, relays, _ := readItems(r)
	if r.err != nil || len(nodes) != 2 || len(relays) != 1 || nodes[0].departed || !nodes[1].departed {
		t.Fatalf("%d nodes, %d relays, %v", len(nodes), len(relays), r.err)
	}
	for _, s := range nodes {
		if err := s.verify(simNetwork); err != nil {
			t.Error(err)
		}
		if err := s.verify([32]byte{}); !errors.Is(err, ErrSignature) {
			t.Errorf("in another network: %v", err)
		}
	}
	if err := relays[0].verify(simNetwork); err != nil {
		t.Error(err)
	}
	relays[0].addrs[0] = "127.0.0.1:22"
	if err := relays[0].verify(simNetwork); !errors.Is(err, ErrSignature) {
		t.Errorf("with another address: %v", err)
	}
	for n := 1; n < len(items); n++ {
		if r := (&reader{b: items[1:n]}); r.more() {
			readItems(r) // must not panic
		}
	}
}

// How a node left is what its relay has signed.
func TestADepartureSaysHowTheNodeLeft(t *testing.T) {
	relay := mustKey(t)
	for _, hungUp := range []bool{false, true} {
		s := invent(1, relay.Public().ID())
		s.depart(simNetwork, relay, hungUp)
		r := &reader{b: appendNode(nil, s)}
		nodes, _, _ := readItems(r)
		if r.err != nil || len(nodes) != 1 || !nodes[0].departed || nodes[0].hungUp != hungUp {
			t.Fatalf("hung up %v: read %+v, %v", hungUp, nodes, r.err)
		}
		read := nodes[0]
		if err := read.verifyDeparture(simNetwork, relay.Public()); err != nil {
			t.Errorf("hung up %v: %v", hungUp, err)
		}
		d := NewDirectory(DirectoryConfig{})
		if _, err := d.merge(read, departed, false, 1); err != nil {
			t.Fatal(err)
		}
		if kept := d.wire(s.ID); kept.hungUp != hungUp || kept.hash() != s.hash() {
			t.Errorf("hung up %v: the directory kept %+v", hungUp, kept)
		}
		read.hungUp = !hungUp
		if err := read.verifyDeparture(simNetwork, relay.Public()); !errors.Is(err, ErrSignature) {
			t.Errorf("hung up %v, told as %v: %v", hungUp, !hungUp, err)
		}
		if read.hash() == s.hash() {
			t.Errorf("hung up %v: the other way has the same hash", hungUp)
		}
	}
}

// Every order in which the versions of a record come ends with the same one.
func TestNewerIsATotalOrder(t *testing.T) {
	var all []*signed
	for _, epoch := range []uint64{5, ^uint64(0)} {
		for _, seq := range []uint64{1, 2} {
			for _, relay := range []identity.NodeID{8, 9} {
				for _, how := range []struct{ departed, hungUp bool }{{}, {true, false}, {true, true}} {
					for sig := range byte(2) {
						s := &signed{Record: Record{Attachment: Attachment{Relay: relay, Epoch: epoch, Seq: seq}}, departed: how.departed, hungUp: how.hungUp}
						s.signature[0] = sig
						all = append(all, s)
					}
				}
			}
		}
	}
	for i, a := range all {
		for j, b := range all {
			if i == j && a.newer(b) || i != j && a.newer(b) == b.newer(a) {
				t.Errorf("%d and %d are not ordered", i, j)
			}
			for k, c := range all {
				if a.newer(b) && b.newer(c) && !a.newer(c) {
					t.Errorf("%d > %d > %d, but not %d > %d", i, j, k, i, k)
				}
			}
		}
	}
}

// FuzzMessages gives a relay anything; it must stay sane.
func FuzzMessages(f *testing.F) {
	for _, m := range sample(f) {
		f.Add(m)
	}
	s := newSim(f, 1, 2, 1)
	s.run(digestInterval)
	r := s.relays[0]
	f.Fuzz(func(_ *testing.T, b []byte) {
		now := r.clock()
		r.onBroadcast(bytes.Clone(b), now)
		r.onUnicast(NameOf(s.relays[1].self), bytes.Clone(b), now)
		r.onUnicast(1, bytes.Clone(b), now)
		r.onDigest(bytes.Clone(b), now)
		r.tick(now.Add(time.Second))
		r.out, r.changes = nil, nil
	})
}

// FuzzItems compares what was read with what that writes.
func FuzzItems(f *testing.F) {
	f.Add(sample(f)[0][1:])
	f.Add(append([]byte{itemRevocation, 2, 7: 0, 8: 9, 16: 0}, make([]byte, identity.SignatureSize)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &reader{b: b}
		nodes, relays, _ := readItems(r)
		if r.err != nil && !errors.Is(r.err, errMalformed) {
			t.Errorf("error %v", r.err)
		}
		for _, s := range nodes {
			if err := s.check(); err != nil {
				t.Errorf("read what must not be sent: %v", err)
			}
			again := readSigned(&reader{b: s.append(nil)})
			if !reflect.DeepEqual(again, s) {
				t.Errorf("%+v, then %+v", s, again)
			}
		}
		for _, rec := range relays {
			if again := readRelay(&reader{b: rec.append(nil)}); !reflect.DeepEqual(again, rec) {
				t.Errorf("%+v, then %+v", rec, again)
			}
		}
	})
}

// FuzzPull compares what was read with what that writes.
func FuzzPull(f *testing.F) {
	f.Add(sample(f)[3][1:])
	f.Fuzz(func(t *testing.T, b []byte) {
		p := readPull(&reader{b: b})
		if p == nil {
			return
		}
		if again := readPull(&reader{b: p.append(nil)[1:]}); !reflect.DeepEqual(again, p) {
			t.Errorf("%+v, then %+v", p, again)
		}
	})
}

// FuzzDigest compares what was read with what that writes.
func FuzzDigest(f *testing.F) {
	f.Add(sample(f)[4][1:])
	f.Fuzz(func(t *testing.T, b []byte) {
		d := readDigest(&reader{b: b})
		if d == nil {
			return
		}
		if again := d.append(nil)[1:]; !bytes.Equal(again, b[:len(again)]) {
			t.Error("another digest is written than was read")
		}
	})
}
