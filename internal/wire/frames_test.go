package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// appendFrame encodes a decoded frame again. STREAM frames say their length,
// so that others can follow.
func appendFrame(b []byte, f *Frame) []byte {
	switch f.Type {
	case TypePadding, TypePing, TypeHandshakeDone, TypeImmediateAck:
		return append(b, f.Type)
	case TypeAck:
		return AppendAck(b, f.Ranges, f.Delay)
	case TypeResetStream:
		return AppendValues(b, f.Type, f.ID, f.Value, f.Final)
	case TypeStopSending, TypeMaxStreamData, TypeStreamOpen:
		return AppendValues(b, f.Type, f.ID, f.Value)
	case TypeCrypto:
		return AppendCrypto(b, f.Off, f.Data)
	case TypeStream:
		return append(AppendStreamHeader(b, f.ID, f.Off, len(f.Data), f.Fin, true), f.Data...)
	case TypeMaxData, TypeMaxStreams:
		return AppendValues(b, f.Type, f.Value)
	case TypePathChallenge, TypePathResponse:
		return AppendPath(b, f.Type, f.Value)
	case TypeConnectionClose:
		return AppendClose(b, f.Value, string(f.Data))
	case TypeDatagram:
		return AppendDatagram(b, f.Data)
	case TypeCandidates:
		return AppendCandidates(b, f.Value, f.Data)
	case TypeStreamAccept:
		return AppendValues(b, f.Type, f.ID)
	}
	panic(fmt.Sprintf("no such frame: %#x", f.Type))
}

// equal reports whether two decoded frames say the same.
func (f *Frame) equal(g *Frame) bool {
	if f.Type != g.Type {
		return false
	}
	switch f.Type {
	case TypeAck:
		return f.Delay == g.Delay && reflect.DeepEqual(f.Ranges, g.Ranges)
	case TypeResetStream:
		return f.ID == g.ID && f.Value == g.Value && f.Final == g.Final
	}
	return f.Fin == g.Fin && f.ID == g.ID && f.Off == g.Off && f.Value == g.Value && bytes.Equal(f.Data, g.Data)
}

var frameTypes = []uint8{
	TypePadding, TypePing, TypeAck, TypeResetStream, TypeStopSending, TypeCrypto, TypeStream, TypeMaxData,
	TypeMaxStreamData, TypeMaxStreams, TypePathChallenge, TypePathResponse, TypeConnectionClose,
	TypeHandshakeDone, TypeImmediateAck, TypeDatagram, TypeStreamOpen, TypeStreamAccept,
	TypeCandidates,
}

// randomFrame returns a frame of a type with random content.
func randomFrame(rng *rand.Rand, kind uint8) *Frame {
	number := func() uint64 { return rng.Uint64() >> (2 + rng.IntN(62)) }
	f := &Frame{Type: kind}
	data := func() {
		f.Data = make([]byte, rng.IntN(300))
		for i := range f.Data {
			f.Data[i] = byte(rng.Uint32())
		}
	}
	switch kind {
	case TypeAck:
		f.Delay = time.Duration(rng.IntN(1e6)) * time.Microsecond
		for high := rng.Uint64N(1 << 40); len(f.Ranges) < MaxAckRanges; {
			low := high - min(high, rng.Uint64N(1000))
			f.Ranges = append(f.Ranges, AckRange{Low: low, High: high})
			gap := 2 + rng.Uint64N(1000)
			if low < gap || rng.IntN(8) == 0 {
				break
			}
			high = low - gap
		}
	case TypeResetStream:
		f.ID, f.Value, f.Final = number(), number(), number()
	case TypeStopSending, TypeMaxStreamData, TypeStreamOpen:
		f.ID, f.Value = number(), number()
	case TypeCrypto:
		f.Off = number() / 2
		data()
	case TypeStream:
		f.ID, f.Off, f.Fin = number(), number()/2*uint64(rng.IntN(2)), rng.IntN(2) == 0
		data()
	case TypeMaxData, TypeMaxStreams:
		f.Value = number()
	case TypePathChallenge, TypePathResponse:
		f.Value = rng.Uint64()
	case TypeConnectionClose:
		f.Value = number()
		data()
		f.Data = f.Data[:min(len(f.Data), MaxReasonLen)]
	case TypeCandidates:
		f.Value = number()
		data()
	case TypeDatagram:
		data()
	case TypeStreamAccept:
		f.ID = number()
	}
	return f
}

