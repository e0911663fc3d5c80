package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/cmd/weft/internal/progress"
	"github.com/weftnet/weft/cmd/weft/internal/transfer"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

// A sendCommand is the command line of weft send.
type sendCommand struct {
	guest
	code    string
	port    uint16
	timeout time.Duration
	asJSON  bool
}

func newSend() *cobra.Command {
	s := sendCommand{guest: guest{membership: membership{short: true}}}
	cmd := &cobra.Command{
		Use:   "send FILE... NODE",
		Short: "Send files to a node that runs weft receive",
		Long: `Sends files, and all files in directories, to a node on which weft receive runs.
Each is checked by its SHA-256 when it has arrived. A transfer that has broken goes on
where it was when the same command is given again; what is there already is not sent again.

In directories, hidden files, symbolic links and whatever else is no file are left out,
and named on standard error. Times and permissions of files are not sent.

It fails if a file has not arrived, and says why.`,
		Example: `  weft send report.pdf kv-1 --code K7QP-M2ZD
  weft send photos/ notes.txt kv-1     # to weft receive --from laptop, no code is needed`,
		Args:              arguments(cobra.MinimumNArgs(2)),
		ValidArgsFunction: completeFilesAndNodes,
		RunE:              func(cmd *cobra.Command, args []string) error { return s.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&s.code, "code", "", "`code` that weft receive has shown; it is worth nothing when that has ended")
	f.Uint16Var(&s.port, "port", transfer.Port, "`port` on which the node receives")
	f.DurationVar(&s.timeout, "timeout", defaultTimeout, "how long to wait for a relay, and then for the node")
	f.BoolVar(&s.asJSON, "json", false, "print what became of each file as JSON, one object a line")
	s.flags(cmd)
	return cmd
}

// completeFilesAndNodes completes the first argument to a file and others to either.
func completeFilesAndNodes(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return knownNodes(cmd.Context(), "", typed, ""), cobra.ShellCompDirectiveDefault
}

func (s *sendCommand) run(cmd *cobra.Command, args []string) error {
	paths, target := args[:len(args)-1], args[len(args)-1]
	if host, _, err := net.SplitHostPort(target); err == nil {
		return usage(cmd, fmt.Errorf("say the node alone, %s, and its port as --port", host))
	}
	files, skipped, err := transfer.Collect(paths)
	if err != nil {
		return fmt.Errorf("nothing is sent: %w", err)
	}
	for _, name := range skipped {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s is left out: it is hidden, no file, or has a name that not all systems have\n", transfer.Printable(name))
	}
	if len(files) == 0 {
		return errors.New("there is no file to send")
	}
	node, err := s.node(cmd, logrus.ErrorLevel)
	if err != nil {
		return err
	}
	defer node.Close()
	if err := waitReady(cmd.Context(), node, s.timeout); err != nil {
		return err
	}
	answered, err := ping(cmd.Context(), node, target, s.timeout)
	if err != nil {
		return err
	}
	conn, err := node.Dial(cmd.Context(), net.JoinHostPort(answered.Peer.ID.String(), strconv.Itoa(int(s.port))))
	if err != nil {
		if errors.Is(err, overlay.ErrRefused) {
			return fmt.Errorf("%s does not receive from this node; start weft receive there, with --from if it is to be without a code: %w", target, err)
		}
		return err
	}
	show := newTransferShow(cmd, s.asJSON, named(answered.Peer.ID.String(), target))
	show.expect(sizeOf(files))
	err = (&transfer.Sender{Files: files, Code: s.code, Progress: show.progress, Done: show.done}).Send(cmd.Context(), conn)
	show.clear()
	switch {
	case err != nil:
		join.Reset(conn, stream.CodeCanceled)
		if _, refused := errors.AsType[*transfer.RefusedError](err); refused || cmd.Context().Err() != nil {
			return err
		}
		return fmt.Errorf("the transfer has broken; say the same again to go on: %w", err)
	case show.failed > 0:
		return errors.Join(conn.Close(), fmt.Errorf("%d of %d files have not arrived; why stands above", show.failed, len(files)))
	}
	return conn.Close()
}

func sizeOf(files []transfer.File) (n int64) {
	for _, f := range files {
		n += f.Size
	}
	return n
}

// A transferShow shows how a transfer goes. Its methods may be called by many
// goroutines.
type transferShow struct {
	cmd    *cobra.Command
	asJSON bool
	peer   string

	mu     sync.Mutex
	bar    *progress.Bar
	sum    int64
	failed int
}

func newTransferShow(cmd *cobra.Command, asJSON bool, peer string) *transferShow {
	return &transferShow{cmd: cmd, asJSON: asJSON, peer: peer}
}

// expect begins a bar of so many bytes.
func (t *transferShow) expect(bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bar, t.sum = progress.New(t.cmd.ErrOrStderr(), "", bytes, true), 0
}

func (t *transferShow) progress(name string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum += n
	t.bar.Describe(transfer.Printable(name))
	t.bar.Set(t.sum)
}

func (t *transferShow) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bar.Clear()
	t.bar = nil
}

// A transferLine is what --json prints of a file. Its fields are only ever added to.
type transferLine struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"`
	Resumed int64  `json:"resumed,omitempty"` // bytes that were there before
	Peer    string `json:"peer"`
	Error   string `json:"error,omitempty"`
}

// done says what became of a file.
func (t *transferShow) done(o transfer.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.Err != nil {
		t.failed++
	}
	t.bar.Clear()
	name := transfer.Printable(o.Name)
	switch {
	case t.asJSON:
		line := transferLine{Name: o.Name, Size: o.Size, Resumed: o.Resumed, Peer: t.peer}
		if o.Err != nil {
			line.Error = o.Err.Error()
		}
		_ = printLine(t.cmd.OutOrStdout(), line)
	case o.Err != nil:
		fmt.Fprintf(t.cmd.ErrOrStderr(), "%s: %v\n", name, o.Err)
	case o.Resumed == o.Size && o.Size > 0:
		fmt.Fprintf(t.cmd.OutOrStdout(), "%s  %s, was there already\n", name, bytesOf(uint64(o.Size))) //nolint:gosec // not negative
	case o.Resumed > 0:
		fmt.Fprintf(t.cmd.OutOrStdout(), "%s  %s, of which %s were there\n", name, bytesOf(uint64(o.Size)), bytesOf(uint64(o.Resumed))) //nolint:gosec // not negative
	default:
		fmt.Fprintf(t.cmd.OutOrStdout(), "%s  %s\n", name, bytesOf(uint64(o.Size))) //nolint:gosec // not negative
	}
}
