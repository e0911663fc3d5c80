package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/internal/wire"
)

// inject makes an established session send payload as a packet of its own,
// whatever is in it, as a peer gone bad could.
func (s *Session) inject(payload []byte) {
	s.do(func(now time.Time) {
		if s.closing != nil || len(payload) == 0 {
			return
		}
		s.plan.reset()
		s.plan.ctrl = append(s.plan.ctrl, payload...)
		s.plan.eliciting = true
		s.transmit(s.sealApp(now), s.ownPath)
	})
}

// hostileFrames returns frames of all kinds with numbers that are small,
// plausible or huge.
func hostileFrames(rng *rand.Rand) (b []byte) {
	number := func() uint64 {
		switch rng.IntN(4) {
		case 0:
			return rng.Uint64N(8)
		case 1:
			return rng.Uint64N(1 << 14)
		case 2:
			return rng.Uint64N(1 << 30)
		}
		return rng.Uint64N(wire.MaxVarint)
	}
	for range 1 + rng.IntN(6) {
		data := make([]byte, rng.IntN(50))
		switch rng.IntN(14) {
		case 0:
			b = wire.AppendAck(b, []wire.AckRange{{Low: 0, High: rng.Uint64N(40)}}, time.Duration(number()))
		case 1:
			b = wire.AppendValues(b, wire.TypeResetStream, number(), number(), number())
		case 2:
			b = wire.AppendValues(b, wire.TypeStopSending, number(), number())
		case 3:
			b = wire.AppendCrypto(b, number(), data)
		case 4, 5, 6:
			b = wire.AppendStreamHeader(b, rng.Uint64N(8), number(), len(data), rng.IntN(3) == 0, true)
			b = append(b, data...)
		case 7:
			b = wire.AppendValues(b, wire.TypeMaxStreamData, number(), number())
		case 8:
			b = wire.AppendValues(b, wire.TypeMaxStreams, number())
		case 9:
			b = wire.AppendPath(b, wire.TypePathChallenge+uint8(rng.IntN(2)), rng.Uint64())
		case 10:
			b = wire.AppendValues(b, wire.TypeStreamOpen, rng.Uint64N(8), number())
		case 11:
			b = wire.AppendValues(b, wire.TypeStreamAccept, rng.Uint64N(8))
		case 12:
			b = wire.AppendDatagram(b, data)
		case 13:
			b = append(b, wire.TypeHandshakeDone, wire.TypeImmediateAck, byte(rng.IntN(256)))
		}
	}
	return b
}

// hostile lets a peer of a session send payloads, and checks that the session
// lives on or ends with an error, and that its users get away.
func hostile(t *testing.T, payloads [][]byte) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, simnet.Impairment{Delay: time.Millisecond}, simnet.Impairment{Delay: time.Millisecond}, 1, 1200)
		defer p.close()
		a, b := p.dial(t)
		x, y := open(t, a, b)
		if _, err := y.Write(make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
		for _, payload := range payloads {
			a.inject(payload)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for {
			st, err := b.AcceptStream(ctx)
			if err != nil {
				break
			}
			_ = st.SetDeadline(time.Now().Add(time.Second))
			_, _ = st.Read(make([]byte, 100))
			_ = st.Close()
		}
		_ = y.SetDeadline(time.Now().Add(time.Second))
		_, _ = y.Read(make([]byte, 100_000))
		_, _ = x.Session(), y.Close()
	})
}

func TestPeerThatSendsAnythingHarmsOnlyItself(t *testing.T) {
	for seed := range uint64(seeds(300)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			var payloads [][]byte
			for range 1 + rng.IntN(20) {
				payloads = append(payloads, hostileFrames(rng))
			}
			hostile(t, payloads)
		})
	}
}

func FuzzHostilePeer(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(hostileFrames(rand.New(rand.NewPCG(seed, 8))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		hostile(t, [][]byte{b[:min(len(b), 1000)]})
	})
}

// Whoever asks for more than this side would itself take gets it, but not all at
// once, so that no more than that has to be kept until it is acknowledged.
func TestWhatIsKeptForAPeerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := simnet.Impairment{Delay: 20 * time.Millisecond, Loss: 0.02}
		p := newPair(t, bad, bad, 1, 16000)
		p.a.cfg.StreamWindow, p.a.cfg.MaxStreamWindow = 2<<10, 16<<10
		defer p.close()
		a, b := p.dial(t)
		most := p.a.cfg.sessionWindow(p.a.cfg.MaxStreamWindow)
		kept := uint64(0)
		done := make(chan struct{})
		var wg sync.WaitGroup
		for seed := range uint64(3) {
			x, y := open(t, a, b)
			wg.Go(func() { transfer(t, x, y, 2<<20, seed) })
		}
		go func() {
			defer close(done)
			wg.Wait()
		}()
		for over := false; !over; {
			a.do(func(time.Time) { kept = max(kept, a.unacked) })
			select {
			case <-done:
				over = true
			case <-time.After(5 * time.Millisecond):
			}
		}
		if kept > most || kept < most/2 {
			t.Errorf("%d bytes were kept at once, of %d that may be", kept, most)
		}
		a.do(func(time.Time) {
			if a.unacked != 0 || a.pinned.Load() != 0 {
				t.Errorf("%d bytes are kept for the peer, and %d of its own, after all has arrived", a.unacked, a.pinned.Load())
			}
		})
		time.Sleep(time.Second)
	})
}

// Bytes with gaps between them, on many streams, pin no more memory than a session's
// window allows.
func TestPiecesWithGapsOnManyStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, simnet.Impairment{Delay: time.Millisecond}, simnet.Impairment{Delay: time.Millisecond}, 1, 1200)
		p.b.cfg.StreamWindow, p.b.cfg.MaxStreamWindow, p.b.cfg.MaxStreams = 16<<10, 16<<10, 100
		defer p.close()
		a, b := p.dial(t)
		most := int64(0)
		for id := uint64(0); id < 200 && b.Err() == nil; id += 2 {
			for off := uint64(1); off < 2000; off += 200 {
				var payload []byte
				for i := range uint64(100) {
					payload = append(wire.AppendStreamHeader(payload, id, off+2*i, 1, false, true), 1)
				}
				a.inject(payload)
			}
			time.Sleep(2 * time.Millisecond)
			most = max(most, b.pinned.Load())
		}
		if most > b.maxPinned()+recvPerStream || b.Err() == nil {
			t.Errorf("%d bytes were pinned, of %d that may be; the session: %v", most, b.maxPinned(), b.Err())
		}
	})
}
