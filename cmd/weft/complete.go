package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completePatience is how long the nodes that run here may take to tell of others
// while somebody waits for the shell.
const completePatience = time.Second

// completeNodes completes the first argument to a node that the nodes of this user,
// such as that of weft up, have met. Behind each is end, such as the colon before a
// port.
func completeNodes(end string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if end != "" {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return knownNodes(cmd.Context(), "", typed, end), directive
	}
}

// completeLocal completes the node in what -L says.
func completeLocal(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	port, node, ok := strings.Cut(typed, "=")
	if !ok {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return knownNodes(cmd.Context(), port+"=", node, ":"), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeRunning completes the first argument to a node that runs here.
func completeRunning(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, r := range runningNodes(cmd.Context()) {
		out = add(out, "", typed, "", r.Name, r.Node, "here")
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// knownNodes are the peers of all nodes that run here.
func knownNodes(ctx context.Context, before, typed, after string) (out []cobra.Completion) {
	for _, r := range runningNodes(ctx) {
		for _, p := range r.Peers {
			name := ""
			if len(p.Names) > 0 {
				name = p.Names[0]
			}
			if !slices.Contains(p.Roles, "relay") || name != "" {
				out = add(out, before, typed, after, name, p.Node, p.Path)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// add adds a node, by its name if it has one, if that begins as was typed.
func add(out []cobra.Completion, before, typed, after, name, id, about string) []cobra.Completion {
	if name == "" {
		name = id
	}
	if !strings.HasPrefix(name, strings.ToLower(typed)) {
		return out
	}
	return append(out, cobra.CompletionWithDesc(before+name+after, about))
}

func runningNodes(ctx context.Context) []report {
	ctx, cancel := context.WithTimeout(ctx, completePatience)
	defer cancel()
	all, err := askAll(ctx)
	if err != nil {
		return nil // there is nobody to tell
	}
	return all
}
