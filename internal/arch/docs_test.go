package arch

import (
	"encoding/json"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	mdLink     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdFence    = regexp.MustCompile("(?ms)^```.*?^```")
	goFence    = regexp.MustCompile("(?ms)^```go\n(.*?)^```")
	makeCall   = regexp.MustCompile("`make ([a-z]+)[^`]*`")
	makeTarget = regexp.MustCompile(`(?m)^([a-z]+):`)
)

func TestDocumentsLinkToFilesThatExist(t *testing.T) {
	for _, doc := range sources(t, ".md") {
		for _, m := range mdLink.FindAllStringSubmatch(mdFence.ReplaceAllString(read(t, doc), ""), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(doc), target)); err != nil {
				t.Errorf("%s links to %s, which is not there", doc, target)
			}
		}
	}
}

func TestDocumentsNameMakeTargetsThatExist(t *testing.T) {
	targets := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	for _, doc := range sources(t, ".md") {
		for _, m := range makeCall.FindAllStringSubmatch(read(t, doc), -1) {
			if !targets[m[1]] {
				t.Errorf("%s tells people to run `make %s`, which the Makefile does not have", doc, m[1])
			}
		}
	}
}

// A program shown in the README compiles against the packages of this checkout
// and is formatted.
func TestReadmeProgramsCompile(t *testing.T) {
	for i, m := range goFence.FindAllStringSubmatch(read(t, "README.md"), -1) {
		src := m[1]
		if got, err := format.Source([]byte(src)); err != nil {
			t.Errorf("README.md, Go block %d: %v", i+1, err)
		} else if string(got) != src {
			t.Errorf("README.md, Go block %d is not formatted with gofmt", i+1)
		}
		if strings.HasPrefix(src, "package main\n") {
			compile(t, fmt.Sprintf("README.md, Go block %d", i+1), src)
		}
	}
}

// compile builds src as if it were a command of this module.
func compile(t *testing.T, name, src string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	place, err := filepath.Abs(filepath.Join(root, "cmd", "readme", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{place: file}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlayFile, "-o", filepath.Join(dir, "out"), "./cmd/readme")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s does not compile: %v\n%s", name, err, out)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
