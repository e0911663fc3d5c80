package arch

import (
	"regexp"
	"strings"
	"testing"
)

// Whoever meets an error of package overlay finds it in the document.
func TestEveryErrorIsInTheTroubleshooting(t *testing.T) {
	document := read(t, "docs/troubleshooting.md")
	exported := regexp.MustCompile(`(?m)^(?:var |\t)(Err[A-Z]\w*) +=`)
	found := 0
	for _, file := range sources(t, ".go") {
		if !within(file, "overlay") || within(file, "overlay/grpcauth") || strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range exported.FindAllStringSubmatch(read(t, file), -1) {
			found++
			if !strings.Contains(document, "`"+m[1]+"`") {
				t.Errorf("docs/troubleshooting.md says nothing of overlay.%s", m[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d errors found in package overlay", found)
	}
}
