package udp

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/weftnet/weft/internal/frame"
)

func TestFirstByteTellsWhomADatagramIsFor(t *testing.T) {
	f := numbered(0, 8).Bytes()
	for _, tt := range []struct {
		name string
		in   []byte
		want kind
	}{
		{"nothing", nil, kindMalformed},
		{"STUN", []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, kindOther},
		{"a frame", f, kindFrame},
		{"a frame without packet", frame.New(0).Bytes(), kindFrame},
		{"a frame cut short", f[:len(f)-1], kindMalformed},
		{"a header cut short", f[:frame.HeaderLen-1], kindMalformed},
		{"something behind a frame", append(bytes.Clone(f), 0), kindMalformed},
		{"QUIC", []byte{0xc0, 0, 0, 0, 1}, kindOther},
		{"another version", []byte{0x20}, kindOther},
	} {
		if got := classify(tt.in); got != tt.want {
			t.Errorf("%s: kind %d, want %d", tt.name, got, tt.want)
		}
	}
}

func FuzzMessage(f *testing.F) {
	one := numbered(1, 30).Bytes()
	f.Add(one, 0)
	f.Add(bytes.Repeat(one, 3), len(one))
	f.Add(append(bytes.Repeat(one, 3), 0x10), len(one))
	f.Add([]byte{0, 1, 0, 0}, 2)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		var out []byte // what was handed up, in order
		frames, others := 0, 0
		s := &Socket{cfg: Config{
			OnFrame: func(fl *Flow, f *frame.Frame) {
				if fl.Addr() != peer {
					t.Errorf("frame from %v, want %v", fl.Addr(), peer)
				}
				out = append(out, f.Bytes()...)
				frames++
				f.Release()
			},
			OnOther: func(_ netip.AddrPort, b []byte) {
				out = append(out, b...)
				others++
			},
		}}
		s.flows.init(4, 4)
		r := &reader{lane: newLane(s, nil)}
		r.message(&Incoming{Buf: bytes.Clone(b), N: len(b), Size: size, From: peer})
		c := &s.count
		datagrams := 1
		if size > 0 && size < len(b) {
			datagrams = (len(b) + size - 1) / size
		}
		if n := c.framesIn.Load() + c.otherIn.Load() + c.malformed.Load(); n != uint64(datagrams) {
			t.Errorf("%d datagrams are accounted for, want %d", n, datagrams)
		}
		if uint64(frames) != c.framesIn.Load() || uint64(others) != c.otherIn.Load() {
			t.Errorf("%d frames and %d others were handed up, counted %d and %d", frames, others, c.framesIn.Load(), c.otherIn.Load())
		}
		if c.malformed.Load() == 0 && !bytes.Equal(out, b) {
			t.Errorf("% x became % x", b, out)
		}
	})
}
