package localapi

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
	"github.com/weftnet/weft/stream"
)

// patience is how long something may take that should be there at once.
const patience = 30 * time.Second

// A world is a node that is served on a socket, its client, and another node.
type world struct {
	client *Client
	server *Server
	peer   *overlay.Node
	stop   func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	lab := overlaytest.New(t, overlaytest.Config{})
	lab.Relay("relay")
	node := lab.Node("up", overlay.Config{})
	w := &world{peer: lab.Node("peer", overlay.Config{})}
	log := logrus.New()
	log.SetOutput(t.Output())
	log.SetLevel(logrus.DebugLevel)
	w.server = NewServer(node, log)
	dir, err := os.MkdirTemp("", "weft") //nolint:usetesting // the names of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: w.server, ReadHeaderTimeout: patience}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(ln)
	}()
	stopped := false
	w.stop = func() {
		if !stopped {
			stopped = true
			_ = w.server.Close()
			_ = srv.Close()
			<-served
		}
	}
	t.Cleanup(func() {
		w.stop()
		os.RemoveAll(dir)
	})
	w.client = NewClient(socket, node.ID(), node.Name())
	return w
}

// dialled returns both ends of a conn: that of the other process, and the peer's.
func (w *world) dialled(t *testing.T) (here, there net.Conn) {
	t.Helper()
	ln, err := w.peer.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	here, err = w.client.Dial(t.Context(), "peer:80")
	if err != nil {
		t.Fatal(err)
	}
	there, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{here, there} {
		_ = c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { _ = c.Close() })
	}
	return here, there
}

func TestDial(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here, there := w.dialled(t)
	if here.LocalAddr() != there.RemoteAddr() || here.RemoteAddr() != there.LocalAddr() {
		t.Errorf("addresses %v %v, the peer says %v %v", here.LocalAddr(), here.RemoteAddr(), there.RemoteAddr(), there.LocalAddr())
	}
	if peer, ok := overlay.PeerOf(here); !ok || peer.Key != w.peer.Key() || len(peer.Names) != 1 || peer.ID != w.peer.ID() {
		t.Errorf("the peer is %+v", peer)
	}
	if path, ok := PathOf(here); !ok || path == "" {
		t.Error("the conn has no path")
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		_, _ = here.Write(data)
		_ = join.CloseWrite(here)
	}()
	if got, err := io.ReadAll(there); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the peer reads %d bytes, %v", len(got), err)
	}
	_, _ = there.Write(data)
	_ = there.Close()
	if got, err := io.ReadAll(here); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, err := here.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after the end: %v", err)
	}
}

func TestResetsGoThrough(t *testing.T) {
	t.Parallel()
	for name, reset := range map[string]func(here, there net.Conn) (reader net.Conn){
		"from the other process": func(here, there net.Conn) net.Conn { join.Reset(here, stream.CodeCanceled); return there },
		"from the peer":          func(here, there net.Conn) net.Conn { join.Reset(there, join.CodeTarget); return here },
		"by death": func(here, there net.Conn) net.Conn {
			_ = here.(*Conn).Conn.Close()
			return there
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := newWorld(t).dialled(t)
			_, err := reset(here, there).Read(make([]byte, 1))
			if e, ok := errors.AsType[*stream.ResetError](err); !ok || !e.Remote {
				t.Errorf("read: %v, want a reset", err)
			}
			if name == "from the peer" && join.Why(err) != "the node could not reach the target behind the port" {
				t.Errorf("the code got lost: %v", err)
			}
		})
	}
}

func TestCloseTellsThePeer(t *testing.T) {
	t.Parallel()
	here, there := newWorld(t).dialled(t)
	_, _ = here.Write([]byte("last words"))
	_ = here.Close()
	if got, err := io.ReadAll(there); string(got) != "last words" || err != nil {
		t.Errorf("the peer reads %q, %v", got, err)
	}
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read after Close: %v", err)
	}
}

func TestADeadlineLosesNothing(t *testing.T) {
	t.Parallel()
	here, there := newWorld(t).dialled(t)
	_ = here.SetReadDeadline(time.Unix(1, 0))
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	_ = here.SetReadDeadline(time.Now().Add(patience))
	_, _ = there.Write([]byte("hello"))
	b := make([]byte, 5)
	if _, err := io.ReadFull(here, b); err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ln, err := overlay.ListenConfig{Allow: &overlay.Rule{}}.Listen(w.peer, 81)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for addr, want := range map[string]error{
		"peer:80":   overlay.ErrRefused,
		"peer:81":   overlay.ErrNotAllowed,
		"pigeon:80": overlay.ErrUnknownNode,
		"up:80":     overlay.ErrSelf,
	} {
		if _, err := w.client.Dial(t.Context(), addr); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", addr, err, want)
		}
	}
	if _, err := w.client.Ping(t.Context(), "pigeon"); !errors.Is(err, overlay.ErrUnknownNode) {
		t.Errorf("ping: %v", err)
	}
	if _, err := NewClient(filepath.Join(t.TempDir(), "none"), 1, "").Dial(t.Context(), "peer:80"); err == nil {
		t.Error("no error without a node")
	}
}

func TestEarlyData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := w.client.DialEarly(t.Context(), "peer:80")
	if err != nil {
		t.Fatalf("nobody listens, which is told later: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrRefused) {
		t.Errorf("read: %v, want a refusal", err)
	}
	ln, err := w.peer.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err = w.client.DialEarly(t.Context(), "peer:80")
	if err != nil {
		t.Fatal(err)
	}
	there, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = there.Write([]byte("the server speaks first"))
	_ = there.Close()
	if got, err := io.ReadAll(c); string(got) != "the server speaks first" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	_ = c.Close()
}

