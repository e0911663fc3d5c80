package arch

import (
	"path"
	"regexp"
	"testing"
)

// attacks is the document that lists attacks and the tests that play them.
const attacks = "docs/security-tests.md"

var (
	testLink = regexp.MustCompile(`\[((?:Test|Fuzz)\w+)\]\(\.\./([^)\s]+)\)`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// functions returns the tests that a file has.
func functions(t *testing.T, file string) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	for _, m := range testFunc.FindAllStringSubmatch(read(t, file), -1) {
		found[m[1]] = true
	}
	return found
}

// Each test that is said to play an attack is there, and each attack that
// internal/hostile plays is listed.
func TestAttacksAreListedWithTestsThatExist(t *testing.T) {
	listed := make(map[string]bool)
	for _, m := range testLink.FindAllStringSubmatch(read(t, attacks), -1) {
		name, file := m[1], m[2]
		listed[name] = true
		if !functions(t, file)[name] {
			t.Errorf("%s names %s, which is not in %s", attacks, name, file)
		}
	}
	for _, file := range sources(t, "_test.go") {
		const ofItself = "harness_test.go" // of what attacks are measured with
		if !within(file, "internal/hostile") || path.Base(file) == ofItself {
			continue
		}
		for name := range functions(t, file) {
			if name != "TestMain" && !listed[name] {
				t.Errorf("%s plays an attack in %s that %s does not list", file, name, attacks)
			}
		}
	}
}
