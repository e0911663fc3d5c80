package handshake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// A side is one end of a session after the handshake, with its packet numbers.
type side struct {
	*AppKeys
	pn uint64
}

// A packet is what travels between sides.
type packet struct {
	pn    uint64
	phase bool
	body  []byte
}

// newSides returns both ends of a session.
func newSides(t testing.TB) (a, b *side) {
	t.Helper()
	s, err := suiteByID(tls.TLS_AES_128_GCM_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	ab, ba := randomBytes(32), randomBytes(32)
	return &side{AppKeys: newAppKeys(s, ba, ab)}, &side{AppKeys: newAppKeys(s, ab, ba)}
}

func (p packet) header() []byte { return fmt.Appendf(nil, "%v %d", p.phase, p.pn) }

func (p packet) content() string { return fmt.Sprintf("content of packet %d", p.pn) }

func (s *side) send() packet {
	p := packet{pn: s.pn, phase: s.Phase()}
	s.pn++
	p.body = s.Seal(nil, p.header(), []byte(p.content()), p.pn)
	return p
}

func (s *side) open(p packet) error {
	got, err := s.Open(nil, p.header(), p.body, p.pn, p.phase)
	if err == nil && string(got) != p.content() {
		return fmt.Errorf("opened %q, want %q", got, p.content())
	}
	return err
}

func (s *side) mustOpen(t *testing.T, what string, p packet) {
	t.Helper()
	if err := s.open(p); err != nil {
		t.Fatalf("%s (packet %d, phase %v): %v", what, p.pn, p.phase, err)
	}
}

// exchange sends a packet each way and acknowledges both.
func exchange(t *testing.T, a, b *side) {
	t.Helper()
	p := a.send()
	b.mustOpen(t, "first direction", p)
	q := b.send()
	a.mustOpen(t, "second direction", q)
	a.OnAcked(p.pn)
	b.OnAcked(q.pn)
}

func TestKeyUpdateMovesBothDirections(t *testing.T) {
	a, b := newSides(t)
	for round := range uint64(5) {
		exchange(t, a, b)
		a, b = b, a // each side begins in turn
		a.Update()
		if want := round%2 == 0; a.Phase() != want || b.Phase() == want {
			t.Fatalf("round %d: phases %v and %v before the first packet", round, a.Phase(), b.Phase())
		}
		b.mustOpen(t, "first packet of the phase", a.send())
		if a.Phase() != b.Phase() {
			t.Fatalf("round %d: the peer did not follow", round)
		}
		a.mustOpen(t, "answer in the new phase", b.send())
		if a.Updates() != round+1 || b.Updates() != round+1 {
			t.Fatalf("round %d: %d and %d updates", round, a.Updates(), b.Updates())
		}
	}
}

func TestBothSidesMayUpdateAtOnce(t *testing.T) {
	a, b := newSides(t)
	exchange(t, a, b)
	a.Update()
	b.Update()
	p, q := a.send(), b.send()
	b.mustOpen(t, "crossing packet", p)
	a.mustOpen(t, "crossing packet", q)
	if !a.Phase() || !b.Phase() || a.Updates() != 1 || b.Updates() != 1 {
		t.Errorf("phases %v and %v after %d and %d updates; want one update", a.Phase(), b.Phase(), a.Updates(), b.Updates())
	}
	exchange(t, a, b)
}

func TestPacketsReorderedAroundAnUpdateOpen(t *testing.T) {
	for seed := range uint64(20) {
		a, b := newSides(t)
		exchange(t, a, b)
		var sent []packet
		for range 10 {
			sent = append(sent, a.send())
		}
		a.Update()
		for range 10 {
			sent = append(sent, a.send())
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		rng.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
		for _, p := range sent {
			b.mustOpen(t, fmt.Sprintf("seed %d", seed), p)
		}
		if b.Updates() != 1 || b.Failures() != 0 {
			t.Fatalf("seed %d: %d updates and %d failures, want 1 and 0", seed, b.Updates(), b.Failures())
		}
	}
}

func TestReplayedPacketsOfAnOldPhaseDoNotUpdate(t *testing.T) {
	a, b := newSides(t)
	old := a.send()
	b.mustOpen(t, "first", old)
	exchange(t, a, b)
	a.Update()
	exchange(t, a, b)
	// The session drops it for its number; the keys must stay as they are.
	b.mustOpen(t, "replayed from the phase before", old)
	a.Update()
	exchange(t, a, b)
	if err := b.open(old); !errors.Is(err, ErrAuthentication) {
		t.Errorf("replayed from two phases before: %v, want ErrAuthentication", err)
	}
	if b.Updates() != 2 || b.Failures() != 1 {
		t.Errorf("%d updates and %d failures, want 2 and 1", b.Updates(), b.Failures())
	}
	exchange(t, a, b)
}

func TestForgottenKeysDoNotOpen(t *testing.T) {
	a, b := newSides(t)
	exchange(t, a, b)
	late := a.send()
	a.Update()
	exchange(t, a, b)
	b.ForgetOld()
	if err := b.open(late); !errors.Is(err, ErrAuthentication) {
		t.Errorf("packet of a forgotten phase: %v, want ErrAuthentication", err)
	}
	exchange(t, a, b)
	a.Update()
	exchange(t, a, b)
}

func TestFlippedPhaseBitDoesNotUpdate(t *testing.T) {
	a, b := newSides(t)
	exchange(t, a, b)
	p := a.send()
	p.phase = !p.phase
	if err := b.open(p); !errors.Is(err, ErrAuthentication) {
		t.Errorf("flipped phase bit: %v, want ErrAuthentication", err)
	}
	if b.Updates() != 0 || b.Failures() != 1 {
		t.Errorf("%d updates and %d failures, want 0 and 1", b.Updates(), b.Failures())
	}
	exchange(t, a, b)
}

func TestUpdateWaitsForAnAcknowledgementOfItsPhase(t *testing.T) {
	a, b := newSides(t)
	p := a.send()
	a.Update()
	if a.Phase() {
		t.Fatal("updated before anything was acknowledged")
	}
	b.mustOpen(t, "first", p)
	a.mustOpen(t, "its acknowledgement", b.send())
	a.OnAcked(p.pn)
	a.Update()
	if !a.Phase() {
		t.Fatal("not updated after an acknowledgement")
	}
	a.OnAcked(p.pn) // of the phase before
	q := a.send()
	a.OnAcked(p.pn)
	a.Update()
	if !a.Phase() {
		t.Fatal("updated again after an acknowledgement of the phase before")
	}
	a.OnAcked(q.pn) // a lie: the peer has not been seen in this phase
	a.Update()
	if !a.Phase() {
		t.Fatal("updated again before the peer followed")
	}
	b.mustOpen(t, "new phase", q)
	a.mustOpen(t, "answer", b.send())
	a.Update()
	if a.Phase() {
		t.Error("not updated after the peer followed")
	}
}

func TestUpdateIsNeededAfterItsLimit(t *testing.T) {
	a, b := newSides(t)
	a.updateAfter = 3
	for i := range 3 {
		if a.NeedsUpdate() {
			t.Fatalf("update needed after %d packets", i)
		}
		exchange(t, a, b)
	}
	if !a.NeedsUpdate() {
		t.Fatal("no update needed after 3 packets")
	}
	a.Update()
	if a.NeedsUpdate() {
		t.Error("update needed at the start of a phase")
	}
}

func TestPeerThatUpdatesTooFastEndsTheSession(t *testing.T) {
	a, b := newSides(t)
	exchange(t, a, b)
	a.updateWrite() // whatever the rules say
	b.mustOpen(t, "first update", a.send())
	a.updateWrite()
	p := a.send()
	if err := b.open(p); !errors.Is(err, ErrKeyUpdate) {
		t.Errorf("second update before a packet in between: %v, want ErrKeyUpdate", err)
	}
	if !errors.Is(b.Err(), ErrKeyUpdate) {
		t.Errorf("Err() = %v, want ErrKeyUpdate", b.Err())
	}
}

func TestTooManyForgedPacketsEndTheSession(t *testing.T) {
	a, b := newSides(t)
	b.integrityLimit = 3
	forged := packet{pn: 9, body: make([]byte, 40)}
	for i := range 2 {
		if err := b.open(forged); !errors.Is(err, ErrAuthentication) || b.Err() != nil {
			t.Fatalf("forged packet %d: %v, Err() = %v", i, err, b.Err())
		}
	}
	if err := b.open(forged); !errors.Is(err, ErrIntegrityLimit) {
		t.Fatalf("last forged packet: %v, want ErrIntegrityLimit", err)
	}
	if err := b.open(a.send()); !errors.Is(err, ErrIntegrityLimit) || b.Failures() != 3 {
		t.Errorf("good packet after %d failures: %v, want ErrIntegrityLimit", b.Failures(), err)
	}
}

func TestUsedUpKeyEndsTheSession(t *testing.T) {
	a, b := newSides(t)
	a.updateAfter, a.confidentialityLimit = 1, 3
	for i := range 3 {
		if a.NeedsUpdate() || a.Err() != nil {
			t.Fatalf("after %d packets without an acknowledgement: NeedsUpdate %v, Err %v", i, a.NeedsUpdate(), a.Err())
		}
		b.mustOpen(t, "packet", a.send())
	}
	if !errors.Is(a.Err(), ErrConfidentialityLimit) {
		t.Errorf("Err() = %v, want ErrConfidentialityLimit", a.Err())
	}
	e, ok := errors.AsType[*Error](a.Err())
	if !ok || e.Code != codeAEADLimitReached || e.Error() == "" {
		t.Errorf("Err() = %#v, want code %#x", a.Err(), codeAEADLimitReached)
	}
}
