package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"
)

// The examples of RFC 9000 appendix A.1.
func TestVarintsOfTheRFC(t *testing.T) {
	for _, tt := range []struct {
		hex      string
		want     uint64
		shortest bool // AppendVarint writes the same bytes
	}{
		{"c2197c5eff14e88c", 151288809941952652, true},
		{"9d7f3e7d", 494878333, true},
		{"7bbd", 15293, true},
		{"25", 37, true},
		{"4025", 37, false},
	} {
		b, err := hex.DecodeString(tt.hex)
		if err != nil {
			t.Fatal(err)
		}
		got, rest, err := Varint(append(b, 0xaa))
		if err != nil || got != tt.want || !bytes.Equal(rest, []byte{0xaa}) {
			t.Errorf("Varint(%s) = %d, rest % x, %v; want %d, rest aa", tt.hex, got, rest, err, tt.want)
		}
		if enc := AppendVarint(nil, tt.want); tt.shortest && !bytes.Equal(enc, b) {
			t.Errorf("AppendVarint(%d) = % x, want % x", tt.want, enc, b)
		}
	}
}

func TestVarintsKeepTheirValueAndLength(t *testing.T) {
	check := func(v uint64) {
		t.Helper()
		b := AppendVarint(nil, v)
		if len(b) != VarintLen(v) {
			t.Errorf("%d takes %d bytes, VarintLen says %d", v, len(b), VarintLen(v))
		}
		if got, rest, err := Varint(b); err != nil || got != v || len(rest) != 0 {
			t.Errorf("%d comes back as %d, %d bytes left, %v", v, got, len(rest), err)
		}
		for n := range b {
			if _, _, err := Varint(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%d of %d bytes of %d: %v, want ErrMalformed", n, len(b), v, err)
			}
		}
	}
	for _, v := range []uint64{0, 63, 64, 16383, 16384, 1<<30 - 1, 1 << 30, MaxVarint} {
		check(v)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		check(rng.Uint64() >> (2 + rng.IntN(62)))
	}
}
