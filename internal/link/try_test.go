//go:build unix

package link

import (
	"encoding/binary"
	"sync"
	"testing"

	"github.com/weftnet/weft/internal/frame"
)

// urgent makes a small urgent frame with a number.
func urgent(n uint64) *frame.Frame {
	f := frame.New(1000)
	f.SetSrc(1)
	f.SetDst(2)
	binary.BigEndian.PutUint64(f.Packet(), n)
	f.SetUrgent()
	return f
}

// Quick writes of many goroutines, more than the reader and the kernel take at
// once, arrive whole and, of each goroutine, in order.
func TestQuickWritesArriveWholeAndInOrder(t *testing.T) {
	const senders, each = 8, 3000
	var mu sync.Mutex
	next := make([]uint64, senders)
	all := make(chan struct{})
	first := make(chan struct{})
	got := 0
	a, _ := tcpPair(t, nil, func(_ *Link, f *frame.Frame) {
		defer f.Release()
		if got++; got == 1 {
			<-first // until the kernel's buffers are full
		}
		n := binary.BigEndian.Uint64(f.Packet())
		who := n >> 32
		if seq := n & 0xffffffff; seq != next[who] || len(f.Packet()) != 1000 {
			t.Errorf("sender %d: number %d and %d bytes, want number %d", who, seq, len(f.Packet()), next[who])
		}
		if next[who]++; got == senders*each {
			close(all)
		}
	})
	if a.quick == nil {
		t.Fatal("TCP cannot write quickly")
	}
	var wg sync.WaitGroup
	waker := newWakes()
	var once sync.Once
	for s := range uint64(senders) {
		wg.Go(func() {
			for n := range uint64(each) {
				mu.Lock()
				for !a.Ready(waker) {
					once.Do(func() { close(first) })
					<-waker.c
				}
				err := a.Send(urgent(s<<32 | n))
				mu.Unlock()
				if err != nil {
					t.Errorf("frame %d: %v", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	once.Do(func() { close(first) })
	<-all
}

// A link that has failed takes no quick write either, and says why.
func TestQuickWriteToALinkThatIsGone(t *testing.T) {
	a, b := tcpPair(t, func(_ *Link, f *frame.Frame) { f.Release() }, func(_ *Link, f *frame.Frame) { f.Release() })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	<-a.Done()
	if err := a.Send(urgent(1)); err == nil {
		t.Error("a link that is gone took a frame")
	}
	if n := a.Counters().DroppedClosed; n != 1 {
		t.Errorf("%d frames counted as dropped, want 1", n)
	}
}

func TestQuickWritesDoNotAllocate(t *testing.T) {
	a, _ := tcpPair(t, nil, func(_ *Link, f *frame.Frame) { f.Release() })
	if n := testing.AllocsPerRun(1000, func() {
		if err := a.Send(urgent(0)); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("%v allocations for each", n)
	}
}
