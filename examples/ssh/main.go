// Command ssh is an SSH server and its client, golang.org/x/crypto/ssh on conns of
// the overlay, without known_hosts, authorized_keys or passwords: the overlay has
// proven who is at both ends. With WEFT_SECRET and WEFT_RELAYS set on both machines:
//
//	WEFT_NAME=shed go run ./ssh -allow laptop        # serves the node laptop
//	WEFT_NAME=laptop go run ./ssh shed uname -a      # runs a command there
//	WEFT_NAME=laptop go run ./ssh shed               # or an echo shell
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/weftnet/weft/overlay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		os.Exit(exit.ExitStatus()) // as ssh does
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ssh:", err)
		os.Exit(255)
	}
}

// run serves, if it is said whom, or has a node run a command.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) error {
	flags := flag.NewFlagSet("ssh", flag.ContinueOnError)
	flags.SetOutput(errs)
	names := flags.String("allow", "", "serve the nodes of these `names`, separated by commas")
	roles := flags.String("allow-role", "", "serve the nodes with one of these `roles`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	serving := *names != "" || *roles != ""
	if serving == (flags.NArg() > 0) {
		return errors.New("say -allow or -allow-role and whom to serve, or NODE [COMMAND] to have it run there")
	}
	node, err := overlay.Default() // what the environment says
	if err != nil {
		return err
	}
	defer node.Close()
	if serving {
		s, err := listen(node, &overlay.Rule{Names: words(*names), Roles: words(*roles)})
		if err != nil {
			return err
		}
		return s.serve(ctx, errs)
	}
	return call(ctx, node, flags.Arg(0), strings.Join(flags.Args()[1:], " "), in, out, errs)
}

// words splits what is separated by commas.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
