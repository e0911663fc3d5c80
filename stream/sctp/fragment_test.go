package sctp

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// fragments splits a packet as the carrier does.
func fragments(number uint32, packet []byte, size int) (datagrams [][]byte) {
	count := (len(packet) + size - 1) / size
	for i := range count {
		f := fragment{packet: number, index: i, count: count, data: packet[i*size : min((i+1)*size, len(packet))]}
		datagrams = append(datagrams, f.append(nil))
	}
	return datagrams
}

func TestFragmentsComeTogetherInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var j joiner
	for range 100 {
		want := make([]byte, 1000+rng.IntN(maxPacket-1000))
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		parts := fragments(rng.Uint32(), want, 600)
		rng.Shuffle(len(parts), func(a, b int) { parts[a], parts[b] = parts[b], parts[a] })
		for i, d := range parts {
			got, err := j.datagram(d)
			switch last := i == len(parts)-1; {
			case err != nil, !last && got != nil, last && !bytes.Equal(got, want):
				t.Fatalf("part %d of %d gave %d bytes of %d, %v", i, len(parts), len(got), len(want), err)
			}
		}
	}
	if len(j.partial) != 0 {
		t.Errorf("%d packets are still incomplete", len(j.partial))
	}
}

func TestIncompletePacketsAreBounded(t *testing.T) {
	var j joiner
	for i := range uint32(10 * maxPartial) {
		if _, err := j.datagram(fragments(i, make([]byte, 2000), 1000)[0]); err != nil {
			t.Fatal(err)
		}
	}
	if len(j.partial) != maxPartial || j.partial[0].packet != 9*maxPartial {
		t.Errorf("%d incomplete packets from %d on, want the last %d", len(j.partial), j.partial[0].packet, maxPartial)
	}
}

func TestFragmentsThatDoNotFitTogetherAreDropped(t *testing.T) {
	var j joiner
	j.datagram(fragments(1, make([]byte, 3000), 1000)[0])
	for name, d := range map[string][]byte{
		"empty":             {},
		"unknown kind":      {2, 1, 2, 3, 4, 5, 6, 7, 8},
		"whole, empty":      {kindWhole},
		"whole, too long":   make([]byte, wholeHeader+maxPacket+1),
		"no data":           fragment{packet: 2, count: 2}.append(nil),
		"one part":          fragment{packet: 2, count: 1, data: []byte{1}}.append(nil),
		"too many parts":    fragment{packet: 2, count: maxFragments + 1, data: []byte{1}}.append(nil),
		"part beyond":       fragment{packet: 2, index: 2, count: 2, data: []byte{1}}.append(nil),
		"other count":       fragment{packet: 1, index: 1, count: 4, data: []byte{1}}.append(nil),
		"too long together": fragment{packet: 1, index: 1, count: 3, data: make([]byte, maxPacket-999)}.append(nil),
	} {
		if p, err := j.datagram(d); err == nil || p != nil {
			t.Errorf("%s: %d bytes, %v", name, len(p), err)
		}
	}
	if p, err := j.datagram(fragments(1, make([]byte, 3000), 1000)[0]); p != nil || err != nil {
		t.Errorf("the same fragment again: %d bytes, %v", len(p), err)
	}
}

func FuzzDatagrams(f *testing.F) {
	f.Add([]byte{kindWhole, 1, 2, 3}, []byte{kindFragment})
	f.Add(fragments(1, make([]byte, 20), 10)[1], fragments(1, make([]byte, 20), 10)[0])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var j joiner
		for _, d := range [][]byte{a, b, a, b} {
			if p, err := j.datagram(d); len(p) > maxPacket || err != nil && p != nil {
				t.Errorf("packet of %d bytes, %v", len(p), err)
			}
			if fr, err := parseFragment(d); err == nil && !bytes.Equal(fr.append(nil), d) {
				t.Errorf("%x parsed as %+v", d, fr)
			}
		}
	})
}
