package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/overlay"
)

// configOf is the config that a node's flags and the environment make.
func configOf(t *testing.T, m *membership, args ...string) (overlay.Config, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "test"}
	m.flags(cmd)
	m.nameFlag(cmd)
	m.relayFlag(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return m.config(cmd, logrus.InfoLevel)
}

func TestFlagsOverrideTheEnvironment(t *testing.T) {
	fromEnv, fromFile := overlay.NewSecret(), overlay.NewSecret()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("\n "+fromFile+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(overlay.EnvSecret, fromEnv)
	t.Setenv(overlay.EnvNetwork, "env-net")
	t.Setenv(overlay.EnvName, "env-name")
	t.Setenv(overlay.EnvState, "env-state")
	t.Setenv(overlay.EnvRelays, "env:1, env:2")
	tests := []struct {
		name  string
		short bool
		args  []string
		want  overlay.Config
	}{
		{"no flags", false, nil,
			overlay.Config{Secret: fromEnv, Network: "env-net", Name: "env-name", StateDir: "env-state", Relays: []string{"env:1", "env:2"}}},
		{"all flags", false, []string{"--secret-file", file, "--network", "net", "--name", "name", "--state", "state", "--relay", "a:1", "--relay", "b:2"},
			overlay.Config{Secret: fromFile, Network: "net", Name: "name", StateDir: "state", Relays: []string{"a:1", "b:2"}}},
		{"open", false, []string{"--open"},
			overlay.Config{Open: true, Network: "env-net", Name: "env-name", StateDir: "env-state", Relays: []string{"env:1", "env:2"}}},
		{"an errand is nobody", true, nil,
			overlay.Config{Secret: fromEnv, Network: "env-net", Relays: []string{"env:1", "env:2"}}},
		{"an errand is who it is told to be", true, []string{"--state", "state"},
			overlay.Config{Secret: fromEnv, Network: "env-net", StateDir: "state", Relays: []string{"env:1", "env:2"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := configOf(t, &membership{short: tt.short}, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if got.Secret != tt.want.Secret || got.Open != tt.want.Open || got.Network != tt.want.Network ||
				got.Name != tt.want.Name || got.StateDir != tt.want.StateDir || !slices.Equal(got.Relays, tt.want.Relays) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestASecretFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": " \n", "long": strings.Repeat("x", maxSecretFile+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"empty":   "is empty; weft secret makes one",
		"long":    "longer than 16384 bytes",
		"missing": "the secret cannot be read: open ",
		".":       "the secret cannot be read: read ",
	} {
		_, err := configOf(t, &membership{}, "--secret-file", filepath.Join(dir, name))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestANetworkIsOpenOrHasASecret(t *testing.T) {
	for want, args := range map[string][]string{
		"what is the network's secret? Set WEFT_SECRET or say --secret-file": nil,
		"say only one of --secret-file, --invite and --open":                 {"--open", "--secret-file", "x"},
	} {
		_, err := configOf(t, &membership{}, append(args, "--relay", "a:1")...)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}
