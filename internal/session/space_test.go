package session

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/wire"
)

// ackOf decodes the ACK frame that a space sends.
func ackOf(t *testing.T, sp *space, now time.Time) wire.Frame {
	t.Helper()
	var f wire.Frame
	rest, err := f.Next(sp.appendAck(nil, now))
	if err != nil || len(rest) != 0 || f.Type != wire.TypeAck {
		t.Fatalf("%+v, %d bytes left, %v; want an ACK frame", f, len(rest), err)
	}
	return f
}

func TestDuplicatesAreExactlyWhatWasReceived(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 5))
	now := time.Now()
	for range 50 {
		var sp space
		var got [400]bool
		for range 300 {
			pn := rng.Uint64N(uint64(len(got)))
			if len(sp.recv) > maxRecvSpans-2 {
				break // from here on old numbers are forgotten
			}
			if sp.duplicate(pn) != got[pn] {
				t.Fatalf("duplicate(%d) is %v", pn, !got[pn])
			}
			if !got[pn] {
				sp.received(now, pn, true, false)
				got[pn] = true
			}
		}
		f := ackOf(t, &sp, now)
		if f.Ranges[0].High != sp.largest() {
			t.Fatalf("the ACK begins at %d, the largest is %d", f.Ranges[0].High, sp.largest())
		}
		for i, r := range f.Ranges {
			for pn := r.Low; pn <= r.High; pn++ {
				if !got[pn] {
					t.Fatalf("%d is acknowledged and never came", pn)
				}
				got[pn] = false
			}
			if i == maxSentRanges {
				t.Fatalf("%d ranges in an ACK, at most %d are allowed", len(f.Ranges), maxSentRanges)
			}
		}
		low := f.Ranges[len(f.Ranges)-1].Low
		for pn, missing := range got {
			if missing && (len(f.Ranges) < maxSentRanges || uint64(pn) > low) {
				t.Fatalf("%d came and is not acknowledged", pn)
			}
		}
	}
}

func TestReplayWindowIsBoundedAndNeverTakesANumberTwice(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 5))
	var sp space
	taken := map[uint64]bool{}
	var next uint64
	for range 20000 {
		next += rng.Uint64N(3)
		pn := next - min(next, rng.Uint64N(600))
		if sp.duplicate(pn) {
			continue
		}
		if taken[pn] {
			t.Fatalf("%d is taken twice", pn)
		}
		taken[pn] = true
		sp.received(time.Time{}, pn, false, false)
		if len(sp.recv) > maxRecvSpans {
			t.Fatalf("%d spans are kept, at most %d are allowed", len(sp.recv), maxRecvSpans)
		}
	}
}

func TestAcknowledgedAcksForgetWhatIsBelow(t *testing.T) {
	var sp space
	for _, pn := range []uint64{0, 1, 5, 9, 10, 20} {
		sp.received(time.Time{}, pn, false, false)
	}
	sp.ackAcked(5)
	if !slices.Equal(sp.recv, spans{{5, 6}, {9, 11}, {20, 21}}) {
		t.Errorf("%v is left, want what is not wholly below 5", sp.recv)
	}
	sp.ackAcked(9)
	if !slices.Equal(sp.recv, spans{{9, 11}, {20, 21}}) {
		t.Errorf("%v is left, want what is not wholly below 9", sp.recv)
	}
	for pn, want := range map[uint64]bool{0: true, 3: true, 5: true, 7: false, 9: true, 15: false, 20: true, 21: false} {
		if sp.duplicate(pn) != want {
			t.Errorf("duplicate(%d) is %v", pn, !want)
		}
	}
	sp.ackAcked(100)
	if !slices.Equal(sp.recv, spans{{20, 21}}) || sp.largest() != 20 {
		t.Errorf("%v is left, want the last span whatever was acknowledged", sp.recv)
	}
}

func TestWhenAcknowledgementsAreDue(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		receive func(sp *space)
		at      time.Duration // from now; -1: never
	}{
		"nothing asks for one": {func(sp *space) { sp.received(now, 0, false, false) }, -1},
		"one packet":           {func(sp *space) { sp.received(now, 0, true, false) }, maxAckDelay},
		"the first two packets": {func(sp *space) {
			sp.received(now, 0, true, false)
			sp.received(now, 1, true, false)
		}, 0},
		"one that asks at once": {func(sp *space) { sp.received(now, 0, true, true) }, 0},
		"a gap": {func(sp *space) {
			sp.received(now, 0, false, false)
			sp.received(now, 2, true, false)
		}, 0},
		"a late one": {func(sp *space) {
			sp.received(now, 5, false, false)
			sp.received(now, 4, true, false)
		}, 0},
		"seven of a long row": {func(sp *space) {
			sp.count = earlyPackets
			for pn := range uint64(ackEvery - 1) {
				sp.received(now, pn, true, false)
			}
		}, maxAckDelay},
		"eight of a long row": {func(sp *space) {
			sp.count = earlyPackets
			for pn := range uint64(ackEvery) {
				sp.received(now, pn, true, false)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var sp space
			tt.receive(&sp)
			if tt.at > 0 && sp.ackDue(now.Add(tt.at-1)) {
				t.Error("due too early")
			}
			if tt.at >= 0 && !sp.ackDue(now.Add(tt.at)) {
				t.Error("not due")
			}
			if tt.at < 0 && sp.ackDue(now.Add(time.Hour)) {
				t.Error("due, but nothing asks for it")
			}
			ackOf(t, &sp, now)
			if sp.ackDue(now.Add(time.Hour)) {
				t.Error("still due after it was sent")
			}
		})
	}
}

func TestAckDelayCountsFromTheLargestNumber(t *testing.T) {
	now := time.Now()
	var sp space
	sp.received(now, 7, true, false)
	sp.received(now.Add(10*time.Millisecond), 6, true, false)
	if f := ackOf(t, &sp, now.Add(15*time.Millisecond)); f.Delay != 15*time.Millisecond {
		t.Errorf("the delay is %v, want 15ms", f.Delay)
	}
}

func TestDroppedSpaceKeepsOnlyItsNextNumber(t *testing.T) {
	sp := space{next: 4}
	sp.received(time.Now(), 1, true, true)
	sp.out.write([]byte("hello"))
	sp.drop()
	if !sp.dropped || sp.next != 4 || sp.ackDue(time.Now()) || len(sp.recv) != 0 || len(sp.out.chunks) != 0 {
		t.Errorf("%+v", sp)
	}
}