func TestEveryFrameComesBackAndEveryPartOfItIsMalformed(t *testing.T) {
	for _, kind := range frameTypes {
		t.Run(fmt.Sprintf("%#02x", kind), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(kind), 9))
			var got Frame
			for range 200 {
				want := randomFrame(rng, kind)
				b := appendFrame(nil, want)
				rest, err := got.Next(append(b, "rest"...))
				if err != nil || string(rest) != "rest" || !got.equal(want) {
					t.Fatalf("%+v comes back as %+v, rest %q, %v", want, got, rest, err)
				}
				for n := range b {
					if _, err := got.Next(b[:n]); !errors.Is(err, ErrMalformed) {
						t.Fatalf("%d of %d bytes of %+v: %v, want ErrMalformed", n, len(b), want, err)
					}
				}
			}
		})
	}
}

func TestFramesOfAPacketComeBackInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 11))
	var got Frame
	for range 200 {
		var want []*Frame
		var b []byte
		for range 1 + rng.IntN(20) {
			f := randomFrame(rng, frameTypes[rng.IntN(len(frameTypes))])
			want = append(want, f)
			b = appendFrame(b, f)
		}
		for i, w := range want {
			var err error
			if b, err = got.Next(b); err != nil || !got.equal(w) {
				t.Fatalf("frame %d of %d: %+v, %v; want %+v", i, len(want), got, err, w)
			}
		}
		if len(b) != 0 {
			t.Fatalf("%d bytes are left", len(b))
		}
	}
}

func TestStreamFrameWithoutLengthTakesTheRestOfThePacket(t *testing.T) {
	for _, off := range []uint64{0, 1000} {
		for _, fin := range []bool{false, true} {
			b := append(AppendStreamHeader(nil, 5, off, 4, fin, false), "data"...)
			var f Frame
			rest, err := f.Next(b)
			if want := (Frame{Type: TypeStream, ID: 5, Off: off, Fin: fin, Data: []byte("data")}); err != nil || len(rest) != 0 || !f.equal(&want) {
				t.Errorf("offset %d, FIN %v: %+v, %d bytes left, %v", off, fin, f, len(rest), err)
			}
		}
	}
}

func TestStreamHeaderIsNeverLongerThanStreamOverhead(t *testing.T) {
	if n := len(AppendStreamHeader(nil, MaxVarint, MaxVarint, 0, true, false)); n != StreamOverhead {
		t.Errorf("the longest header has %d bytes, StreamOverhead is %d", n, StreamOverhead)
	}
}

func TestFrameBytesAreAsDocumented(t *testing.T) {
	for name, tt := range map[string]struct{ got, want []byte }{
		"ACK":              {AppendAck(nil, []AckRange{{7, 9}, {2, 4}, {0, 0}}, 50*time.Microsecond), []byte{0x02, 9, 50, 2, 2, 1, 2, 0, 0}},
		"ACK, delay below": {AppendAck(nil, []AckRange{{0, 0}}, -time.Second), []byte{0x02, 0, 0, 0, 0}},
		"STREAM":           {AppendStreamHeader(nil, 4, 0, 9, false, false), []byte{0x08, 4}},
		"STREAM, all bits": {AppendStreamHeader(nil, 4, 5, 9, true, true), []byte{0x0f, 4, 5, 9}},
		"CRYPTO":           {AppendCrypto(nil, 3, []byte("ab")), []byte{0x06, 3, 2, 'a', 'b'}},
		"CANDIDATES":       {AppendCandidates(nil, 7, []byte("ab")), []byte{0x34, 7, 2, 'a', 'b'}},
		"DATAGRAM":         {AppendDatagram(nil, []byte("ab")), []byte{0x31, 2, 'a', 'b'}},
		"CONNECTION_CLOSE": {AppendClose(nil, 10, "no"), []byte{0x1c, 10, 2, 'n', 'o'}},
		"PATH_CHALLENGE":   {AppendPath(nil, TypePathChallenge, 0x0102030405060708), []byte{0x1a, 1, 2, 3, 4, 5, 6, 7, 8}},
		"RESET_STREAM":     {AppendValues(nil, TypeResetStream, 1, 2, 100), []byte{0x04, 1, 2, 0x40, 100}},
	} {
		if !bytes.Equal(tt.got, tt.want) {
			t.Errorf("%s: % x, want % x", name, tt.got, tt.want)
		}
	}
}

