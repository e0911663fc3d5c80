package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weftnet/weft/overlay"
)

func newID() *cobra.Command {
	var state string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "id [--state DIR]",
		Short: "Show a node's ID and key; make the key if there is none",
		Long: `Shows the ID and the public key of the node whose key is in the state
directory. If the directory holds no key yet, a new one is made there.

Others dial a node by either: the ID is short, the key leaves no doubt. A
node behind a closed firewall can use wss://host as the address of a relay.`,
		Example: `  weft id --state ~/.weft`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if state == "" {
				state = os.Getenv(overlay.EnvState)
			}
			if state == "" {
				return usage(cmd, errors.New("where is the key? Say --state DIR or set "+overlay.EnvState))
			}
			key, err := overlay.LoadKey(state)
			if err != nil {
				return err
			}
			if asJSON {
				return printLine(cmd.OutOrStdout(), map[string]string{"id": key.ID().String(), "key": key.Public().String()})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "id   %s\nkey  %s\n", key.ID(), key.Public())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&state, "state", "", "`directory` that holds the key, or will ("+overlay.EnvState+")")
	return cmd
}
