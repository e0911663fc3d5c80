package identity

import (
	"strings"
	"testing"
)

func TestParseNameAcceptsDNSNames(t *testing.T) {
	for in, want := range map[string]string{
		"kv-1":                   "kv-1",
		"KV-1.Example":           "kv-1.example",
		"7":                      "7",
		"a.b.c":                  "a.b.c",
		strings.Repeat("x", 63):  strings.Repeat("x", 63),
		"9f3a5b6c7d8e9f0":        "9f3a5b6c7d8e9f0",
		"www.0000000000000001.x": "www.0000000000000001.x",
	} {
		if got, err := ParseName(in); err != nil || got != want {
			t.Errorf("ParseName(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseNameRefuses(t *testing.T) {
	for _, in := range []string{
		"", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "a_b", "a b", "*", "*.a", "é", "a\x00", "a:80", "\u212a",
		strings.Repeat("x", 64),
		strings.Repeat("x.", 127),
		"9f3a5b6c7d8e9f00",
		"9F3A5B6C7D8E9F00",
		newTestKey(t).Public().String(),
		"127.0.0.1",
	} {
		if got, err := ParseName(in); err == nil {
			t.Errorf("ParseName(%q) = %q, want an error", in, got)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("kv-1.example")
	f.Add("9f3a5b6c7d8e9f00")
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ParseName(s)
		if err != nil {
			return
		}
		if again, err := ParseName(name); err != nil || again != name {
			t.Errorf("ParseName(%q) = %q, which reads as %q, %v", s, name, again, err)
		}
	})
}
