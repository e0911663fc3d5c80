package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/weftnet/weft/overlay"
)

const (
	port = 22

	// patience is how long an SSH handshake may take.
	patience = 30 * time.Second
	// maxSessions is how many commands a client may run at one time on a conn, as
	// OpenSSH's MaxSessions.
	maxSessions = 10
	// maxRefusals is how many refusals of a peer are told in one refusalWindow. The
	// rest is counted: a log must not be a stranger's to fill.
	maxRefusals   = 3
	refusalWindow = time.Minute
)

// newServerConfig returns a config with a host key that lasts as long as this
// process. Clients need not know it: what they would learn from it, the overlay
// has proven. Nor is there anything for clients to prove.
func newServerConfig() (*ssh.ServerConfig, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	return config, nil
}

// listen waits for the peers that a rule allows.
func listen(node *overlay.Node, allow *overlay.Rule) (*server, error) {
	config, err := newServerConfig()
	if err != nil {
		return nil, err
	}
	s := &server{config: config, lines: make(chan string, 64), refused: make(map[overlay.PublicKey]*refusals)}
	// The rule is asked before there is a conn: whoever it does not allow gets
	// overlay.ErrNotAllowed from Dial, and no byte of SSH is read for it.
	s.ln, err = overlay.ListenConfig{Allow: &overlay.Rule{Func: func(p overlay.Peer) bool {
		return allow.Allows(p) || s.refuse(p, time.Now())
	}}}.Listen(node, port)
	return s, err
}

// serve runs commands until ctx ends, and tells log who did what.
func (s *server) serve(ctx context.Context, log io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		s.wg.Wait()
	}()
	s.wg.Go(func() { s.write(ctx, log) })
	defer context.AfterFunc(ctx, func() { _ = s.ln.Close() })()
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		s.wg.Go(func() { s.handle(ctx, conn) })
	}
}

type server struct {
	config *ssh.ServerConfig
	ln     net.Listener
	lines  chan string // of the log
	wg     sync.WaitGroup

	mu      sync.Mutex // guards refused
	refused map[overlay.PublicKey]*refusals
}

// refusals are those of one peer in one window.
type refusals struct {
	since time.Time
	n     int
}

// write writes the log.
func (s *server) write(ctx context.Context, log io.Writer) {
	for {
		select {
		case line := <-s.lines:
			fmt.Fprintln(log, line)
		case <-ctx.Done():
			return
		}
	}
}

// tell has a line written. It never blocks, as rules must not: a line that finds the
// queue full is lost.
func (s *server) tell(format string, args ...any) {
	select {
	case s.lines <- fmt.Sprintf(format, args...):
	default:
	}
}

// refuse tells that a peer is refused, unless it was told often enough of late.
// It returns false, for a rule's Func. What it remembers is bounded by the members of
// the network in one window.
func (s *server) refuse(p overlay.Peer, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, r := range s.refused {
		if now.Sub(r.since) >= refusalWindow {
			if r.n > maxRefusals {
				s.tell("%s: refused %d more times in a minute", key, r.n-maxRefusals)
			}
			delete(s.refused, key)
		}
	}
	r := s.refused[p.Key]
	if r == nil {
		r = &refusals{since: now}
		s.refused[p.Key] = r
	}
	if r.n++; r.n <= maxRefusals {
		s.tell("%s: refused; -allow with one of %q or -allow-role with one of %q would serve it", who(p), p.Names, p.Roles)
	}
	return false
}

// who is a peer, for people.
func who(p overlay.Peer) string {
	if len(p.Names) > 0 {
		return fmt.Sprintf("%s (%s)", p.Names[0], p.ID)
	}
	return p.ID.String()
}

// handle serves one conn.
func (s *server) handle(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	peer, _ := overlay.PeerOf(conn) // who it is, proven
	_ = conn.SetDeadline(time.Now().Add(patience))
	client, chans, reqs, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		s.tell("%s: %v", who(peer), err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	ctx, stop := context.WithCancel(ctx) // a client that is gone runs nothing
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer stop()
	go ssh.DiscardRequests(reqs)
	running := make(chan struct{}, maxSessions)
	for offer := range chans {
		if offer.ChannelType() != "session" {
			_ = offer.Reject(ssh.UnknownChannelType, "this server has sessions only")
			continue
		}
		select {
		case running <- struct{}{}:
		default:
			_ = offer.Reject(ssh.ResourceShortage, fmt.Sprintf("%d sessions of this conn are running", maxSessions))
			continue
		}
		channel, requests, err := offer.Accept()
		if err != nil {
			break
		}
		sessions.Go(func() {
			defer func() { <-running }()
			s.session(ctx, peer, channel, requests)
		})
	}
	_ = client.Close()
}

// session does the one thing that a session is for.
func (s *server) session(ctx context.Context, peer overlay.Peer, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for req := range requests {
		var command struct{ Line string }
		known := req.Type == "shell" || req.Type == "exec" && ssh.Unmarshal(req.Payload, &command) == nil
		if req.WantReply {
			_ = req.Reply(known, nil)
		}
		if !known {
			continue // such as pty-req: there is no terminal here
		}
		go ssh.DiscardRequests(requests)
		status := uint32(0)
		if req.Type == "shell" {
			_, _ = io.Copy(channel, channel)
		} else {
			status = execute(ctx, peer, command.Line, channel)
			s.tell("%s: status %d of %q", who(peer), status, command.Line)
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}

// execute runs a command with the shell and returns its exit status. The command
// learns from WEFT_PEER who it runs for.
func execute(ctx context.Context, peer overlay.Peer, line string, channel ssh.Channel) uint32 {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Env = append(cmd.Environ(), "WEFT_SECRET=", "WEFT_PEER="+peer.ID.String())
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	cmd.WaitDelay = time.Second // for children that keep the output open
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(channel.Stderr(), "the command did not start:", err)
		return 126
	}
	go func() { // ends with the channel; a command need not read what it is sent
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	if err = cmd.Wait(); err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() >= 0 {
		return uint32(exit.ExitCode())
	}
	return 255 // a signal ended it
}
