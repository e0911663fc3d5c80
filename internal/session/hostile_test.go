package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
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
