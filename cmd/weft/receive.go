package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/cmd/weft/internal/transfer"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

const (
	// receiveFiles and receiveBytes are what one transfer may have if nobody says.
	receiveFiles = 10_000
	receiveBytes = 100 << 30
	// receiveConns is how many senders may say who they are at once; one of them sends.
	receiveConns = 16
)

// A receiveCommand is the command line of weft receive.
type receiveCommand struct {
	guest
	from        []string
	port        uint16
	once, force bool
	asJSON      bool
	maxFiles    int
	maxBytes    int64
}

func newReceive() *cobra.Command {
	var r receiveCommand
	cmd := &cobra.Command{
		Use:   "receive [DIR]",
		Short: "Receive files that a node sends with weft send",
		Long: `Receives files into a directory, this one if it is not said, until it is told to
stop, or after one transfer with --once. It shows a code that the sender must say;
with --from it takes files of those nodes, and needs none. In a network without a secret
names prove nothing: name IDs or keys there.

No file that is there is replaced without --force. Names may have directories, and
nothing hidden, nor anything that leads outside. What is not complete has a name such as
.weft-1f3b….part, where the next attempt goes on; remove it if there is none.

It uses the node of weft up if there is one of the same network. Otherwise it makes one,
which should have a --name.`,
		Example: `  weft receive                         # then, elsewhere: weft send report.pdf laptop --code ...
  weft receive --name kv-1 --from laptop --once ~/incoming`,
		Args: arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&r.from, "from", nil, "from whom to receive without a code: a node's name, ID or key, or role:ROLE; may be repeated")
	f.BoolVar(&r.once, "once", false, "end after one transfer")
	f.BoolVar(&r.force, "force", false, "replace files that are there")
	f.Uint16Var(&r.port, "port", transfer.Port, "`port` of the overlay to listen on; 0 picks a free one")
	f.IntVar(&r.maxFiles, "max-files", receiveFiles, "how many files one transfer may have")
	f.Int64Var(&r.maxBytes, "max-bytes", receiveBytes, "how many `bytes` one transfer may have")
	f.BoolVar(&r.asJSON, "json", false, "print the code, and what became of each file, as JSON, one object a line")
	r.nameFlag(cmd)
	r.flags(cmd)
	return cmd
}

