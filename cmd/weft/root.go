package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// A usageError is a command line that makes no sense, as opposed to a command
// that failed.
type usageError struct {
	err  error
	help string // how to get help on the command
}

func (e *usageError) Error() string { return fmt.Sprintf("%v (see %s)", e.err, e.help) }
func (e *usageError) Unwrap() error { return e.err }

// usage turns err, if it is one, into a usageError about cmd.
func usage(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err, cmd.CommandPath() + " --help"}
}

// arguments makes the errors of a cobra argument check usage errors.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return usage(cmd, check(cmd, args)) }
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "weft",
		Short: "Overlay networks whose connections are plain net.Conns",
		Long: `Overlay networks whose connections are plain net.Conns: relays, nodes, and
programs of all kinds between them.

Answers go to standard output, everything else to standard error; --json is for
programs, where data is printed. The exit code is 0 for success, 1 for a failure
and 2 for a command line that makes no sense.

weft completion bash, zsh, fish or powershell prints what completes commands,
flags and the names of nodes.`,
		Example: `  weft relay                          # the first of a new network; it prints how the next machine joins
  weft doctor kv-1                    # why a node is not reached
  source <(weft completion bash)`,
		Version:       version(),
		SilenceErrors: true, // run prints them, once
		SilenceUsage:  true, // a failure is no reason to print the manual
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return usage(cmd, fmt.Errorf("there is no command %q", args[0]))
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return settle(cmd) },
	}
	root.PersistentFlags().String("config", "", "YAML `file` with settings ("+envConfig+"): a section for each command, and one named all, with flags and their values; the environment overrides it (--max-links is WEFT_MAX_LINKS there), and flags override that")
	root.SetFlagErrorFunc(usage)
	root.Flags().Bool("version", false, "show the version") // without the letter -v, which is --verbose elsewhere
	root.SetVersionTemplate("weft {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newID(), newSecret(), newInvite(), newRevoke(), newNetwork(), newRelay(), newServe(), newGet(), newPing(), newStatus(), newMan())
	root.AddCommand(newUp(), newForward(), newSocks(), newNetcheck(), newDoctor(), newBench(), newSend(), newReceive(), newTop())
	return root
}

// version is the module's version if the command was built from a release, and
// the commit otherwise.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel " + s.Value
		}
	}
	return "devel"
}
