package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/gossip/gossiptest"
	"github.com/weftnet/weft/overlay"
)

// runMain makes the test binary the command itself; see child.
const runMain = "WEFT_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
	}
	for _, name := range []string{
		overlay.EnvNetwork, overlay.EnvSecret, overlay.EnvInvite, overlay.EnvOpen, overlay.EnvRelays, overlay.EnvName, overlay.EnvState, overlay.EnvAlsoAccept, envSocket,
	} {
		os.Unsetenv(name)
	}
	os.Setenv(overlay.EnvNoLAN, "1") // tests are not heard on any network
	var left []goleak.Option         // of relays that met others
	for _, f := range gossiptest.MeshLeaves {
		left = append(left, goleak.IgnoreAnyFunction(f))
	}
	dir, err := os.MkdirTemp("", "weft") // for sockets, apart from those of nodes that run here
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_RUNTIME_DIR", dir)
	left = append(left, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
	goleak.VerifyTestMain(m, left...)
}

// weft runs one command line.
func weft(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out strings.Builder
	var errs log // nodes log while the command writes
	code = run(t.Context(), append([]string{}, args...), &out, &errs)
	return out.String(), errs.String(), code
}

func TestIDMakesAKeyOnceAndShowsItAgain(t *testing.T) {
	dir := t.TempDir() + "/state"
	first, stderr, code := weft(t, "id", "--state", dir)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if want := regexp.MustCompile(`^id   [0-9a-f]{16}\nkey  [a-z2-7]{52}\n$`); !want.MatchString(first) {
		t.Errorf("printed %q, want %s", first, want)
	}
	if again, _, _ := weft(t, "id", "--state", dir); again != first {
		t.Errorf("printed %q, then %q", first, again)
	}
}

func TestIDTakesTheStateDirectoryFromTheEnvironment(t *testing.T) {
	t.Setenv(overlay.EnvState, t.TempDir())
	if _, stderr, code := weft(t, "id"); code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestSecretsDiffer(t *testing.T) {
	a, _, _ := weft(t, "secret")
	b, _, _ := weft(t, "secret")
	if a == b || len(strings.TrimSpace(a)) < 32 {
		t.Errorf("two secrets: %q and %q", a, b)
	}
}

func TestNoCommandShowsHelp(t *testing.T) {
	stdout, _, code := weft(t)
	if code != exitOK || !strings.Contains(stdout, "Available Commands") {
		t.Errorf("exit code %d, printed %q", code, stdout)
	}
}

func TestErrorsAreOneSentenceOnStandardError(t *testing.T) {
	t.Setenv(overlay.EnvState, "")
	notADir := t.TempDir() + "/node.key/x\x00"
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown command", []string{"pigeon"}, exitUsage, `weft: there is no command "pigeon" (see weft --help)`},
		{"unknown flag", []string{"id", "--pigeon"}, exitUsage, "unknown flag: --pigeon (see weft id --help)"},
		{"argument too many", []string{"secret", "more"}, exitUsage, "see weft secret --help"},
		{"no state directory", []string{"id"}, exitUsage, "set WEFT_STATE"},
		{"impossible state directory", []string{"id", "--state", notADir}, exitFailure, "weft: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := weft(t, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.want) || stdout != "" || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d and a line with %q", code, stdout, stderr, tt.code, tt.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if stdout, _, code := weft(t, "--version"); code != exitOK || !strings.HasPrefix(stdout, "weft ") {
		t.Errorf("exit code %d, printed %q", code, stdout)
	}
}
