package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/weftnet/weft/overlay"
)

// Each flag can also be set by an environment variable and in a file. A flag
// overrides the environment, and that the file.

// envConfig names the file.
const envConfig = "WEFT_CONFIG"

// maxConfigFile is how long a file may be.
const maxConfigFile = 1 << 20

// everybody is the section of the file for all commands.
const everybody = "all"

// ownSetting marks flags that the section for all commands does not set.
const ownSetting = "weft-own-setting"

// memberEnv are the flags whose variables package overlay reads, and how it calls
// them. Variables of others are called like the flag.
var memberEnv = map[string]string{
	"secret-file": overlay.EnvSecret, "invite": overlay.EnvInvite, "open": overlay.EnvOpen,
	"network": overlay.EnvNetwork, flagAlsoAccept: overlay.EnvAlsoAccept, "name": overlay.EnvName, "state": overlay.EnvState,
	"relay": overlay.EnvRelays, "relay-only": overlay.EnvRelayOnly, "no-lan": overlay.EnvNoLAN,
}

// envOf returns the variable that sets a flag.
func envOf(flag string) string {
	if name := memberEnv[flag]; name != "" {
		return name
	}
	return "WEFT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// A configFile is what the file says: by section, by flag.
type configFile map[string]map[string]any

// settle sets the flags of cmd that the command line does not.
func settle(cmd *cobra.Command) error {
	path, _ := cmd.Flags().GetString("config")
	if path == "" {
		path = os.Getenv(envConfig)
	}
	var file configFile
	if path != "" {
		var err error
		if file, err = readConfig(path, cmd.Root()); err != nil {
			return err
		}
	}
	var problems []error
	secrecy := saysHowToJoin(cmd)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || f.Name == "config" {
			return
		}
		if memberEnv[f.Name] == "" && os.Getenv(envOf(f.Name)) != "" {
			if err := set(f, os.Getenv(envOf(f.Name))); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", envOf(f.Name), err))
			}
			return
		}
		if os.Getenv(memberEnv[f.Name]) != "" || secrecy && slices.Contains(waysToJoin, f.Name) {
			return
		}
		if v, ok := file.of(cmd.Name(), f); ok {
			if err := set(f, v); err != nil {
				problems = append(problems, fmt.Errorf("%s, %s: %w", path, f.Name, err))
			}
		}
	})
	return usage(cmd, errors.Join(problems...))
}

// waysToJoin are the flags of which a command line says one at most.
var waysToJoin = []string{"secret-file", "invite", "open"}

// saysHowToJoin reports whether the command line or the environment says how to
// be a member, so that what the file says of that means nothing.
func saysHowToJoin(cmd *cobra.Command) bool {
	return slices.ContainsFunc(waysToJoin, func(name string) bool {
		f := cmd.Flags().Lookup(name)
		return f != nil && (f.Changed || os.Getenv(memberEnv[name]) != "")
	})
}

// of returns what the file says of a command's flag.
func (c configFile) of(command string, f *pflag.Flag) (any, bool) {
	if v, ok := c[command][f.Name]; ok {
		return v, true
	}
	if own(f) || slices.Contains(waysToJoin, f.Name) && slices.ContainsFunc(waysToJoin, func(way string) bool { return c[command][way] != nil }) {
		return nil, false
	}
	v, ok := c[everybody][f.Name]
	return v, ok
}

// own reports whether a flag is the command's own affair.
func own(f *pflag.Flag) bool {
	_, ok := f.Annotations[ownSetting]
	return ok
}

// set gives a flag a value: a text, or what YAML makes of one.
func set(f *pflag.Flag, v any) error {
	list, isList := v.([]any)
	if !isList {
		return f.Value.Set(fmt.Sprint(v))
	}
	many, ok := f.Value.(pflag.SliceValue)
	if !ok {
		return errors.New("it takes one value, not a list")
	}
	var texts []string
	for _, v := range list {
		texts = append(texts, fmt.Sprint(v))
	}
	return many.Replace(texts)
}

// readConfig reads a file and checks that it speaks of commands and flags that
// there are.
func readConfig(path string, root *cobra.Command) (configFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	if len(b) > maxConfigFile {
		return nil, fmt.Errorf("%s is longer than %d bytes, which no configuration is; name another file", path, maxConfigFile)
	}
	var file configFile
	if err := yaml.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("%s is no configuration: %w; it has a section for each command, and one named %s, with flags and their values", path, err, everybody)
	}
	return file, file.check(path, root)
}

// check finds what nothing would come of.
func (c configFile) check(path string, root *cobra.Command) error {
	flags := map[string]map[string]bool{everybody: {}}
	for _, cmd := range root.Commands() {
		flags[cmd.Name()] = make(map[string]bool)
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			flags[cmd.Name()][f.Name] = true
			flags[everybody][f.Name] = true
		})
	}
	for section, settings := range c {
		if flags[section] == nil {
			return fmt.Errorf("%s: there is no command %q; sections are %s", path, section, strings.Join(slices.Sorted(maps.Keys(flags)), ", "))
		}
		for name := range settings {
			if !flags[section][name] {
				return fmt.Errorf("%s: nothing in the section %q is called %q; what a flag is called there it is called in the file", path, section, name)
			}
		}
	}
	return nil
}
