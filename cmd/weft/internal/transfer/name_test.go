package transfer

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "a.txt", "photos/2026/x.jpg", "äöü 日本", "a b", "console", "com", "com10", "lpt", "nulla", strings.Repeat("a", 255), "👩‍👩‍👧"} {
		if err := checkName(name, true); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", ".a", "a/.b", "a\\b", "..\\a", "a\x00", "a\nb", "a\x7f", "\x9b31m", "a\xff",
		" a", "a ", "a.", "a/ /b", "NUL", "nul.txt", "a/Aux", "CON .x", "com1", "LPT9.foo", "COM¹", "conin$", "\u202egpj.exe", "a\u2066b",
		strings.Repeat("a", 256), strings.Repeat("a/", 16) + "a", strings.Repeat("a/", 600) + "a",
	} {
		if checkName(name, false) == nil {
			t.Errorf("%q is taken", name)
		}
	}
	for _, name := range []string{"a:b", "C:", "a<b", "a?", "a*", `a"b`, "a|b", "a:stream"} {
		if checkName(name, false) != nil || checkName(name, true) == nil {
			t.Errorf("%q: %v, on Windows %v", name, checkName(name, false), checkName(name, true))
		}
	}
}

// A name that is taken stays in its directory.
func FuzzName(f *testing.F) {
	f.Add("a/b")
	f.Add("../a")
	f.Add("nul.txt")
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		local := filepath.FromSlash(name)
		if !filepath.IsLocal(local) || filepath.Clean(local) != local || strings.ContainsAny(name, "\\\x00\n") || !utf8.ValidString(name) {
			t.Errorf("%q is taken", name)
		}
		if Printable(name) != name {
			t.Errorf("%q cannot be printed", name)
		}
	})
}

// Whatever a sender says, nothing panics, and nothing is written but in the directory.
func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"files":1,"bytes":3}` + "\n" + `{"name":"x","size":3}` + "\n" + `{"offset":0}` + "\n" + `abc{"hash":"AAAA"}` + "\n"))
	f.Add([]byte(`{"files":2,"bytes":0}` + "\n" + `{"skip":true}` + "\n" + `{"name":"y"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		r := Receiver{Root: root, MaxFiles: 4, MaxBytes: 1 << 10}
		w := &wire{conn: discard{}, r: bufio.NewReader(bytes.NewReader(b))}
		if h, err := r.welcome(t.Context(), w); err == nil {
			_, _ = r.receive(w, h)
		}
		if all, err := os.ReadDir(top); err != nil || len(all) != 1 {
			t.Errorf("%d entries above, %v", len(all), err)
		}
	})
}
