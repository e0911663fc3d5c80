//go:build !race

package budget

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func gotool(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// What importing overlay brings into a program. Which modules it may be is a rule of
// package arch.
func TestImports(t *testing.T) {
	const modules, packages = 10, 32 // besides weft's own and the standard library's
	const format = `{{if not .Standard}}{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}{{end}}`
	seen := make(map[string]bool)
	count := 0
	for line := range strings.Lines(gotool(t, "list", "-deps", "-f", format, "./overlay")) {
		if f := strings.Fields(line); len(f) == 2 && !strings.HasPrefix(f[0], "github.com/weftnet/weft") {
			count++
			seen[f[1]] = true
		}
	}
	t.Logf("%d packages of %d modules", count, len(seen))
	if count == 0 || count > packages || len(seen) > modules {
		t.Errorf("importing overlay brings %d packages of %d modules; the budget is %d of %d", count, len(seen), packages, modules)
	}
}

func TestBinarySize(t *testing.T) {
	const budget = 11_000_000
	bin := filepath.Join(t.TempDir(), "program")
	gotool(t, "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./internal/budget/testdata/least")
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB with %s", float64(info.Size())/1e6, runtime.Version())
	if info.Size() > budget {
		t.Errorf("a program with a node has %d bytes; the budget is %d", info.Size(), budget)
	}
}
