package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/weftnet/weft/overlay"
)

// settled returns the command that args names, with all settings made.
func settled(t *testing.T, args ...string) (*cobra.Command, error) {
	t.Helper()
	root := newRoot()
	cmd, rest, err := root.Find(args)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	return cmd, settle(cmd)
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "weft.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const someConfig = `
all:
  network: lab
  secret-file: /etc/weft/secret
  relay: [one:1, two:2]
  state: /var/lib/weft
relay:
  listen: :7777
  grace: 3s
  peer: [three:3]
serve:
  network: other
  port: 8080
get:
  open: true
`

func TestAFileSetsFlags(t *testing.T) {
	file := writeConfig(t, someConfig)
	for _, tt := range []struct {
		command string
		env     map[string]string
		want    map[string]string
	}{
		{"relay", nil, map[string]string{"network": "lab", "listen": ":7777", "grace": "3s", "peer": "[three:3]", "state": "/var/lib/weft", "secret-file": "/etc/weft/secret"}},
		{"relay --listen :1", nil, map[string]string{"listen": ":1"}},
		{"relay", map[string]string{"WEFT_LISTEN": ":2", "WEFT_PEER": "four:4,five:5"}, map[string]string{"listen": ":2", "peer": "[four:4,five:5]"}},
		{"relay --listen :1", map[string]string{"WEFT_LISTEN": ":2"}, map[string]string{"listen": ":1"}},
		{"serve", nil, map[string]string{"network": "other", "port": "8080", "relay": "[one:1,two:2]", "state": "/var/lib/weft"}},
		{"serve", map[string]string{overlay.EnvNetwork: "env", overlay.EnvRelays: "env:1"}, map[string]string{"network": "", "relay": "[]"}}, // package overlay reads these
		{"get", nil, map[string]string{"open": "true", "secret-file": "", "state": ""}},
		{"serve --open", nil, map[string]string{"open": "true", "secret-file": ""}},
		{"serve", map[string]string{overlay.EnvInvite: "x"}, map[string]string{"secret-file": ""}},
	} {
		t.Run(tt.command, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			cmd, err := settled(t, append(strings.Fields(tt.command), "--config", file)...)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range tt.want {
				if got := cmd.Flags().Lookup(name).Value.String(); got != want {
					t.Errorf("--%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestEveryFlagHasAVariableOfItsOwn(t *testing.T) {
	cmd, err := settled(t, "relay")
	if err != nil {
		t.Fatal(err)
	}
	if got := envOf("max-links-per-address"); got != "WEFT_MAX_LINKS_PER_ADDRESS" {
		t.Errorf("the variable is %s", got)
	}
	t.Setenv("WEFT_MAX_LINKS", "many")
	if _, err := settled(t, cmd.Name()); err == nil || !strings.Contains(err.Error(), "WEFT_MAX_LINKS") {
		t.Errorf("a number that is none: %v", err)
	}
}

func TestAFileThatMakesNoSenseIsRefused(t *testing.T) {
	for want, text := range map[string]string{
		`no command "rely"`:    "rely: {listen: x}",
		`is called "liste"`:    "relay: {liste: x}",
		`is called "listen"`:   "serve: {listen: x}",
		"is no configuration":  "- a\n- b\n",
		"takes one value":      "relay: {listen: [a, b]}",
		"invalid duration":     "relay: {grace: soon}",
		"cannot be read":       "",
		"which no configurati": "#" + strings.Repeat("x", maxConfigFile),
	} {
		file := writeConfig(t, text)
		if text == "" {
			file += ".missing"
		}
		if _, err := settled(t, "relay", "--config", file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
	if _, err := settled(t, "relay", "--config", writeConfig(t, "")); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func TestAFileIsNamedByTheEnvironment(t *testing.T) {
	t.Setenv(envConfig, writeConfig(t, "relay: {listen: ':3'}"))
	cmd, err := settled(t, "relay")
	if err != nil || cmd.Flags().Lookup("listen").Value.String() != ":3" {
		t.Errorf("--listen is %q: %v", cmd.Flags().Lookup("listen").Value, err)
	}
}
