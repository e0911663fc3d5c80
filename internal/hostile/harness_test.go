package hostile

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// Without an attack nobody is worse off, and the heap does not grow.
func TestNothingHappensWithoutAnAttack(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).befriend(w, victim, r)
		b.withstand(assault{play: func(ctx context.Context) { <-ctx.Done() }})
	})
}

// The same on direct paths.
func TestNothingHappensOnDirectPathsWithoutAnAttack(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		w.place("victim", "friend")
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).nearby(w, r).befriend(w, victim, r)
		b.withstand(assault{play: func(ctx context.Context) { <-ctx.Done() }})
	})
}

// What shares a link with a bystander's and takes more than a fair share of it is
// seen: otherwise no other test here would mean anything.
func TestContentionIsSeen(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		b := w.bystanders(r)
		calm := b.measure()[0]
		to, from := w.connect(w.node("victim", overlay.Config{}, r), b[0].to)
		w.wg.Go(func() { _, _ = io.Copy(io.Discard, from) })
		w.wg.Go(func() {
			for {
				if _, err := to.Write(pattern); err != nil {
					return
				}
			}
		})
		time.Sleep(leadIn)
		busy := b.measure()[0]
		_, _ = to.Close(), from.Close()
		if complaints := busy.worseThan(calm); len(complaints) == 0 || calm.worseThan(calm) != nil {
			w.Errorf("%v beside a transfer over the same link, %v without; complaints: %q", busy, calm, complaints)
		}
	})
}

// Whoever is on the way sees the frames, may change them, and is seen if they hold
// what is nobody's business.
func TestTheWayIsWatched(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim := w.node("victim", overlay.Config{}, r)
		var up, down int
		w.onPath(victim, r, &onPath{
			up:   func(f *frame.Frame) []*frame.Frame { up++; return []*frame.Frame{f} },
			down: func(f *frame.Frame) []*frame.Frame { down++; return []*frame.Frame{f, f.Clone()} },
		})
		b := w.bystanders(r).befriend(w, victim, r)
		b.measure()
		if up == 0 || down == 0 {
			w.Errorf("%d frames passed to the relay, %d to the node", up, down)
		}
		f := frame.New(len(confidence))
		copy(f.Packet(), confidence)
		if !w.seen(f) || !bytes.Contains(f.Bytes(), []byte(confidence)) {
			w.Error("a frame in the clear is not seen")
		}
		f.Release()
	})
}

func TestWhatTheHeapMayGrowBy(t *testing.T) {
	may := []cost{{"MaxLinks", 3, 1 << 20}, {"Backlog", 2, 1 << 10}}
	const allowed = noise + 3<<20 + 2<<10
	if got := tooMuch(allowed, may); got != "" {
		t.Error(got)
	}
	if got := tooMuch(allowed+1, may); !strings.Contains(got, "MaxLinks: 3 of 1048576") {
		t.Errorf("complaint %q", got)
	}
	kept := make([][]byte, 1)
	before := liveHeap()
	kept[0] = make([]byte, 10<<20)
	if grown := liveHeap() - before; grown < 10<<20 || grown > 11<<20 {
		t.Errorf("the heap grew by %d bytes with %d more", grown, len(kept[0]))
	}
}
