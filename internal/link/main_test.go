package link

import (
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/racetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	racetest.OneProcessor()
	goleak.VerifyTestMain(m)
}

// newFrame returns a data frame with a packet that starts with text and is n
// bytes long in total, or as long as text.
func newFrame(text string, n int) *frame.Frame {
	f := frame.New(max(n, len(text)))
	f.SetDst(1)
	f.SetSrc(2)
	clear(f.Packet())
	copy(f.Packet(), text)
	return f
}

// inbox collects what a link delivers.
type inbox struct{ frames chan string }

func newInbox() *inbox { return &inbox{make(chan string, 10000)} }

func (b *inbox) onFrame(_ *Link, f *frame.Frame) {
	b.frames <- string(f.Packet())
	f.Release()
}

// all returns what was delivered so far.
func (b *inbox) all() []string {
	var got []string
	for {
		select {
		case s := <-b.frames:
			got = append(got, s)
		default:
			return got
		}
	}
}

// wakes counts Wake calls.
type wakes struct{ c chan struct{} }

func newWakes() *wakes { return &wakes{make(chan struct{}, 100)} }

func (w *wakes) Wake() { w.c <- struct{}{} }
