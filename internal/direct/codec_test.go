package direct

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"
)

func candidate(k Kind, addr string) Candidate { return Candidate{k, netip.MustParseAddrPort(addr)} }

func TestMessagesSurviveTheWay(t *testing.T) {
	for _, m := range []Message{
		{},
		{Round: 7, Mapping: MappingEndpoint},
		{Round: 1<<32 - 1, Mapping: MappingSame, Candidates: []Candidate{
			candidate(Host, "10.0.0.1:4000"), candidate(Host, "[2001:db8::1]:4000"), candidate(Reflexive, "192.0.2.1:1"),
			candidate(Mapped, "192.0.2.1:2"), candidate(TCP, "192.0.2.1:2"), candidate(Predicted, "192.0.2.1:3"),
			candidate(Host, "127.0.0.1:65535"),
		}},
	} {
		got, err := Parse(m.Append(nil))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
	}
}

func TestParseLeavesOutWhatNobodyShouldSendTo(t *testing.T) {
	m := Message{Candidates: []Candidate{
		candidate(Host, "0.0.0.0:1"), candidate(Host, "[::]:1"), candidate(Host, "224.0.0.251:5353"),
		candidate(Host, "[ff02::1]:1"), candidate(Host, "255.255.255.255:9"), candidate(Host, "10.0.0.1:0"),
		candidate(Host, "169.254.169.254:80"), candidate(Host, "[fe80::1]:1"), candidate(0, "10.0.0.1:1"),
		candidate(99, "10.0.0.1:1"), candidate(Host, "[::ffff:224.0.0.1]:1"),
		candidate(Host, "10.0.0.1:1"), candidate(Host, "10.0.0.1:1"),
	}}
	got, err := Parse(m.Append(nil))
	if want := m.Candidates[11:12]; err != nil || !reflect.DeepEqual(got.Candidates, want) {
		t.Errorf("got %v, %v; want %v", got.Candidates, err, want)
	}
}

func TestParseBoundsCandidates(t *testing.T) {
	b := (&Message{Mapping: 200}).Append(nil)
	b[7] = 255
	for i := range 255 {
		b = append(b, byte(Host), 4, 10, 0, 0, byte(i), 0, 1)
	}
	b = append(b, "what later versions say"...)
	m, err := Parse(b)
	if err != nil || len(m.Candidates) != MaxCandidates || m.Mapping != MappingUnknown {
		t.Errorf("got %d candidates, mapping %d, %v", len(m.Candidates), m.Mapping, err)
	}
	m.Candidates = append(m.Candidates, m.Candidates...)
	if n := len(m.Append(nil)); n > 1024 {
		t.Errorf("a message has %d bytes", n)
	}
}

func TestParseRefusesGarbage(t *testing.T) {
	whole := (&Message{Candidates: []Candidate{candidate(Host, "10.0.0.1:1"), candidate(Host, "[2001:db8::1]:1")}}).Append(nil)
	for n := range len(whole) {
		if _, err := Parse(whole[:n]); !errors.Is(err, errShort) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	if _, err := Parse([]byte{2}); !errors.Is(err, errVersion) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&Message{Round: 3, Candidates: []Candidate{candidate(Host, "10.0.0.1:1"), candidate(Reflexive, "[2001:db8::1]:1")}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		out := m.Append(nil)
		again, err := Parse(out)
		if err != nil || !reflect.DeepEqual(m, again) || !bytes.Equal(out, again.Append(nil)) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}
