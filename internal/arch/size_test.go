package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// What a reader can hold in the head, in lines.
const (
	maxFile  = 500 // a longer file has more than one idea
	wantFunc = 60  // reported with -v
	maxFunc  = 80
)

func TestFilesAndFunctionsKeepAReadableSize(t *testing.T) {
	for _, path := range sources(t, ".go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(root, path), nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		if ast.IsGenerated(file) {
			continue
		}
		if n := fset.File(file.Pos()).LineCount(); n > maxFile {
			t.Errorf("%s has %d lines, more than %d: split it by idea", path, n, maxFile)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			first := fset.Position(f.Pos()).Line
			switch n := fset.Position(f.End()).Line - first + 1; {
			case n > maxFunc:
				t.Errorf("%s:%d: %s has %d lines, more than %d: name its parts", path, first, f.Name.Name, n, maxFunc)
			case n > wantFunc:
				t.Logf("%s:%d: %s has %d lines; %d are easier to read", path, first, f.Name.Name, n, wantFunc)
			}
		}
	}
}

// sources lists the project's files with the given suffix, of all its modules,
// relative to the root.
func sources(t *testing.T, suffix string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, suffix) {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			out = append(out, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
