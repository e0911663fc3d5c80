package gossip

import (
	"encoding/binary"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

const time30 = 30 * time.Second

// heapPerMillion is what a million idle records may take, in bytes.
const heapPerMillion = 600 << 20

// invent returns a record that nobody has signed, of an idle node without names.
func invent(i int, relay identity.NodeID) *signed {
	s := &signed{Record: Record{Attachment: Attachment{Relay: relay, Epoch: 1, Seq: 1}}}
	binary.BigEndian.PutUint64(s.Key[:], uint64(i))
	s.ID = s.Key.ID()
	binary.BigEndian.PutUint64(s.signature[:], uint64(s.ID))
	return s
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// A directory of a whole backbone fits a small machine: 1,000,000 records with
// WEFT_BIG=1, a tenth of that and of the bound otherwise.
func TestAMillionIdleRecordsFit(t *testing.T) {
	n := 100_000
	if os.Getenv("WEFT_BIG") != "" {
		n = 1_000_000
	}
	before := heapNow()
	d := NewDirectory(DirectoryConfig{})
	for i := range n {
		if _, err := d.merge(invent(i, identity.NodeID(1+i%16)), live, false, n); err != nil {
			t.Fatal(err)
		}
	}
	used := heapNow() - before
	t.Logf("%d records: %d MB, %d bytes each", n, used>>20, used/uint64(n))
	if limit := uint64(heapPerMillion) * uint64(n) / 1_000_000; used > limit {
		t.Errorf("%d records take %d bytes of heap, want at most %d", n, used, limit)
	}
	if at, ok := d.RelayOf(invent(4711, 1).ID); !ok || at != identity.NodeID(1+4711%16) {
		t.Errorf("a record is at %v, %v", at, ok)
	}
	runtime.KeepAlive(d)
}

func BenchmarkLookup(b *testing.B) {
	d := NewDirectory(DirectoryConfig{})
	const n = 100_000
	for i := range n {
		if _, err := d.merge(invent(i, 9), live, false, n); err != nil {
			b.Fatal(err)
		}
	}
	id := invent(n/2, 9).ID
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := d.RelayOf(id); !ok {
			b.Fatal("not found")
		}
	}
}

// fill gives a relay records of the last relay's nodes, without looking at
// signatures, as if it had known them for long.
func (s *sim) fill(r *simRelay, from, to int) {
	for i := from; i < to; i++ {
		if _, err := r.dir.merge(invent(i, s.relays[2].self), live, false, to+1); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Relays that differ in 20 of 10,000 records send each other little more than
// these, and nothing when they agree.
func TestOnlyDifferencesAreSent(t *testing.T) {
	s := newSim(t, 1, 3, 20)
	s.run(10 * time30)
	for _, r := range s.relays {
		s.fill(r, 0, 10_000)
	}
	s.run(time30)
	for _, r := range s.relays { // what is attached to the third relay is really there
		for i := range 10_000 {
			id := invent(i, 1).ID
			if at, _ := r.dir.RelayOf(id); at != s.relays[2].self {
				t.Fatalf("record %d is at %v", i, at)
			}
		}
	}
	s.relays[0].part, s.relays[1].part, s.relays[2].part = 0, 1, 1
	s.topology()
	s.run(DefaultGrace / 2)
	for i, n := range s.nodes {
		s.attach(n, s.relays[i%2])
	}
	s.heal()
	before := s.sent
	s.run(2 * time30)
	s.check(1)
	if sent := s.sent - before; sent > 400_000 {
		t.Errorf("%d bytes were sent for 20 records", sent)
	} else {
		t.Logf("%d bytes were sent for 20 records in two rounds of digests", sent)
	}
	before = s.sent
	s.run(4 * time30)
	if sent := s.sent - before; sent > 3*4*2*(digestLen+2000) {
		t.Errorf("%d bytes were sent when nothing had changed", sent)
	}
}

// A relay that comes with an empty directory gets all of it, in pieces.
func TestAnEmptyRelayGetsEverything(t *testing.T) {
	s := newSim(t, 2, 3, 0)
	s.relays[0].part = 1
	s.topology()
	s.run(time30)
	const n = 200
	for range n {
		node := s.newNode()
		s.attach(node, s.relays[1])
	}
	s.run(time30)
	s.heal()
	s.run(time30)
	if got := s.relays[0].dir.countOf(s.relays[1].self); got != n {
		t.Errorf("it has %d of %d records", got, n)
	}
}
