package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weftnet/weft/overlay"
)

func newSecret() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Make a secret for a new network",
		Long: `Prints a new random secret. Whoever knows it is a member of the network and
can make others members, so keep it as you would a private key: in a file
that only you can read, or in your secret store. Others get an invite instead:
see weft invite. weft secret rotate replaces the secret of a network that there is.`,
		Example: `  export WEFT_SECRET=$(weft secret)`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), overlay.NewSecret())
			return err
		},
	}
	cmd.AddCommand(newRotate())
	return cmd
}
