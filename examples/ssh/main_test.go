package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A log is what a server told.
type log struct {
	mu   sync.Mutex
	text strings.Builder
	told chan struct{} // has room for one: something was told
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.told <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// waitFor waits until something was told.
func (l *log) waitFor(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.told:
		case <-testnet.Context(t).Done():
			t.Fatalf("no %q in %q", text, l)
		}
	}
}

// startServer serves the node laptop and nodes with the role admin until the test
// ends, or stop is called.
func startServer(t *testing.T, cfg overlay.Config) (l *log, stop func()) {
	t.Helper()
	node := testnet.Named(t, cfg, "shed")
	s, err := listen(node, &overlay.Rule{Names: []string{"laptop"}, Roles: []string{"admin"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	l = &log{told: make(chan struct{}, 1)}
	go func() { served <- s.serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l, stop
}

func TestCommands(t *testing.T) {
	cfg := testnet.Start(t)
	startServer(t, cfg)
	laptop := testnet.Named(t, cfg, "laptop")
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for _, tt := range []struct {
		name, line, in, out, errs string
		status                    int
	}{
		{name: "output", line: "echo hello", out: "hello\n"},
		{name: "input", line: "cat; echo", in: "from here", out: "from here\n"},
		{name: "a megabyte both ways", line: "cat", in: big, out: big},
		{name: "shell", in: "echoed", out: "echoed"},
		{name: "status", line: "echo no >&2; exit 3", errs: "no\n", status: 3},
		{name: "signal", line: "kill -TERM $$", status: 255},
		{name: "who calls", line: "echo $WEFT_PEER$WEFT_SECRET", out: laptop.ID().String() + "\n"},
		{name: "input that nobody reads", line: "true", in: big},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			err := call(testnet.Context(t), laptop, "shed", tt.line, strings.NewReader(tt.in), &out, &errs)
			status := 0
			if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
				status, err = exit.ExitStatus(), nil
			}
			if err != nil || status != tt.status || out.String() != tt.out || errs.String() != tt.errs {
				t.Errorf("status %d, %d bytes %.80q, %q, %v", status, out.Len(), &out, &errs, err)
			}
		})
	}
}

func TestInputMayStayOpen(t *testing.T) {
	cfg := testnet.Start(t)
	startServer(t, cfg)
	terminal, keys := io.Pipe()
	defer keys.Close()
	var out strings.Builder
	if err := call(testnet.Context(t), testnet.Named(t, cfg, "laptop"), "shed", "echo done", terminal, &out, nil); err != nil || out.String() != "done\n" {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestOnlyWhoIsAllowed(t *testing.T) {
	cfg := testnet.Start(t)
	told, _ := startServer(t, cfg)
	stranger := testnet.Named(t, cfg, "stranger")
	for range 2 * maxRefusals {
		err := call(testnet.Context(t), stranger, "shed", "true", nil, nil, nil)
		if !errors.Is(err, overlay.ErrNotAllowed) || !strings.Contains(err.Error(), "started with -allow stranger") {
			t.Errorf("%v", err)
		}
	}
	told.waitFor(t, "stranger ("+stranger.ID().String()+"): refused; ")
	cfg.Roles = []string{"admin"}
	if err := call(testnet.Context(t), testnet.Node(t, cfg), "shed", "true", strings.NewReader(""), io.Discard, io.Discard); err != nil {
		t.Error("by role: ", err)
	}
	told.waitFor(t, `status 0 of "true"`)
	if n := strings.Count(told.String(), "refused;"); n != maxRefusals {
		t.Errorf("%d refusals were told: %s", n, told)
	}
}

func TestRefusalsAreTold(t *testing.T) {
	s := &server{lines: make(chan string, 64), refused: make(map[overlay.PublicKey]*refusals)}
	peer := overlay.Peer{ID: 1, Names: []string{"mallory"}}
	at := time.Now()
	for range 10 {
		s.refuse(peer, at)
	}
	if len(s.lines) != maxRefusals {
		t.Errorf("%d lines", len(s.lines))
	}
	s.refuse(peer, at.Add(refusalWindow))
	if len(s.lines) != maxRefusals+2 || len(s.refused) != 1 { // how many more there were, and the new one
		t.Errorf("%d lines, %d peers", len(s.lines), len(s.refused))
	}
	for range maxRefusals {
		<-s.lines
	}
	if line := <-s.lines; !strings.Contains(line, "7 more times") {
		t.Error(line)
	}
	for range 1000 { // nobody writes the log
		s.tell("x")
	}
}

func TestTheServerGoes(t *testing.T) {
	cfg := testnet.Start(t)
	_, stop := startServer(t, cfg)
	laptop := testnet.Named(t, cfg, "laptop")
	reader, writer := io.Pipe()
	called := make(chan error, 1)
	go func() {
		called <- call(testnet.Context(t), laptop, "shed", "echo up; exec sleep 1000", strings.NewReader(""), writer, nil)
	}()
	if _, err := io.ReadFull(reader, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-called; err == nil || !strings.Contains(err.Error(), "ended before the command") {
		t.Error(err)
	}
	if err := call(testnet.Context(t), laptop, "shed", "true", nil, nil, nil); !errors.Is(err, overlay.ErrRefused) {
		t.Error(err)
	}
}

func TestTheClientGoes(t *testing.T) {
	cfg := testnet.Start(t)
	told, _ := startServer(t, cfg)
	laptop := testnet.Named(t, cfg, "laptop")
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	called := make(chan error, 1)
	go func() {
		called <- call(ctx, laptop, "shed", "echo up; exec sleep 1000", strings.NewReader(""), writer, nil)
	}()
	if _, err := io.ReadFull(reader, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-called; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	told.waitFor(t, "status 255 of") // it does not run on for nobody
}

func TestAHostKeyOfNobody(t *testing.T) {
	if err := proven("host:22", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 22}, nil); err == nil {
		t.Error("a server outside of the overlay was believed")
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"-allow", ""}, {"-allow", "laptop", "shed"}} {
		if err := run(t.Context(), args, nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "NODE [COMMAND]") {
			t.Errorf("%q: %v", args, err)
		}
	}
	testnet.Setenv(t, testnet.Start(t))
	for _, node := range []string{"root@shed", "shed:22"} {
		if err := run(t.Context(), []string{node, "true"}, nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "is no node") {
			t.Errorf("%s: %v", node, err)
		}
	}
}
