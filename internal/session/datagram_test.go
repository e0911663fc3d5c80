package session

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// datagramsOf collects what comes for applications.
func datagramsOf(s *Session) <-chan []byte {
	in := make(chan []byte, earlyDatagrams)
	s.HandleDatagrams(func(b []byte) { in <- bytes.Clone(b) })
	return in
}

func TestDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		in := datagramsOf(b)
		for _, size := range []int{0, 1, 500, a.MaxDatagram()} {
			want := bytes.Repeat([]byte{7}, size)
			if err := a.SendDatagram(want); err != nil {
				t.Fatal(err)
			}
			if got := <-in; !bytes.Equal(got, want) {
				t.Errorf("datagram of %d bytes: got %d", size, len(got))
			}
		}
		var large *TooLargeError
		if err := a.SendDatagram(make([]byte, 1200)); !errors.As(err, &large) || large.Max != a.MaxDatagram() {
			t.Errorf("too large: %v", err)
		}
		time.Sleep(time.Second)
		if len(in) > 0 {
			t.Errorf("%d more", len(in))
		}
	})
}

// What comes before anybody handles datagrams waits, as far as there is room.
func TestEarlyDatagramsWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, ten, ten, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		for i := range earlyDatagrams + 10 {
			if err := a.SendDatagram([]byte{1, 0, byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if n := b.Stats().DatagramsDropped; n != 10 {
			t.Errorf("%d datagrams were dropped, want 10", n)
		}
		in := datagramsOf(b)
		if err := a.SendDatagram([]byte{1, 0, 42}); err != nil {
			t.Fatal(err)
		}
		for i := range earlyDatagrams {
			if got := <-in; !bytes.Equal(got, []byte{1, 0, byte(i)}) {
				t.Fatalf("got %x, want number %d", got, i)
			}
		}
		if got := <-in; got[2] != 42 {
			t.Errorf("then came %x", got)
		}
	})
}

// greeting configures a layer that greets, each time with something else.
func greeting() Config {
	var n atomic.Int32
	return Config{Greeting: func() ([]byte, error) { return []byte{byte(n.Add(1))}, nil }}
}

func TestLayersGreetInTheHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPairWith(t, ten, ten, 1, 1200, greeting())
		defer p.close()
		a, b := p.dial(t)
		ownA, peersA := a.Greetings()
		ownB, peersB := b.Greetings()
		if !bytes.Equal(ownA, peersB) || !bytes.Equal(ownB, peersA) || len(ownA) == 0 {
			t.Errorf("a said %x and heard %x, b said %x and heard %x", ownA, peersA, ownB, peersB)
		}
	})
}

func TestALayersDatagramsAreApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPairWith(t, ten, ten, 1, 1200, greeting())
		defer p.close()
		a, b := p.dial(t)
		in := datagramsOf(b)
		for i := range 10 {
			if err := a.SendDatagram([]byte{1, 0, byte(i)}); err != nil {
				t.Fatal(err)
			}
			if err := a.SendLayerDatagram(t.Context(), []byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 10 {
			if got := <-in; !bytes.Equal(got, []byte{1, 0, byte(i)}) {
				t.Errorf("application got %x", got)
			}
			buf := make([]byte, 10)
			if n, err := b.ReceiveLayerDatagram(t.Context(), buf); err != nil || n != 1 || buf[0] != byte(i) {
				t.Errorf("layer got %x, %v", buf[:n], err)
			}
		}
		var large *TooLargeError
		if err := a.SendLayerDatagram(t.Context(), make([]byte, a.MaxLayerDatagram()+1)); !errors.As(err, &large) || large.Max != a.MaxLayerDatagram() {
			t.Errorf("too large: %v", err)
		}
	})
}

// A full queue makes the layer wait and loses nothing.
func TestALayersDatagramsWaitForRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		slow := simnet.Impairment{Delay: 10 * time.Millisecond, Rate: 1 << 20}
		p := newPairWith(t, slow, slow, 1, 1200, greeting())
		defer p.close()
		a, b := p.dial(t)
		const datagrams = 1000
		go func() {
			for range datagrams {
				if err := a.SendLayerDatagram(t.Context(), make([]byte, 1000)); err != nil {
					t.Error(err)
				}
			}
		}()
		for range datagrams {
			if _, err := b.ReceiveLayerDatagram(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		var err error
		for range 2 * layerOutBytes / 1000 {
			if err = a.SendLayerDatagram(ended, make([]byte, 1000)); err != nil {
				break
			}
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("without room and with an ended context: %v", err)
		}
	})
}
