package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// writeSecret writes a secret to a file.
func writeSecret(t *testing.T, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// rotated returns files with the secret of an environment and with a new one.
func rotated(t *testing.T) (before, after string) {
	t.Helper()
	out, stderr, code := weft(t, "secret", "rotate")
	if code != exitOK || !strings.HasPrefix(out, "weft-secret-2-") || strings.Count(out, "\n") != 1 {
		t.Fatalf("exit code %d: %q, %s", code, out, stderr)
	}
	for _, want := range []string{"network weft", "--also-accept-file or " + overlay.EnvAlsoAccept, "\n  weft-ca-1-", "weft_relay_nodes_other_ca"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in what is to be done:\n%s", want, stderr)
		}
	}
	if out := strings.TrimSpace(out); strings.Contains(stderr, out) || strings.Contains(stderr, os.Getenv(overlay.EnvSecret)) {
		t.Error("standard error shows a secret")
	}
	return writeSecret(t, os.Getenv(overlay.EnvSecret)), writeSecret(t, strings.TrimSpace(out))
}

// fields reads lines of a word and the rest.
func fields(text string) map[string][]string {
	m := make(map[string][]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, " "); ok {
			m[name] = append(m[name], strings.TrimSpace(value))
		}
	}
	return m
}

func TestARotatedSecretIsOfTheSameNetworkToPeople(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	before, after := rotated(t)
	show := func(args ...string) map[string][]string {
		t.Helper()
		out, stderr, code := weft(t, append([]string{"network"}, args...)...)
		if code != exitOK {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		return fields(out)
	}
	old, young := show("--secret-file", before), show("--secret-file", after, "--also-accept-file", before)
	if old["id"][0] != young["id"][0] || old["ca"][0] == young["ca"][0] || young["accepts"][0] != old["ca"][0] || len(old["accepts"]) != 0 {
		t.Errorf("before: %q; after: %q", old, young)
	}
	token, stderr, code := weft(t, "invite", "--secret-file", after, "--relay", "127.0.0.1:1")
	if code != exitOK || !strings.HasPrefix(token, "weft-invite-2-") || fields(stderr)["id"][0] != old["id"][0] {
		t.Fatalf("exit code %d: %.20q, %s", code, token, stderr)
	}
	invite := show("--invite", strings.TrimSpace(token), "--also-accept-file", writeSecret(t, old["ca"][0]))
	if invite["id"][0] != old["id"][0] || invite["ca"][0] != young["ca"][0] || invite["accepts"][0] != old["ca"][0] {
		t.Errorf("the invite is %q", invite)
	}
	t.Setenv(overlay.EnvSecret, "")
	t.Setenv(overlay.EnvAlsoAccept, old["ca"][0])
	for _, flags := range [][]string{{"--secret-file", after}, {"--config", writeConfig(t, "all: {secret-file: "+after+"}")}} {
		if all := show(flags...); len(all["accepts"]) != 1 {
			t.Errorf("%q: what the environment accepts is left out: %q", flags, all)
		}
	}
	t.Setenv(overlay.EnvAlsoAccept, "")
	config := writeConfig(t, "all: {also-accept-file: "+before+", secret-file: "+after+"}\nnetwork: {open: true}")
	if all := show("--config", config); all["id"][0] == old["id"][0] || len(all["ca"]) != 0 {
		t.Errorf("an open network: %q", all)
	}
	if all := show("--config", config, "--secret-file", after); len(all["accepts"]) != 1 {
		t.Errorf("what a file accepts is left out: %q", all)
	}
}

// Two relays in steps that follow each other meet over real mesh, and clients in
// either step reach a server over both. Who is left with the old secret is told so.
func TestProcessesGoToANewSecret(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	t.Setenv(overlay.EnvRelayOnly, "1")
	before, after := rotated(t)
	steps := [][]string{
		{"--secret-file", before},
		{"--secret-file", before, "--also-accept-file", after},
		{"--secret-file", after, "--also-accept-file", before},
		{"--secret-file", after},
	}
	for one := range len(steps) - 1 {
		t.Run(fmt.Sprintf("%d and %d", one+1, one+2), func(t *testing.T) {
			startRelay(t, steps[one]...)
			addr := os.Getenv(overlay.EnvRelays)
			second := startRelay(t, append([]string{"--peer", addr}, steps[one+1]...)...)
			server, _ := startServer(t, append([]string{"--relay", addr}, steps[one]...)...)
			server.line()
			second.log.await(t, "other relay is up")
			heard := regexp.MustCompile(`(?m)^weft_relay_backbone_merged_total\S* [1-9]`)
			url := "http://" + os.Getenv(overlay.EnvRelays) + "/metrics"
			for began := time.Now(); !heard.MatchString(get(t, url)); { // from the first relay
				if time.Since(began) > patience {
					t.Fatal("the second relay hears nothing from the first")
				}
			}
			file := func(step int) (stderr string, code int) {
				_, stderr, code = weft(t, append([]string{"get", "--timeout", "5s", "http://files/hello.txt"}, steps[step]...)...)
				return stderr, code
			}
			for _, step := range []int{one, one + 1} {
				began := time.Now() // what was heard first need not be of the server
				stderr, code := file(step)
				for code != exitOK && time.Since(began) < patience {
					stderr, code = file(step)
				}
				if code != exitOK {
					t.Errorf("a client in step %d: exit code %d: %s", step+1, code, stderr)
				}
			}
			if one < 2 {
				return
			}
			if stderr, code := file(0); code != exitFailure || !strings.Contains(stderr, "the present ones, if the secret was rotated") {
				t.Errorf("with the old secret at last: exit code %d: %s", code, stderr)
			}
		})
	}
}

func TestWhatIsAcceptedIsReadAndChecked(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	_, after := rotated(t)
	other := writeSecret(t, overlay.NewSecret())
	both := filepath.Join(t.TempDir(), "both")
	if err := os.WriteFile(both, []byte("\n"+os.Getenv(overlay.EnvSecret)+"\n\n"+overlay.NewSecret()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	relay := []string{"relay", "--listen", "127.0.0.1:0"}
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"another network":         {append(relay, "--also-accept-file", other), exitFailure, "AlsoAccept[0] is of another network"},
		"on the second line":      {append(relay, "--secret-file", after, "--also-accept-file", both), exitFailure, "AlsoAccept[1] is of another network"},
		"no file":                 {append(relay, "--also-accept-file", other+"x"), exitFailure, "cannot be read"},
		"an open network":         {append(relay, "--open", "--also-accept-file", after), exitFailure, "everybody is accepted"},
		"in another network":      {append(relay, "--also", "lab="+other, "--also-accept-file", "lab="+after), exitFailure, "network lab: "},
		"in another, without one": {append(relay, "--also", "lab="+other, "--also-accept-file", "lab="), exitUsage, "which file?"},
		"nothing to replace":      {[]string{"secret", "rotate", "--secret-file", other + "x"}, exitFailure, "cannot be read"},
		"another name":            {[]string{"secret", "rotate", "--secret-file", after, "--network", "lab"}, exitFailure, "leave the network's name out"},
		"a word too many":         {[]string{"secret", "rotate", "now"}, exitUsage, "see weft secret rotate --help"},
	} {
		t.Run(name, func(t *testing.T) {
			if stdout, stderr, code := weft(t, tt.args...); code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, %q, %s", code, stdout, stderr)
			}
		})
	}
	t.Setenv(overlay.EnvSecret, "")
	if _, stderr, code := weft(t, "secret", "rotate"); code != exitUsage || !strings.Contains(stderr, "--secret-file FILE") {
		t.Errorf("without a secret: exit code %d: %s", code, stderr)
	}
}

// The network that --also names goes to a new secret as well.
func TestOtherNetworksOfARelayAcceptTwoSecrets(t *testing.T) {
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	t.Setenv(overlay.EnvRelayOnly, "1")
	before := secretFile(t)
	out, stderr, code := weft(t, "secret", "rotate", "--network", "lab", "--secret-file", before)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	after := writeSecret(t, strings.TrimSpace(out))
	startRelay(t, "--also", "lab="+before, "--also-accept-file", "lab="+after).line()
	server, _ := startServer(t, "--secret-file", after, "--also-accept-file", before)
	server.line()
	for _, flags := range [][]string{{"--network", "lab", "--secret-file", before, "--also-accept-file", after}, {"--secret-file", after, "--also-accept-file", before}} {
		if _, stderr, code := weft(t, append([]string{"get", "--timeout", "5s", "http://files/hello.txt"}, flags...)...); code != exitOK {
			t.Errorf("%q: exit code %d: %s", flags, code, stderr)
		}
	}
}
