//go:build linux

// Package docs runs the commands that README.md and docs/ show.
package docs

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// envServe makes the test binary a web server at the address that it holds.
const envServe = "WEFT_DOCS_SERVE"

func TestMain(m *testing.M) {
	if addr := os.Getenv(envServe); addr != "" {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// What is there before a document's first command.
const (
	// member is a secret in the environment.
	member = "export WEFT_SECRET=$(weft secret) WEFT_RELAYS=127.0.0.1:9999\n"
	// relay runs one besides, and a web server as programs on the machine have.
	relay = member + "begin weft relay --listen 127.0.0.1:9999\n"
	web   = "(" + envServe + "=127.0.0.1:8080 \"$TESTBINARY\" >/dev/null 2>&1 &)\n"
	// another is a node that is not this user's, with something on port 22.
	another = "mkdir -m 700 ~/another && begin weft up --name kv-1 --socket ~/another/socket -R 22=127.0.0.1:8080\n" + web
	// site is a directory to serve.
	site = "mkdir -p ~/public && echo hello > ~/public/hello.txt\n"
)

// documents are those with commands, and what these need.
var documents = map[string]string{
	"README.md":           relay + site + another + "mkdir ~/incoming\n",
	"docs/get-started.md": "",
	"docs/forwarding.md":  relay + web,
	"docs/firewalls.md":   member,
	"docs/operating.md":   relay,
	"docs/rotation.md":    "weft secret > old.secret\n",
	"docs/status-page.md": relay,
}

var (
	blocks  = regexp.MustCompile("(?ms)^```(?:sh|bash|console)\n(.*?)^```")
	comment = regexp.MustCompile(`\s{2,}#.*$`)
	// stays are commands that run until they are told to stop; each prints a line
	// when it is ready.
	stays = regexp.MustCompile(`^weft (relay|serve|up|forward|socks|receive)\b`)
)

// prelude gives a script begin, which starts what stays and waits until it is
// ready, and an end. Standard output of what stays is in a file of its own.
const prelude = `set -eu
ip link set lo up
n=0
begin() {
	n=$((n + 1))
	"$@" > out.$n 2> log.$n < /dev/null &
	local pid=$!
	for _ in $(seq 1000); do
		[ -s out.$n ] && return
		kill -0 $pid 2>/dev/null || break
		sleep 0.03
	done
	echo "this was not ready: $*" >&2
	cat log.$n >&2
	exit 1
}
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
`

// script makes a script of a document's commands.
func script(before, document string) (text string, commands int) {
	var b strings.Builder
	b.WriteString(prelude + before)
	for _, m := range blocks.FindAllStringSubmatch(document, -1) {
		for line := range strings.Lines(m[1]) {
			line = comment.ReplaceAllString(strings.TrimRight(line, "\n"), "")
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			commands++
			fmt.Fprintf(&b, "echo '+' %s\n", quote(line))
			switch {
			case strings.HasPrefix(line, "go install "):
				b.WriteString("weft --version\n") // what it would have installed is there
			case stays.MatchString(line):
				b.WriteString("begin " + line + "\n")
			default:
				b.WriteString(line + " < /dev/null\n")
			}
		}
	}
	return b.String(), commands
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// In a network namespace of its own a document has the ports that it names, and
// nothing gets out.
func TestCommandsInDocumentsRun(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	for _, tool := range []string{"unshare", "ip", "bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "weft"), "./cmd/weft")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("weft cannot be built: %v\n%s", err, out)
	}
	for name, before := range documents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			document, err := os.ReadFile(filepath.Join("..", "..", name))
			if err != nil {
				t.Fatal(err)
			}
			text, commands := script(before, string(document))
			if commands == 0 {
				t.Fatal("it has no commands")
			}
			run(t, bin, text)
		})
	}
}

func run(t *testing.T, bin, script string) {
	t.Helper()
	home := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", script)
	cmd.Dir = home
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WEFT_") || strings.HasPrefix(v, "XDG_") }),
		"HOME="+home, "TMPDIR="+home, "PATH="+bin+":"+os.Getenv("PATH"), "TESTBINARY="+os.Args[0])
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	t.Logf("%s", &out)
	if err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Commands are in fenced blocks, where this package finds them, and documents
// that have some are in the list.
func TestNoDocumentHasCommandsThatDoNotRun(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	indented := regexp.MustCompile(`(?m)^    (weft|curl) .*$`)
	for _, file := range append(files, "../../README.md") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(filepath.ToSlash(file), "../../")
		if _, listed := documents[name]; !listed && blocks.Match(b) {
			t.Errorf("%s has commands that no test runs; say in documents what they need", name)
		}
		for _, line := range indented.FindAllString(string(b), -1) {
			t.Errorf("%s: %q is not in a fenced block, where it would be run", name, line)
		}
	}
}