func (c *receiveCommand) run(cmd *cobra.Command, args []string) error {
	if c.maxFiles < 0 || c.maxBytes < 0 {
		return usage(cmd, errors.New("limits cannot be negative"))
	}
	rule, err := parseRule(c.from)
	if err != nil {
		return usage(cmd, err)
	}
	dir := "."
	if len(args) == 1 {
		dir = args[0]
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	node, err := c.node(cmd, logrus.WarnLevel)
	if err != nil {
		return err
	}
	defer node.Close()
	ln, err := node.ListenFor(cmd.Context(), c.port, rule)
	if err != nil {
		return err
	}
	if node.own != nil {
		defer openSocket(node.own, node.log)()
	}
	if err := node.WaitReady(cmd.Context()); err != nil {
		_ = ln.Close()
		if cmd.Context().Err() != nil {
			return nil // told to stop before it was ready
		}
		return err
	}
	code := ""
	if rule == nil {
		code = newCode()
	}
	if err := c.announce(cmd, node, root.Name(), code, ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	return c.serve(cmd, node, ln, transfer.Receiver{Root: root, Code: code, MaxFiles: c.maxFiles, MaxBytes: c.maxBytes, Force: c.force})
}

// newCode makes a code of 40 bits, which nobody guesses at one a second.
func newCode() string {
	s := rand.Text()[:8]
	return s[:4] + "-" + s[4:]
}

// announce prints how to send something here.
func (c *receiveCommand) announce(cmd *cobra.Command, node *host, dir, code string, at net.Addr) error {
	who, port := node.Name(), uint16(0)
	if who == "" {
		who = node.ID().String()
	}
	if a, ok := at.(overlay.Addr); ok {
		port = a.Port
	}
	if c.asJSON {
		return printLine(cmd.OutOrStdout(), struct {
			Node string `json:"node"`
			Name string `json:"name,omitempty"`
			Port uint16 `json:"port"`
			Dir  string `json:"dir"`
			Code string `json:"code,omitempty"`
		}{node.ID().String(), node.Name(), port, dir, code})
	}
	how := "weft send FILE " + who
	if port != transfer.Port {
		how += fmt.Sprintf(" --port %d", port)
	}
	if code != "" {
		how += " --code " + code
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "receiving into %s; send with: %s\n", dir, how)
	return err
}

// printLine prints v as JSON on a line of its own.
func printLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// A receiving is weft receive while it waits for senders.
type receiving struct {
	command *receiveCommand
	cmd     *cobra.Command
	log     *logrus.Logger
	files   transfer.Receiver // what all transfers have in common
	slots   chan struct{}     // a place for each sender
	busy    chan struct{}     // the place of the one that sends
	ended   chan error        // capacity 1: the transfer that --once waits for
}

// serve receives until it is enough.
func (c *receiveCommand) serve(cmd *cobra.Command, node *host, ln net.Listener, files transfer.Receiver) error {
	r := &receiving{command: c, cmd: cmd, log: node.log, files: files, slots: make(chan struct{}, receiveConns), busy: make(chan struct{}, 1), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(cmd.Context())
	var wg sync.WaitGroup
	failed := make(chan error, 1)
	wg.Go(func() { failed <- r.accept(ctx, ln, &wg) })
	var err error
	select {
	case err = <-r.ended:
	case err = <-failed:
	case <-ctx.Done():
	}
	cancel()
	_ = ln.Close()
	wg.Wait()
	return err
}

// accept takes senders until the listener is closed.
func (r *receiving) accept(ctx context.Context, ln net.Listener, wg *sync.WaitGroup) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		select {
		case r.slots <- struct{}{}:
		default:
			join.Reset(conn, stream.CodeBacklogFull)
			continue
		}
		wg.Go(func() {
			defer func() { <-r.slots }()
			r.receive(ctx, conn)
		})
	}
}

// receive receives from one sender.
func (r *receiving) receive(ctx context.Context, conn net.Conn) {
	peer := conn.RemoteAddr().String()
	if p, ok := overlay.PeerOf(conn); ok {
		peer = named(p.ID.String(), firstOf(p.Names))
	}
	show := newTransferShow(r.cmd, r.command.asJSON, peer)
	files := r.files
	files.Progress, files.Done = show.progress, show.done
	begun := false
	files.Begin = func(n int, bytes int64) (func(), error) {
		select {
		case r.busy <- struct{}{}:
		default:
			return nil, errors.New("it is receiving from somebody else; try again later")
		}
		begun = true
		if !r.command.asJSON {
			fmt.Fprintf(r.cmd.ErrOrStderr(), "%d files with %s from %s\n", n, bytesOf(uint64(bytes)), peer) //nolint:gosec // not negative
		}
		show.expect(bytes)
		return func() { show.clear(); <-r.busy }, nil
	}
	failed, err := files.Receive(ctx, conn)
	if err != nil {
		r.log.WithError(err).WithField("from", peer).Warn("a transfer has broken, or was refused")
	} else {
		// The sender closes first, once it has heard the last answer.
		_ = conn.SetReadDeadline(time.Now().Add(socketPatience))
		_, _ = conn.Read(make([]byte, 1))
	}
	_ = conn.Close()
	if !r.command.once || !begun || err != nil {
		return // --once goes on until all has arrived
	}
	var end error
	if failed > 0 {
		end = fmt.Errorf("%d files have not arrived; why stands above", failed)
	}
	select {
	case r.ended <- end:
	default:
	}
}

func firstOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}
