package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// twice returns two slices equal to b whose arrays go on differently. What
// decodes differently was read beyond its end.
func twice(b []byte) (one, two []byte) {
	one = append(bytes.Clone(b), bytes.Repeat([]byte{0x00}, 64)...)[:len(b)]
	two = append(bytes.Clone(b), bytes.Repeat([]byte{0xff}, 64)...)[:len(b)]
	return one, two
}

func FuzzVarint(f *testing.F) {
	for _, v := range []uint64{0, 63, 64, 16383, 16384, 1 << 30, MaxVarint} {
		f.Add(AppendVarint(nil, v))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		one, two := twice(b)
		v, rest, err := Varint(one)
		if w, _, err2 := Varint(two); v != w || (err == nil) != (err2 == nil) {
			t.Fatalf("bytes beyond the end count: %d or %d, %v or %v", v, w, err, err2)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if w, left, err := Varint(AppendVarint(nil, v)); w != v || len(left) != 0 || err != nil || len(rest) >= len(b) {
			t.Fatalf("%d comes back as %d, %d bytes left, %v", v, w, len(left), err)
		}
	})
}

func FuzzFrames(f *testing.F) {
	rng := rand.New(rand.NewPCG(12, 13))
	for _, kind := range frameTypes {
		f.Add(appendFrame(appendFrame(nil, randomFrame(rng, kind)), randomFrame(rng, TypeAck)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rest, rest2 := twice(b)
		for len(rest) > 0 {
			var f, g, h Frame
			before := len(rest)
			var err, err2 error
			rest, err = f.Next(rest)
			rest2, err2 = g.Next(rest2)
			if (err == nil) != (err2 == nil) || err == nil && (!f.equal(&g) || len(rest) != len(rest2)) {
				t.Fatalf("bytes beyond the end count: %+v, %v or %+v, %v", f, err, g, err2)
			}
			if err != nil {
				if !errors.Is(err, ErrMalformed) {
					t.Fatal(err)
				}
				return
			}
			if len(rest) >= before {
				t.Fatalf("%+v takes no bytes", f)
			}
			if len(f.Ranges) > MaxAckRanges {
				t.Fatalf("%d ranges", len(f.Ranges))
			}
			if f.Type == TypeConnectionClose {
				f.Data = f.Data[:min(len(f.Data), MaxReasonLen)]
			}
			again := appendFrame(nil, &f)
			if left, err := h.Next(again); err != nil || len(left) != 0 || !h.equal(&f) {
				t.Fatalf("%+v comes back as %+v, %d bytes left, %v", f, h, len(left), err)
			}
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	f.Add(append(AppendLong(nil, Header{Dst: 1, Src: 2, Number: 3}, 20), make([]byte, 33)...))
	f.Add(append(AppendShort(nil, Header{Space: SpaceApp, Phase: true, Dst: 1}), make([]byte, 20)...))
	f.Add(AppendReset(nil, 1, [ResetTokenLen]byte{2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		one, two := twice(b)
		h, header, payload, rest, err := ParseHeader(one)
		if h2, _, payload2, _, err2 := ParseHeader(two); h != h2 || len(payload) != len(payload2) || (err == nil) != (err2 == nil) {
			t.Fatalf("bytes beyond the end count: %+v, %v or %+v, %v", h, err, h2, err2)
		}
		peeked, peekErr := Peek(one)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrPacketVersion) {
				t.Fatal(err)
			}
			return
		}
		if peekErr != nil || peeked.Dst != h.Dst || peeked.Src != h.Src || peeked.Space != h.Space || peeked.Reset != h.Reset {
			t.Fatalf("Peek says %+v, %v; ParseHeader %+v", peeked, peekErr, h)
		}
		var again []byte
		switch {
		case h.Reset:
			again = AppendReset(nil, h.Dst, h.Token)
		case h.Space == SpaceApp:
			again = append(AppendShort(nil, h), payload...)
		default:
			again = append(AppendLong(nil, h, len(payload)), payload...)
		}
		if !h.Reset && len(header)+len(payload)+len(rest) != len(b) {
			t.Fatalf("%d, %d and %d bytes of %d", len(header), len(payload), len(rest), len(b))
		}
		h2, _, payload2, rest2, err := ParseHeader(again)
		if err != nil || h2 != h || !bytes.Equal(payload2, payload) || len(rest2) != 0 {
			t.Fatalf("%+v comes back as %+v, %d bytes left, %v", h, h2, len(rest2), err)
		}
	})
}

func FuzzParseParams(f *testing.F) {
	rng := rand.New(rand.NewPCG(14, 15))
	for range 4 {
		p := randomParams(rng)
		f.Add(p.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		one, two := twice(b)
		p, err := ParseParams(one)
		if q, err2 := ParseParams(two); p != q || (err == nil) != (err2 == nil) {
			t.Fatalf("bytes beyond the end count: %+v, %v or %+v, %v", p, err, q, err2)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if q, err := ParseParams(p.Append(nil)); err != nil || q != p {
			t.Fatalf("%+v comes back as %+v, %v", p, q, err)
		}
	})
}

func FuzzFullNumber(f *testing.F) {
	f.Add(uint64(0xa82f30ea), uint32(0xa82f9b32))
	f.Fuzz(func(t *testing.T, largest uint64, truncated uint32) {
		largest = min(largest, MaxVarint-1)
		if n := FullNumber(largest, truncated); uint32(n) != truncated || n > MaxVarint {
			t.Fatalf("FullNumber(%#x, %#x) = %#x", largest, truncated, n)
		}
	})
}