func TestPing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.client.WaitReady(t.Context()); err != nil {
		t.Error(err)
	}
	got, err := w.client.Ping(t.Context(), "peer")
	if err != nil || got.Peer.ID != w.peer.ID() || got.Path == "" || got.Layer != "native" || got.RTT <= 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ln, err := w.client.ListenFor(t.Context(), 22, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (overlay.Addr{Node: w.client.ID(), Port: 22}); ln.Addr() != want {
		t.Errorf("the listener is at %v, want %v", ln.Addr(), want)
	}
	if _, err := w.client.ListenFor(t.Context(), 22, nil); err == nil {
		t.Error("two listeners on one port")
	}
	there, err := w.peer.Dial(t.Context(), "up:22")
	if err != nil {
		t.Fatal(err)
	}
	here, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if peer, _ := overlay.PeerOf(here); peer.ID != w.peer.ID() {
		t.Errorf("the peer is %+v", peer)
	}
	_, _ = there.Write([]byte("knock"))
	_ = join.CloseWrite(there)
	if got, err := io.ReadAll(here); string(got) != "knock" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	_ = here.Close()
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after Close: %v", err)
	}
	again, err := retry(func() (net.Listener, error) { return w.client.ListenFor(t.Context(), 22, nil) })
	if err != nil {
		t.Fatalf("the port is not free again: %v", err)
	}
	w.stop()
	if _, err := again.Accept(); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after the end of the node: %v", err)
	}
	_ = again.Close()
}

// retry repeats what the other process makes possible in a moment.
func retry[T any](f func() (T, error)) (v T, err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if v, err = f(); err == nil {
			return v, nil
		}
	}
	return v, err
}

func TestRulesGoThrough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for port, rule := range map[uint16]*overlay.Rule{
		1: {},
		2: {IDs: []overlay.NodeID{w.peer.ID()}},
		3: {Keys: []overlay.PublicKey{w.peer.Key()}},
		4: {Names: []string{"peer"}, Roles: []string{"backup"}},
	} {
		ln, err := w.client.ListenFor(t.Context(), port, rule)
		if err != nil {
			t.Fatal(err)
		}
		c, err := w.peer.Dial(t.Context(), overlay.Addr{Node: w.client.ID(), Port: port}.String())
		if (port == 1) != errors.Is(err, overlay.ErrNotAllowed) {
			t.Errorf("port %d: %v", port, err)
		}
		if c != nil {
			_ = c.Close()
		}
		_ = ln.Close()
	}
	if _, err := w.client.ListenFor(t.Context(), 5, &overlay.Rule{Func: func(overlay.Peer) bool { return true }}); err == nil {
		t.Error("a rule with a function went through")
	}
}

func TestPackets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs, err := w.peer.ListenPacket(53)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ours, err := w.client.DialPacket(t.Context(), "peer:53")
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	_ = theirs.SetDeadline(time.Now().Add(patience))
	_ = ours.SetDeadline(time.Now().Add(patience))
	for _, size := range []int{0, 1, 1000} {
		want := bytes.Repeat([]byte{'x'}, size)
		if _, err := ours.Write(want); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2000)
		n, from, err := theirs.ReadFrom(b)
		if err != nil || !bytes.Equal(b[:n], want) {
			t.Fatalf("got %q, %v", b[:n], err)
		}
		_, _ = theirs.WriteTo(want, from)
		if n, err = ours.Read(b); err != nil || !bytes.Equal(b[:n], want) {
			t.Fatalf("got %q, %v", b[:n], err)
		}
	}

	port, err := w.client.ListenPacket(t.Context(), 54)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	_ = port.SetDeadline(time.Now().Add(patience))
	caller, err := w.peer.DialPacket(t.Context(), "up:54")
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	_ = caller.SetDeadline(time.Now().Add(patience))
	_, _ = caller.Write([]byte("ping"))
	b := make([]byte, 100)
	n, from, err := port.ReadFrom(b)
	if err != nil || string(b[:n]) != "ping" || from != caller.LocalAddr() {
		t.Fatalf("got %q from %v, %v", b[:n], from, err)
	}
	_, _ = port.WriteTo([]byte("pong"), from)
	if n, err = caller.Read(b); err != nil || string(b[:n]) != "pong" {
		t.Fatalf("got %q, %v", b[:n], err)
	}
	if _, err := w.client.ListenPacket(t.Context(), 54); err == nil {
		t.Error("two on one port")
	}
}

func TestConnsThatNobodyFetchesAreBounded(t *testing.T) {
	t.Parallel()
	s := NewServer(nil, logrus.New())
	var ends []net.Conn
	for range maxWaiting {
		here, there := net.Pipe()
		ends = append(ends, there)
		if !s.keep(string(rune(len(ends))), here) {
			t.Fatal("no room for the first ones")
		}
	}
	here, _ := net.Pipe()
	if s.keep("one more", here) {
		t.Error("room for one more")
	}
	s.drop(string(rune(1)))
	if !s.keep("one more", here) {
		t.Error("no room although one was dropped")
	}
	_ = s.Close()
	for _, c := range ends {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a conn that waited: %v", err)
		}
	}
	if s.keep("after the end", here) {
		t.Error("room after the end")
	}
}
