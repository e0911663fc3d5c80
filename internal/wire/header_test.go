package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

func TestHeaderBytesAreAsDocumented(t *testing.T) {
	token := [ResetTokenLen]byte{0: 0xa0, 15: 0xaf}
	ids := Header{Dst: 0x0102030405060708, Src: 0x1112131415161718, Number: 0x21222324}
	with := func(f func(h *Header)) Header { h := ids; f(&h); return h }
	for _, tt := range []struct {
		name string
		got  []byte
		want []byte
	}{
		{"initial", AppendLong(nil, ids, 0x30), []byte{
			0xc0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0, 0x34, 0x21, 0x22, 0x23, 0x24,
		}},
		{"handshake", AppendLong(nil, with(func(h *Header) { h.Space = SpaceHandshake }), 0x1234), []byte{
			0xd0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x12, 0x38, 0x21, 0x22, 0x23, 0x24,
		}},
		{"app", AppendShort(nil, ids), []byte{0x40, 1, 2, 3, 4, 5, 6, 7, 8, 0x21, 0x22, 0x23, 0x24}},
		{"app of the other phase", AppendShort(nil, with(func(h *Header) { h.Phase = true })), []byte{
			0x44, 1, 2, 3, 4, 5, 6, 7, 8, 0x21, 0x22, 0x23, 0x24,
		}},
		{"reset", AppendReset(nil, ids.Dst, token), append([]byte{0x60, 1, 2, 3, 4, 5, 6, 7, 8}, token[:]...)},
	} {
		if !bytes.Equal(tt.got, tt.want) {
			t.Errorf("%s: % x, want % x", tt.name, tt.got, tt.want)
		}
	}
}

func TestHeaderLengthsAreAsNamed(t *testing.T) {
	for name, tt := range map[string]struct{ got, want int }{
		"long":  {len(AppendLong(nil, Header{}, 0)), LongHeaderLen},
		"short": {len(AppendShort(nil, Header{})), ShortHeaderLen},
		"reset": {len(AppendReset(nil, 0, [ResetTokenLen]byte{})), ResetLen},
	} {
		if tt.got != tt.want {
			t.Errorf("%s header has %d bytes, want %d", name, tt.got, tt.want)
		}
	}
}

// randomHeader returns a header of any kind but a reset.
func randomHeader(rng *rand.Rand) Header {
	h := Header{Space: Space(rng.IntN(int(NumSpaces))), Dst: rng.Uint64(), Number: rng.Uint32()}
	if h.Space == SpaceApp {
		h.Phase = rng.IntN(2) == 0
	} else {
		h.Src = rng.Uint64()
	}
	return h
}

func TestPacketsOfAFrameComeBackOneByOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		type packet struct {
			h       Header
			payload []byte
		}
		var packets []packet
		var b []byte
		for len(packets) == 0 || packets[len(packets)-1].h.Space != SpaceApp && len(packets) < 3 {
			p := packet{randomHeader(rng), make([]byte, rng.IntN(100))}
			for i := range p.payload {
				p.payload[i] = byte(rng.Uint32())
			}
			if p.h.Space == SpaceApp {
				b = AppendShort(b, p.h)
			} else {
				b = AppendLong(b, p.h, len(p.payload))
			}
			b = append(b, p.payload...)
			packets = append(packets, p)
		}
		rest := b
		for i, p := range packets {
			h, header, payload, next, err := ParseHeader(rest)
			if err != nil || h != p.h || !bytes.Equal(payload, p.payload) {
				t.Fatalf("packet %d of %d: %+v with %d bytes, %v; want %+v with %d", i, len(packets), h, len(payload), err, p.h, len(p.payload))
			}
			if !bytes.Equal(append(bytes.Clone(header), payload...), rest[:len(rest)-len(next)]) {
				t.Fatalf("packet %d: header and payload are not the packet", i)
			}
			rest = next
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes are left", len(rest))
		}
	}
}

func TestResetComesBackWithItsToken(t *testing.T) {
	token := [ResetTokenLen]byte{1, 2, 3}
	b := append(AppendReset(nil, 42, token), "padding"...)
	for name, parse := range map[string]func() (Header, error){
		"Peek":        func() (Header, error) { return Peek(b) },
		"ParseHeader": func() (Header, error) { h, _, _, _, err := ParseHeader(b); return h, err },
	} {
		if h, err := parse(); err != nil || h != (Header{Reset: true, Dst: 42, Token: token}) {
			t.Errorf("%s gives %+v, %v", name, h, err)
		}
	}
}

func TestMalformedHeadersAreRefused(t *testing.T) {
	long := AppendLong(nil, Header{Dst: 1, Src: 2}, 20)
	change := func(i int, c byte) []byte { b := bytes.Clone(long); b[i] = c; return append(b, make([]byte, 20)...) }
	for name, tt := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":                      {nil, ErrMalformed},
		"short header cut":             {AppendShort(nil, Header{})[:ShortHeaderLen-1], ErrMalformed},
		"long header cut":              {long[:LongHeaderLen-1], ErrMalformed},
		"reset cut":                    {AppendReset(nil, 1, [ResetTokenLen]byte{})[:ResetLen-1], ErrMalformed},
		"payload cut":                  {append(bytes.Clone(long), make([]byte, 19)...), ErrMalformed},
		"length without packet number": {change(19, 3), ErrMalformed},
		"unknown kind":                 {change(0, 0xe0), ErrMalformed},
		"other version":                {change(1, Version+1), ErrPacketVersion},
		"other version, cut":           {change(1, Version+1)[:ShortHeaderLen], ErrPacketVersion},
	} {
		if _, _, _, _, err := ParseHeader(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// The first two are RFC 9000 appendix A.3, whose example has 16 bits, with 32.
func TestFullNumber(t *testing.T) {
	for _, tt := range []struct {
		largest   uint64
		truncated uint32
		want      uint64
	}{
		{0xa82f30ea, 0xa82f9b32, 0xa82f9b32},
		{0x1_a82f30ea, 0xa82f9b32, 0x1_a82f9b32},
		{0, 0, 0},
		{0, 7, 7},
		{0xffffffff, 0, 0x1_00000000},
		{0xfffffff0, 5, 0x1_00000005},
		{0x1_00000005, 0xfffffff0, 0xfffffff0},
		{0x5_00000000, 0xffffffff, 0x4_ffffffff},
		{0x5_7fffffff, 0x80000000, 0x5_80000000},
		{0, 0xffffffff, 0xffffffff},               // there is nothing before the first 2^32
		{MaxVarint - 1, 3, MaxVarint - 1<<32 + 4}, // nor behind the last
	} {
		if got := FullNumber(tt.largest, tt.truncated); got != tt.want {
			t.Errorf("FullNumber(%#x, %#x) = %#x, want %#x", tt.largest, tt.truncated, got, tt.want)
		}
	}
}

func TestNumbersNearTheLargestAreRecovered(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 10000 {
		largest := rng.Uint64N(1 << 61)
		pn := largest + rng.Uint64N(1<<31)
		if rng.IntN(2) == 0 {
			pn = largest - min(largest, rng.Uint64N(1<<31-1))
		}
		if got := FullNumber(largest, uint32(pn)); got != pn {
			t.Fatalf("with %#x as the largest, %#x comes back as %#x", largest, pn, got)
		}
	}
}
