package overlay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/relay"
)

// On real sockets of one machine, a stream begins on the relay and goes on
// directly, with all its bytes.
func TestAStreamMovesToADirectPathOnLoopback(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := lc.ListenPacket(t.Context(), "udp", ln.Addr().String())
	if err != nil {
		t.Skip("the port is taken on UDP: ", err)
	}
	node := func(cfg Config) *Node {
		t.Helper()
		cfg.Open = true
		n, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		return n
	}
	server := &relay.Server{Host: node(Config{NoDirect: true})}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(ln) }()
	go func() { _ = server.ServePacket(pc) }()

	up := make(chan Event, 128)
	relays := []string{ln.Addr().String()}
	a := node(Config{Relays: relays, OnEvent: func(e Event) {
		if e.Kind == EventPathUp {
			up <- e
		}
	}})
	b := node(Config{Relays: relays})
	for _, n := range []*Node{a, b} {
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	lis, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Dial(t.Context(), b.ID().String()+":80")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 1)
	go func() {
		d, err := lis.Accept()
		if err != nil {
			got <- nil
			return
		}
		h := sha256.New()
		_, _ = io.Copy(h, d)
		got <- h.Sum(nil)
	}()
	want := sha256.New()
	chunk := bytes.Repeat([]byte("weft"), 16<<10)
	write := func() {
		t.Helper()
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(chunk); err != nil {
			t.Fatal(err)
		}
		_, _ = want.Write(chunk)
	}
	var e Event
	for e.Kind == 0 {
		write()
		select {
		case e = <-up:
		case <-t.Context().Done():
			t.Fatal("there is no direct path")
		default:
		}
	}
	if e.Peer != b.ID() || !strings.HasPrefix(e.Path, "udp 127.0.0.1:") && !strings.HasPrefix(e.Path, "udp ") {
		t.Errorf("the event is %v", e)
	}
	for range 100 {
		write()
	}
	if path, _ := PathOf(c); !strings.HasPrefix(path, "udp ") {
		t.Errorf("path is %q", path)
	}
	_ = c.Close()
	if !bytes.Equal(<-got, want.Sum(nil)) {
		t.Error("what arrived is not what was sent")
	}
}

// A mute conn sends nothing, as where UDP is blocked.
type mute struct{ net.PacketConn }

func (mute) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }

// On real sockets of one machine without UDP, a stream goes on over a TCP
// connection to the peer.
func TestAStreamMovesToALinkOnLoopback(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := make(chan Event, 128)
	node := func(cfg Config) *Node {
		t.Helper()
		cfg.Open = true
		n, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		return n
	}
	server := &relay.Server{Host: node(Config{NoDirect: true})}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(ln) }()
	blocked := Config{
		Relays: []string{ln.Addr().String()},
		ListenUDP: func(ctx context.Context, _ string) (net.PacketConn, error) {
			pc, err := lc.ListenPacket(ctx, "udp", "127.0.0.1:0")
			return mute{pc}, err
		},
		OnEvent: func(e Event) {
			if e.Kind == EventPathUp {
				up <- e
			}
		},
	}
	a := node(blocked)
	blocked.OnEvent, blocked.LinkAddr = nil, "127.0.0.1:0"
	b := node(blocked)
	lis, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Dial(t.Context(), b.ID().String()+":80")
	if err != nil {
		t.Fatal(err)
	}
	d, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	roundTripBetween(t, c, d)
	select {
	case e := <-up:
		if want := "tcp " + b.Status().Links.Addr.String(); e.Peer != b.ID() || e.Path != want || !strings.HasPrefix(e.From, "relay ") {
			t.Errorf("the event is %v, want %s", e, want)
		}
	case <-t.Context().Done():
		t.Fatal("there is no link")
	}
	roundTripBetween(t, c, d)
	if st := pathTo(t, a, b.ID()); st.NotDirect != "" || !st.Paths[0].Direct {
		t.Errorf("status is %+v", st)
	}
}
