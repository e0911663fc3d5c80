package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan returns a command for those who package weft.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write manual pages, one for each command, to a directory",
		Long:   "Writes manual pages, one for each command, to a directory. Their date is today's, or SOURCE_DATE_EPOCH.",
		Hidden: true,
		Args:   arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("the manual cannot be written: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // pages are the same on each day
			header := &doc.GenManHeader{Section: "1", Source: "weft", Manual: "weft"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("the manual cannot be written: %w", err)
			}
			return nil
		},
	}
}
