package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maySleep lists the modules whose tests run programs and sockets, where fake
// time does not reach, and folders all of whose tests begin with a helper that
// opens a bubble.
var maySleep = []string{"bench", "examples", "integration", "overlaytest", "internal/hostile"}

// A test that sleeps is slow on a good day and wrong on a bad one. In a file
// that uses testing/synctest the sleep is taken to be inside a bubble.
func TestTestsDoNotSleepInRealTime(t *testing.T) {
	for _, path := range sources(t, "_test.go") {
		if slices.ContainsFunc(maySleep, func(m string) bool { return within(filepath.ToSlash(path), m) }) {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(root, path), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		if slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return strings.Contains(i.Path.Value, "testing/synctest") }) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s: time.Sleep in a test; wait for the event itself, or use testing/synctest", fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
}
