package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/weftnet/weft/overlay"
)

// call has a node run a command line, or its shell if that is empty. The error is an
// *ssh.ExitError if the command ended with a status other than zero.
func call(ctx context.Context, node *overlay.Node, host, line string, in io.Reader, out, errs io.Writer) error {
	if strings.ContainsAny(host, "@:") {
		return fmt.Errorf("%q is no node: users and ports mean nothing here, say a name, an ID or a key", host)
	}
	conn, err := node.Dial(ctx, net.JoinHostPort(host, strconv.Itoa(port)))
	if errors.Is(err, overlay.ErrNotAllowed) {
		return fmt.Errorf("%s does not serve this node: it has to be started with -allow %s: %w", host, orID(node), err)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	config := &ssh.ClientConfig{HostKeyCallback: proven}
	sshConn, chans, reqs, err := ssh.NewClientConn(conn, conn.RemoteAddr().String(), config)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	client := ssh.NewClient(sshConn, chans, reqs)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	session.Stdout, session.Stderr = out, errs
	stdin, err := session.StdinPipe() // Wait would wait for the end of session.Stdin
	if err != nil {
		return err
	}
	start := session.Shell
	if line != "" {
		start = func() error { return session.Start(line) }
	}
	if err := start(); err != nil {
		return err
	}
	go func() { // may outlive the call by the one read that nothing can end, of a terminal
		_, _ = io.Copy(stdin, in)
		_ = stdin.Close()
	}()
	err = session.Wait()
	if _, ok := errors.AsType[*ssh.ExitMissingError](err); ok {
		return errors.Join(context.Cause(ctx), fmt.Errorf("the conn to %s ended before the command: %w", host, err))
	}
	return err
}

// proven takes the place of known_hosts: Dial has made sure that who answers holds
// the key of that ID, or a certificate with that name, and RemoteAddr says which node
// it is. Nobody is in between, so its host key need not be known. A conn that is not of
// the overlay proves nothing and is refused.
func proven(_ string, remote net.Addr, _ ssh.PublicKey) error {
	if addr, ok := remote.(overlay.Addr); !ok || addr.Node == 0 {
		return fmt.Errorf("%s is not an address of the overlay: its host key is unknown", remote)
	}
	return nil
}

// orID is what others can allow a node by.
func orID(node *overlay.Node) string {
	if node.Name() != "" {
		return node.Name()
	}
	return "NAME, and this one with a WEFT_NAME"
}
