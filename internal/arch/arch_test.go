package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder as seen from this package's tests.
const root = "../.."

// A pkg is what `go list -json` tells about one package.
type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Module     *struct{ Path string }
}

// folder returns the package's folder in this module, or "" for foreign ones.
func (p pkg) folder() string { return folderOf(p.ImportPath) }

func folderOf(importPath string) string {
	f, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	return f
}

// list runs `go list` in the module's root.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Imports,Standard,Module"}, args...)...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.String())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("output of %v: %v", cmd, err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestImportsPointDownTheLayers(t *testing.T) {
	for _, c := range complaints(list(t, "./...")) {
		t.Error(c)
	}
}

func TestOverlayBringsOnlyListedModules(t *testing.T) {
	for _, p := range list(t, "-deps", "./overlay/...") {
		if p.Standard || p.Module == nil {
			continue
		}
		if _, ok := importable[p.Module.Path]; !ok {
			t.Errorf("importing overlay brings %s (package %s) into users' programs; move what needs it out of overlay, or list it in rules_test.go with a reason",
				p.Module.Path, p.ImportPath)
		}
	}
}

// complaints checks the imports of this module's packages against the rules.
func complaints(pkgs []pkg) []string {
	helpers := map[string]bool{}
	for _, p := range pkgs {
		helpers[p.folder()] = !slices.ContainsFunc(p.Imports, func(q string) bool { return folderOf(q) != "" })
	}
	var out []string
	for _, p := range pkgs {
		for _, q := range p.Imports {
			if c := complaint(p.folder(), q, helpers); c != "" {
				out = append(out, c)
			}
		}
	}
	return out
}

// complaint says in words why the package in folder may not import path, or
// returns "".
func complaint(folder, path string, helpers map[string]bool) string {
	for _, o := range owners {
		if within(path, o.prefix) && !within(folder, o.folder) {
			return fmt.Sprintf("%s imports %s, which only %s may: %s", folder, path, o.folder, o.why)
		}
	}
	target := folderOf(path)
	if target == "" {
		return ""
	}
	for _, r := range reserved {
		if within(target, r.folder) && !within(folder, r.folder) && !slices.ContainsFunc(r.users, func(u string) bool { return within(folder, u) }) {
			return fmt.Sprintf("%s imports %s, which belongs to %s: %s", folder, target, strings.Join(r.users, ", "), r.why)
		}
	}
	from, fromRow := rowOf(folder)
	to, toRow := rowOf(target)
	switch {
	case toRow < 0 && helpers[target]:
		return ""
	case fromRow < 0:
		return fmt.Sprintf("%s imports %s but has no place in the layers; give it a row in rules_test.go and in ARCHITECTURE.md", folder, target)
	case toRow < 0:
		return fmt.Sprintf("%s imports %s, which has no place in the layers; give it a row in rules_test.go and in ARCHITECTURE.md", folder, target)
	case to == from || toRow > fromRow:
		return ""
	}
	return fmt.Sprintf("%s (%s) imports %s (%s): arrows point down only; define what it needs as an interface at its own height, or move the code",
		folder, layers[fromRow].why, target, layers[toRow].why)
}

// rowOf finds the row that names folder or the nearest folder above it, and
// returns that name and the row's number, or -1.
func rowOf(folder string) (name string, row int) {
	row = -1
	for i, l := range layers {
		for _, f := range l.folders {
			if within(folder, f) && len(f) > len(name) {
				name, row = f, i
			}
		}
	}
	return name, row
}

// within reports whether path is parent or below it.
func within(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}

func TestComplaint(t *testing.T) {
	helpers := map[string]bool{"internal/gate": true, "internal/frame": true}
	tests := []struct {
		name, folder, path string
		want               string // part of the complaint; empty is none
	}{
		{"a layer may import one below", "overlay", module + "/listener", ""},
		{"a layer may skip layers", "relay", module + "/internal/frame", ""},
		{"the standard library is free", "internal/wire", "net/http", ""},
		{"helpers are for everyone", "internal/identity", module + "/internal/gate", ""},
		{"a folder may import its own parts", "overlay", module + "/overlay/internal/paths", ""},
		{"not upward", "internal/link", module + "/internal/session", "arrows point down only"},
		{"not sideways", "overlay", module + "/relay", "arrows point down only"},
		{"not sideways back", "relay", module + "/overlay", "arrows point down only"},
		{"one layer not another", "stream/yamux", module + "/stream/native", "arrows point down only"},
		{"a leaf with a row is still in its row", "internal/identity", module + "/internal/frame", "arrows point down only"},
		{"parts of a session are its own", "relay", module + "/internal/wire", "belongs to internal/session"},
		{"a session has its parts", "internal/session", module + "/internal/wire", ""},
		{"parts may share the wire", "internal/recovery", module + "/internal/wire", ""},
		{"mesh only in gossip", "relay", "github.com/weaveworks/mesh", "only gossip may"},
		{"mesh in gossip's parts", "gossip/internal/router", "github.com/weaveworks/mesh", ""},
		{"yamux only in its layer", "overlay", "github.com/hashicorp/yamux", "only stream/yamux may"},
		{"datachannel only in its layer", "stream/native", "github.com/pion/datachannel", "only stream/sctp may"},
		{"cobra only in the command", "relay", "github.com/spf13/cobra", "only cmd/weft may"},
		{"unknown folders must be placed", "internal/new", module + "/internal/session", "no place in the layers"},
		{"and so must what they are for", "overlay", module + "/internal/new", "no place in the layers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := complaint(tt.folder, tt.path, helpers)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%s importing %s: got complaint %q, want one with %q", tt.folder, tt.path, got, tt.want)
			}
		})
	}
}
