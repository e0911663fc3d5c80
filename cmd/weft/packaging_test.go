package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const packaging = "../../packaging"

// parses checks that a command line that a package contains makes sense.
func parses(t *testing.T, args []string) {
	t.Helper()
	root := newRoot()
	cmd, rest, err := root.Find(args)
	if err != nil || cmd == root {
		t.Errorf("weft %q: no such command: %v", args, err)
		return
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("weft %q: %v", args, err)
	}
}

func TestUnitsOfSystemdStartWhatThereIs(t *testing.T) {
	units, err := filepath.Glob(packaging + "/systemd/*.service")
	if err != nil || len(units) == 0 {
		t.Fatalf("no units: %v", err)
	}
	for _, unit := range units {
		b, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/weft (.*)$`).FindSubmatch(b)
		if m == nil {
			t.Errorf("%s starts nothing", unit)
			continue
		}
		parses(t, strings.Fields(string(m[1])))
	}
}

func TestComposeFileStartsWhatThereIs(t *testing.T) {
	b, err := os.ReadFile(packaging + "/docker/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Command []string
		}
	}
	if err := yaml.Unmarshal(b, &file); err != nil || len(file.Services) != 3 {
		t.Fatalf("%d services: %v", len(file.Services), err)
	}
	for _, s := range file.Services {
		parses(t, s.Command)
	}
}

// All settings in the file that packages install are comments; each must be one
// that there is.
func TestInstalledSettingsExist(t *testing.T) {
	b, err := os.ReadFile(packaging + "/weft.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"as it is":          string(b),
		"with all settings": regexp.MustCompile(`(?m)^  # `).ReplaceAllString(string(b), "  "),
	} {
		if _, err := settled(t, "relay", "--config", writeConfig(t, text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManualHasAPageForEachCommand(t *testing.T) {
	dir := t.TempDir()
	if _, stderr, code := weft(t, "man", dir); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, c := range newRoot().Commands() {
		page, err := os.ReadFile(filepath.Join(dir, "weft-"+c.Name()+".1"))
		if c.Hidden || c.Name() == "help" {
			continue
		}
		if err != nil || !strings.Contains(string(page), "EXAMPLE") {
			t.Errorf("the page of weft %s has %d bytes, or no examples: %v", c.Name(), len(page), err)
		}
	}
}
