package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

// patience is how long something may take that should be there at once.
const patience = 30 * time.Second

// newPair returns the nodes server and client of a lab.
func newPair(t *testing.T) (server, client *overlay.Node) {
	t.Helper()
	lab := overlaytest.New(t, overlaytest.Config{})
	lab.Relay("relay")
	return lab.Node("server", overlay.Config{}), lab.Node("client", overlay.Config{})
}

func quiet(t *testing.T) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(t.Output())
	return log
}

// started forwards until the test ends.
func started(t *testing.T, node *overlay.Node, cfg Config, specs ...Spec) *Group {
	t.Helper()
	cfg.Node, cfg.Logger = localapi.Own(node), quiet(t)
	g, err := Start(t.Context(), cfg, specs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// dialled is a conn of a forward.
func dialled(t *testing.T, g *Group, i int) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", g.Status()[i].Listen)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func TestCountersTellWhatHappened(t *testing.T) {
	t.Parallel()
	server, client := newPair(t)
	far := started(t, server, Config{Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			b := make([]byte, 4)
			_, _ = io.ReadFull(there, b)
			_, _ = there.Write(append(b, "answer"...))
			_ = there.Close()
		}()
		return here, nil
	}}, Spec{Remote: true, Listen: "1000", Target: "a:1"})
	near := started(t, client, Config{}, Spec{Listen: "127.0.0.1:0", Target: "server:1000"}, Spec{Listen: "127.0.0.1:0", Target: "server:1001"})
	c := dialled(t, near, 0)
	_, _ = c.Write([]byte("abcd"))
	if got, err := io.ReadAll(c); string(got) != "abcdanswer" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	_ = c.Close()
	for _, g := range []*Group{far, near} {
		await(t, func() bool { return g.Status()[0].Open == 0 })
		if st := g.Status()[0]; st.Total != 1 || st.Sent != 4 || st.Received != 10 || st.Failed != 0 {
			t.Errorf("%+v", st)
		}
	}
	refused, err := net.Dial("tcp", near.Status()[1].Listen)
	if err == nil {
		_ = refused.SetDeadline(time.Now().Add(patience))
		_, err = refused.Read(make([]byte, 1))
		_ = refused.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) { // at once, or a little later
		t.Errorf("nobody listens: %v", err)
	}
	await(t, func() bool { return near.Status()[1].Failed == 1 })
	if st := far.Status()[0]; st.Kind != "remote" || st.Net != "tcp" || st.Listen != "server:1000" || st.Target != "a:1" {
		t.Errorf("%+v", st)
	}
}

// await waits until something is true that nobody announces.
func await(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			t.Fatal("it never became true")
		}
	}
}

func TestCloseResetsConns(t *testing.T) {
	t.Parallel()
	server, client := newPair(t)
	ln, err := server.Listen(1000)
	if err != nil {
		t.Fatal(err)
	}
	near := started(t, client, Config{}, Spec{Listen: "127.0.0.1:0", Target: "server:1000"})
	c := dialled(t, near, 0)
	there, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the program: %v", err)
	}
	if _, err := there.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the node: %v", err)
	}
	_ = there.Close()
}

func TestOneBadForwardStartsNone(t *testing.T) {
	t.Parallel()
	_, client := newPair(t)
	taken, err := client.Listen(1000)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Start(t.Context(), Config{Node: localapi.Own(client), Logger: quiet(t)},
		[]Spec{{Remote: true, Listen: "1001", Target: "a:1"}, {Remote: true, Listen: "1000", Target: "a:1"}})
	if err == nil || !strings.Contains(err.Error(), "1000=a:1 cannot be forwarded") {
		t.Errorf("got %v", err)
	}
	free, err := client.Listen(1001)
	if err != nil {
		t.Fatalf("the first one still listens: %v", err)
	}
	_ = free.Close()
}

func TestAForwardThatCannotGoOnSaysSo(t *testing.T) {
	t.Parallel()
	server, _ := newPair(t)
	g := started(t, server, Config{}, Spec{Remote: true, Listen: "1000", Target: "a:1"}, Spec{Remote: true, UDP: true, Listen: "1000", Target: "a:1"})
	_ = server.Close()
	if err := <-g.Failed(); err == nil || !strings.Contains(err.Error(), "is not forwarded any more") {
		t.Errorf("got %v", err)
	}
}

func TestDialViaIsInterrupted(t *testing.T) {
	t.Parallel()
	server, client := newPair(t)
	ln, err := server.Listen(1000) // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	go func() {
		if c, err := ln.Accept(); err == nil {
			cancel(enough)
			_, _ = io.Copy(io.Discard, c)
			join.Reset(c, 0)
		}
	}()
	if c, err := DialVia(ctx, localapi.Own(client), "server:1000", "db:1"); err == nil {
		_ = c.Close()
		t.Error("a target of a node that says nothing")
	}
}
