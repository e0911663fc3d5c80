package identity

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func newTestKey(t testing.TB) *Key {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestPublicKeyReadsBackWhatItPrints(t *testing.T) {
	want := newTestKey(t).Public()
	for _, s := range []string{want.String(), strings.ToUpper(want.String())} {
		got, err := ParsePublicKey(s)
		if err != nil || got != want {
			t.Errorf("ParsePublicKey(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
}

func TestParsePublicKeyRefuses(t *testing.T) {
	good := newTestKey(t).Public().String()
	// A key ends in four zero bits, so its last character is a or q.
	last := map[byte]string{'a': "b", 'q': "r"}[good[51]]
	tests := []struct{ name, in string }{
		{"nothing", ""},
		{"a short key", good[:51]},
		{"a long key", good + "a"},
		{"a character outside the alphabet", "1" + good[1:]},
		{"line breaks, which base32 decoders skip", "\n\n" + good[2:]},
		{"a second spelling of a key", good[:51] + last},
		{"padding", good[:50] + "=="},
		{"letters that fold to ASCII", "\u212a" + good[3:]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if k, err := ParsePublicKey(tt.in); err == nil {
				t.Errorf("ParsePublicKey(%q) = %v, want an error", tt.in, k)
			}
		})
	}
}

func TestNodeIDReadsBackWhatItPrints(t *testing.T) {
	want := newTestKey(t).ID()
	for _, s := range []string{want.String(), strings.ToUpper(want.String())} {
		got, err := ParseNodeID(s)
		if err != nil || got != want {
			t.Errorf("ParseNodeID(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0000000000000000", "123", "+123456789abcdef", "0x23456789abcdef", "123456789abcdef_", "g123456789abcdef"} {
		if id, err := ParseNodeID(s); err == nil {
			t.Errorf("ParseNodeID(%q) = %v, want an error", s, id)
		}
	}
}

func TestIDsAndKeysAreTextInJSON(t *testing.T) {
	type doc struct {
		ID  NodeID
		Key PublicKey
	}
	k := newTestKey(t)
	want := doc{k.ID(), k.Public()}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), k.Public().String()) || !strings.Contains(string(b), k.ID().String()) {
		t.Errorf("JSON %s does not have the printed forms", b)
	}
	var got doc
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("read back %+v, %v; want %+v", got, err, want)
	}
	if err := json.Unmarshal([]byte(`{"ID":"0","Key":"a"}`), &got); err == nil {
		t.Error("unmarshalled a malformed document")
	}
}

func TestPublicKeyHasTheIDOfItsKey(t *testing.T) {
	k := newTestKey(t)
	if k.ID() == 0 || k.Public().ID() != k.ID() {
		t.Errorf("IDs %v and %v differ or are zero", k.ID(), k.Public().ID())
	}
}

func TestPrintingAKeyDoesNotShowIt(t *testing.T) {
	k := newTestKey(t)
	want := "key of node " + k.ID().String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, k); got != want {
			t.Errorf("%s prints %q, want %q", verb, got, want)
		}
	}
}

func TestDeriveDependsOnKeyLabelAndContext(t *testing.T) {
	k, other := newTestKey(t), newTestKey(t)
	base := k.Derive("reset", []byte("ab"))
	if again := k.Derive("reset", []byte("ab")); again != base {
		t.Error("the same input derives different bytes")
	}
	for name, got := range map[string][32]byte{
		"key":      other.Derive("reset", []byte("ab")),
		"label":    k.Derive("rese", []byte("ab")),
		"context":  k.Derive("reset", []byte("a")),
		"boundary": k.Derive("reseta", []byte("b")),
	} {
		if got == base {
			t.Errorf("another %s derives the same bytes", name)
		}
	}
}

func FuzzParseNodeID(f *testing.F) {
	for _, s := range []string{"", "0000000000000000", "9f3a5b6c7d8e9f00", "9F3A5B6C7D8E9F00", "+123456789abcdef"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseNodeID(s)
		if err != nil {
			return
		}
		if id == 0 || id.String() != strings.ToLower(s) {
			t.Errorf("ParseNodeID(%q) = %v", s, id)
		}
	})
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add("")
	f.Add(strings.Repeat("a", publicKeyLen))
	f.Add(strings.Repeat("7", publicKeyLen))
	f.Add(newTestKey(f).Public().String())
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParsePublicKey(s)
		if err != nil {
			return
		}
		if k.String() != strings.ToLower(s) {
			t.Errorf("ParsePublicKey(%q) = %v", s, k)
		}
	})
}
