package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/help anew")

func TestHelp(t *testing.T) {
	commands := []string{""}
	for _, c := range newRoot().Commands() {
		if c.Name() != "help" {
			commands = append(commands, c.Name())
		}
		for _, sub := range c.Commands() {
			commands = append(commands, c.Name()+" "+sub.Name())
		}
	}
	for _, name := range commands {
		t.Run("weft "+name, func(t *testing.T) {
			args := append(strings.Fields(name), "--help")
			got, stderr, code := weft(t, args...)
			if code != exitOK || stderr != "" {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			file := filepath.Join("testdata", "help", "weft "+name+".txt")
			if name == "" {
				file = filepath.Join("testdata", "help", "weft.txt")
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("help differs from %s (go test -update writes it anew):\n%s", file, got)
			}
		})
	}
}

// Whoever can see the machine's processes must not see the secret.
func TestNoFlagTakesASecret(t *testing.T) {
	for _, c := range newRoot().Commands() {
		if c.Flags().Lookup("secret") != nil {
			t.Errorf("weft %s has the flag --secret", c.Name())
		}
	}
}