func TestCloseReasonIsCut(t *testing.T) {
	var f Frame
	if _, err := f.Next(AppendClose(nil, 1, string(make([]byte, MaxReasonLen+9)))); err != nil || len(f.Data) != MaxReasonLen {
		t.Errorf("a reason of %d bytes arrives, %v", len(f.Data), err)
	}
}

func TestContradictoryFramesAreMalformed(t *testing.T) {
	ack := func(v ...uint64) []byte { return AppendValues(nil, TypeAck, v...) }
	for name, b := range map[string][]byte{
		"nothing":                         nil,
		"unknown type":                    {0x3f},
		"two-byte type":                   {0x40, 0x01},
		"ACK of a range below zero":       ack(5, 0, 0, 6),
		"ACK of a gap below zero":         ack(5, 0, 1, 2, 2, 0),
		"ACK of a second range below":     ack(9, 0, 1, 2, 2, 4),
		"ACK of more ranges than come":    ack(9, 0, 2, 0, 0, 0),
		"ACK of very many ranges":         ack(9, 0, MaxVarint, 0),
		"STREAM beyond the last offset":   append(AppendStreamHeader(nil, 1, MaxVarint, 1, false, true), 'x'),
		"STREAM, the same to the end":     append(AppendStreamHeader(nil, 1, MaxVarint, 1, false, false), 'x'),
		"CRYPTO beyond the last offset":   AppendCrypto(nil, MaxVarint, []byte("x")),
		"candidates that are too many":    AppendCandidates(nil, 1, make([]byte, MaxCandidates+1)),
		"DATAGRAM longer than the packet": {TypeDatagram, 2, 'x'},
	} {
		var f Frame
		if rest, err := f.Next(b); !errors.Is(err, ErrMalformed) || rest != nil {
			t.Errorf("%s: %+v, rest % x, %v; want ErrMalformed", name, f, rest, err)
		}
	}
}

func TestMoreAckRangesThanAreKeptAreStillChecked(t *testing.T) {
	var ranges []AckRange
	for i := range uint64(2 * MaxAckRanges) {
		ranges = append(ranges, AckRange{Low: 1000 - 3*i, High: 1000 - 3*i})
	}
	b := AppendAck(nil, ranges, 0)
	var f Frame
	if rest, err := f.Next(b); err != nil || len(rest) != 0 || !reflect.DeepEqual(f.Ranges, ranges[:MaxAckRanges]) {
		t.Errorf("%d ranges, %d bytes left, %v; want the first %d", len(f.Ranges), len(rest), err, MaxAckRanges)
	}
	b[len(b)-1] = 0x3f // the last range grows, but stays above zero
	if _, err := f.Next(b); err != nil {
		t.Error(err)
	}
	if _, err := f.Next(b[:len(b)-1]); !errors.Is(err, ErrMalformed) {
		t.Errorf("without its last range: %v, want ErrMalformed", err)
	}
}

func TestDecodingTypicalPacketsDoesNotAllocate(t *testing.T) {
	data := make([]byte, 1000)
	ack := AppendAck(nil, []AckRange{{90, 100}, {50, 80}, {1, 2}}, time.Millisecond)
	for name, b := range map[string][]byte{
		"data":     append(AppendStreamHeader(bytes.Clone(ack), 4, 1<<20, 0, true, false), data...),
		"ACK":      ack,
		"control":  AppendPath(AppendValues(AppendValues(nil, TypeMaxStreamData, 4, 1<<20), TypeResetStream, 4, 1, 9), TypePathChallenge, 1),
		"datagram": AppendDatagram(AppendClose(nil, 1, "x"), data),
		"crypto":   AppendCrypto(bytes.Clone(ack), 0, data),
	} {
		var f Frame
		allocs := testing.AllocsPerRun(100, func() {
			for rest := b; len(rest) > 0; {
				var err error
				if rest, err = f.Next(rest); err != nil {
					t.Fatal(err)
				}
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations a packet, want none", name, allocs)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	packet := AppendAck(nil, []AckRange{{90, 100}, {50, 80}}, time.Millisecond)
	packet = append(AppendStreamHeader(packet, 4, 1<<20, 0, true, false), make([]byte, 1000)...)
	var f Frame
	b.ReportAllocs()
	for b.Loop() {
		for rest := packet; len(rest) > 0; {
			var err error
			if rest, err = f.Next(rest); err != nil {
				b.Fatal(err)
			}
		}
	}
}
