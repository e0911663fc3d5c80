package listener

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/streamtest/memsession"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errLost = &stream.ClosedError{Cause: errors.New("the peer is gone")}

// A pair is a client that dials and a server with a table, on one session.
type pair struct {
	client, server *memsession.Session
	mux            stream.Mux // the client's
	table          *Table     // the server's
	served         chan error // what Serve returned
}

var clientPeer = identity.Peer{
	ID:    memsession.InitiatorID,
	Key:   identity.PublicKey{1},
	Names: []string{"client", "client.example"},
	Roles: []string{"backup"},
}

var serverPeer = identity.Peer{ID: memsession.AcceptorID, Names: []string{"server"}}

func newPair(t *testing.T) *pair {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	a, b := memsession.New()
	client, err := native.Layer{}.Start(a, log)
	if err != nil {
		t.Fatal(err)
	}
	server, err := native.Layer{}.Start(b, log)
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{client: a, server: b, mux: client, table: NewTable(b.LocalID()), served: make(chan error, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { p.served <- p.table.Serve(context.WithoutCancel(t.Context()), server, clientPeer) })
	t.Cleanup(func() {
		client.Close()
		server.Close()
		wg.Wait()
		a.Kill(errLost)
	})
	return p
}

// Connect makes a pair the Connector of its own client.
func (p *pair) Connect(context.Context, identity.Target) (stream.Mux, identity.Peer, error) {
	return p.mux, serverPeer, nil
}

func (p *pair) dialer() *OverlayDialer { return &OverlayDialer{Connector: p} }

func (p *pair) listen(t *testing.T, port uint16, cfg ListenConfig) *OverlayListener {
	t.Helper()
	l, err := p.table.Listen(port, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// ctx ends when a call should long have returned.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (p *pair) dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := p.dialer().Dial(testContext(t), addr)
	if err != nil {
		t.Fatalf("Dial(%q): %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wantRefused dials and wants the code.
func (p *pair) wantRefused(t *testing.T, addr string, code stream.Code) {
	t.Helper()
	_, err := p.dialer().Dial(testContext(t), addr)
	e, ok := errors.AsType[*stream.ResetError](err)
	if !ok || e.Code != code || !errors.Is(err, stream.ErrRefused) {
		t.Fatalf("Dial(%q): error is %v, want a refusal because %s", addr, err, code)
	}
	if _, ok := err.(*net.OpError); !ok {
		t.Errorf("Dial(%q): error is %T, want *net.OpError", addr, err)
	}
}

func accept(t *testing.T, l *OverlayListener) net.Conn {
	t.Helper()
	c, err := l.AcceptContext(testContext(t))
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// roundTrip shows that two conns are one.
func roundTrip(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		if _, err := way[0].Write([]byte("hello")); err != nil {
			t.Fatalf("Write: %v", err)
		}
		buf := make([]byte, 5)
		if _, err := io.ReadFull(way[1], buf); err != nil || string(buf) != "hello" {
			t.Fatalf("Read = %q, %v", buf, err)
		}
	}
}
