package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func randomParams(rng *rand.Rand) Params {
	number := func() uint64 { return rng.Uint64() >> (2 + rng.IntN(62)) }
	p := Params{
		OrigDst: rng.Uint64(), Src: rng.Uint64(), Instance: rng.Uint64(),
		MaxData: number(), MaxStream: number(), MaxStreams: number(), MaxDatagram: number(),
		MaxAckDelay: time.Duration(rng.IntN(1<<14)) * time.Millisecond,
		Layer:       strings.Repeat("n", rng.IntN(maxLayerName+1)),
		Greeting:    strings.Repeat("\x00\xff", rng.IntN(MaxGreeting/2+1)),
	}
	binary.BigEndian.PutUint64(p.ResetToken[:], rng.Uint64())
	if rng.IntN(2) == 0 {
		p.OrigDst = 0
	}
	return p
}

func TestParamsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		want := randomParams(rng)
		if got, err := ParseParams(want.Append(nil)); err != nil || got != want {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
		}
	}
}

// param encodes one parameter.
func param(id uint64, v ...byte) []byte {
	b := AppendVarint(nil, id)
	b = AppendVarint(b, uint64(len(v)))
	return append(b, v...)
}

func TestParamsComeInAnyOrderAmongUnknownOnes(t *testing.T) {
	want := Params{Src: 1, Instance: 2, Layer: "native", ResetToken: [ResetTokenLen]byte{9}}
	b := join(
		param(0x7fff, 1, 2, 3),
		param(paramLayer, []byte("native")...),
		param(paramResetToken, want.ResetToken[:]...),
		param(0x1b),
		param(paramInstance, 0, 0, 0, 0, 0, 0, 0, 2),
		param(paramSrc, 0, 0, 0, 0, 0, 0, 0, 1),
	)
	if got, err := ParseParams(b); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestMalformedParamsAreRefused(t *testing.T) {
	good := (&Params{Layer: "native"}).Append(nil)
	var many []byte
	for id := range uint64(maxParams) {
		many = append(many, param(0x8000+id)...)
	}
	for name, b := range map[string][]byte{
		"nothing":                nil,
		"cut":                    good[:len(good)-1],
		"identifier alone":       append(bytes.Clone(good), 0x21),
		"twice":                  append(bytes.Clone(good), param(paramLayer, 'a')...),
		"unknown one twice":      join(good, param(0x21), param(0x21)),
		"too many":               append(bytes.Clone(good), many...),
		"long greeting":          append(bytes.Clone(good), param(paramGreeting, make([]byte, MaxGreeting+1)...)...),
		"short session ID":       append(bytes.Clone(good), param(paramOrigDst, 1, 2, 3)...),
		"long number":            append(bytes.Clone(good), param(paramOrigDst, 0, 0, 0, 0, 0, 0, 0, 0, 0)...),
		"token of 15 bytes":      bytes.Replace(good, param(paramResetToken, make([]byte, 16)...), param(paramResetToken, make([]byte, 15)...), 1),
		"number with more after": bytes.Replace(good, param(paramMaxData, 0), param(paramMaxData, 0, 0), 1),
		"empty number":           bytes.Replace(good, param(paramMaxData, 0), param(paramMaxData), 1),
		"ACK delay of 2^14 ms":   bytes.Replace(good, param(paramMaxAckDelay, 0), param(paramMaxAckDelay, 0x80, 0, 0x40, 0), 1),
		"layer of 33 bytes":      bytes.Replace(good, param(paramLayer, []byte("native")...), param(paramLayer, make([]byte, 33)...), 1),
		"no layer":               bytes.Replace(good, param(paramLayer, []byte("native")...), nil, 1),
		"no token":               bytes.Replace(good, param(paramResetToken, make([]byte, 16)...), nil, 1),
	} {
		if p, err := ParseParams(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v; want ErrMalformed", name, p, err)
		}
	}
}
