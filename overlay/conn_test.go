package overlay

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/relay"
	"github.com/weftnet/weft/stream"
	"golang.org/x/net/nettest"
)

func TestBothEndsNameTheAuthenticatedPeer(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{Name: "alpha"}), l.ready("b", Config{Name: "beta"})
		ca, cb := l.pair(a, b)
		defer ca.Close()
		defer cb.Close()
		for _, tt := range []struct {
			conn       net.Conn
			self, peer *Node
		}{{ca, a, b}, {cb, b, a}} {
			p, ok := PeerOf(tt.conn)
			if !ok || p.ID != tt.peer.ID() || p.Key != tt.peer.Key() || len(p.Names) != 1 || p.Names[0] != tt.peer.Name() {
				t.Errorf("%s: peer is %+v, %v", tt.self.Name(), p, ok)
			}
			if got := tt.conn.RemoteAddr().(Addr).Node; got != tt.peer.ID() {
				t.Errorf("%s: RemoteAddr is of node %v, want %v", tt.self.Name(), got, tt.peer.ID())
			}
			if got := tt.conn.LocalAddr().(Addr).Node; got != tt.self.ID() {
				t.Errorf("%s: LocalAddr is of node %v, want %v", tt.self.Name(), got, tt.self.ID())
			}
			if path, ok := PathOf(tt.conn); !ok || path != "relay "+relayAddr {
				t.Errorf("%s: path is %q, %v", tt.self.Name(), path, ok)
			}
		}
		if ca.LocalAddr() != cb.RemoteAddr() || ca.RemoteAddr() != cb.LocalAddr() {
			t.Errorf("addresses %v %v and %v %v differ", ca.LocalAddr(), ca.RemoteAddr(), cb.RemoteAddr(), cb.LocalAddr())
		}
		if conns := map[net.Addr]bool{ca.RemoteAddr(): true}; !conns[cb.LocalAddr()] {
			t.Error("an address does not work as the key of a map")
		}
	})
}

func TestARestartedPeerResetsItsOldConnsAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		key := newKey(t)
		server, client := l.ready("server", Config{Key: key}), l.ready("client", Config{})
		c, old := l.pair(client, server)
		defer c.Close()
		defer old.Close()
		l.net.Kill("server") // and so its former self says no goodbye
		l.crash(server)
		again := l.ready("server", Config{Key: key})
		l.echo(again)
		synctest.Wait()

		began := time.Now()
		if _, err := c.Write([]byte("are you there?")); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		if err == nil || err == io.EOF || errors.Is(err, net.ErrClosed) || !errors.Is(err, ErrPeerRestarted) {
			t.Errorf("reading gave %v, want a reset that matches ErrPeerRestarted", err)
		}
		if took := time.Since(began); took > 4*delay {
			t.Errorf("the reset took %v, more than the round trip of %v", took, 4*delay)
		}
		fresh, err := client.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		roundTrip(t, fresh)
	})
}

func TestADialOnASessionOfARestartedPeerTriesOnceMore(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		key := newKey(t)
		server, client := l.ready("server", Config{Key: key}), l.ready("client", Config{})
		l.echo(server)
		warm, err := client.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer warm.Close()
		l.net.Kill("server")
		l.crash(server)
		l.echo(l.ready("server", Config{Key: key}))

		c, err := client.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		roundTrip(t, c)
	})
}

func TestAConnIsLostWhenThereIsNoRelayForTooLong(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		ca, cb := l.pair(a, b)
		defer ca.Close()
		defer cb.Close()
		l.killRelay()
		began := time.Now()
		_, err := ca.Read(make([]byte, 1))
		if !errors.Is(err, ErrPeerLost) || errors.Is(err, net.ErrClosed) {
			t.Errorf("reading gave %v, want ErrPeerLost", err)
		}
		if took := time.Since(began); took > 71*time.Second {
			t.Errorf("noticed after %v, want PeerTimeout and KeepAlive at most", took)
		}
	})
}

// crash ends a node that can say nothing any more.
func (l *lab) crash(n *Node) {
	l.t.Helper()
	if !n.advance(closing) {
		l.t.Fatal("the node has closed already")
	}
	_ = n.ports.Close()
	n.packets.close()
	_ = n.uplinks.Close()
	_ = n.sw.Close()
	_ = n.ep.Close()
	n.wg.Wait()
	close(n.closed)
}

func TestAConnSurvivesTheRestartOfItsRelay(t *testing.T) {
	for name, sameKey := range map[string]bool{"the same relay": true, "another relay at the address": false} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				server, client := l.ready("server", Config{}), l.ready("client", Config{})
				l.echo(server)
				c, err := client.Dial(t.Context(), server.ID().String()+":7")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				roundTrip(t, c)
				l.killRelay()
				if !sameKey {
					l.key = newKey(t)
				}
				time.Sleep(time.Second)
				began := time.Now()
				l.startRelay()
				roundTrip(t, c)
				// The dialler pauses for 2 s at most; nothing else is waited for.
				if took := time.Since(began); took > 2500*time.Millisecond {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestCloseDeliversTheLastBytes(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		ca, cb := l.pair(a, b)
		defer cb.Close()
		sent := make([]byte, 200<<10) // less than the window of a peer that does not read yet
		_, _ = rand.Read(sent)
		if _, err := ca.Write(sent); err != nil {
			t.Fatal(err)
		}
		if err := ca.Close(); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(cb)
		if err != nil || string(got) != string(sent) {
			t.Errorf("read %d of %d bytes, %v", len(got), len(sent), err)
		}
	})
}

func TestCloseGivesUpOnAPeerThatIsAway(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		ca, cb := l.pair(a, b)
		defer cb.Close()
		l.net.Cut("b")
		if _, err := ca.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > CloseTimeout+drainTimeout {
			t.Errorf("Close took %v", took)
		}
		if _, err := ca.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading after Close gave %v", err)
		}
	})
}

func TestAClosedNodeRefusesEverything(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n := l.ready("n", Config{})
		ln := l.listen(n, 80)
		accepted := make(chan error, 1)
		go func() {
			_, err := ln.Accept()
			accepted <- err
		}()
		pc, err := n.ListenPacket(53)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		_, dialErr := n.Dial(t.Context(), "0123456789abcdef:80")
		_, listenErr := n.Listen(81)
		_, packetErr := n.ListenPacket(54)
		_, _, readErr := pc.ReadFrom(make([]byte, 1))
		for what, err := range map[string]error{
			"Close": n.Close(), "Shutdown": n.Shutdown(t.Context()), "Dial": dialErr, "Listen": listenErr,
			"ListenPacket": packetErr, "ReadFrom": readErr, "Accept": <-accepted, "WaitReady": n.WaitReady(t.Context()),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v, want net.ErrClosed", what, err)
			}
		}
	})
}

func TestShutdownLetsConnsFinish(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server, client := l.ready("server", Config{}), l.ready("client", Config{})
		l.echo(server)
		c, err := client.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		left := make(chan error, 1)
		go func() { left <- server.Shutdown(t.Context()) }()
		time.Sleep(time.Second)
		roundTrip(t, c) // the conn works on
		_, err = client.Dial(t.Context(), server.ID().String()+":7")
		checkDialError(t, err, ErrRefused)
		if _, err := server.Dial(t.Context(), client.ID().String()+":7"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a node that leaves dialled: %v", err)
		}
		if err := c.(stream.Conn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("read %q, %v", rest, err)
		}
		if err := <-left; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		c.Close()
	})
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		ca, cb := l.pair(a, b)
		defer ca.Close()
		defer cb.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if _, err := ca.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own conn: %v", err)
		}
		if _, err := cb.Read(make([]byte, 1)); err == nil || err == io.EOF || errors.Is(err, net.ErrClosed) {
			t.Errorf("the peer's conn: %v, want a reset", err)
		}
	})
}

// Over the loopback interface with real time, which nettest needs.
func TestConnsOverLoopbackPassNettest(t *testing.T) {
	a, b := loopbackPair(t, Config{})
	ln, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		ca, err := a.Dial(t.Context(), b.ID().String()+":80")
		if err != nil {
			return nil, nil, nil, err
		}
		cb, err := ln.Accept()
		return ca, cb, func() { ca.Close(); cb.Close() }, err
	})
}

// loopbackPair returns two nodes at a relay on the loopback interface.
func loopbackPair(t *testing.T, cfg Config) (a, b *Node) {
	t.Helper()
	host := loopbackNode(t, cfg)
	server := &relay.Server{Host: host}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	cfg.Relays = []string{ln.Addr().String()}
	a, b = loopbackNode(t, cfg), loopbackNode(t, cfg)
	t.Cleanup(func() {
		for _, err := range []error{a.Close(), b.Close(), server.Close(), host.Close()} {
			if err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		if err := <-served; !errors.Is(err, relay.ErrServerClosed) {
			t.Error(err)
		}
	})
	for _, n := range []*Node{a, b} {
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func loopbackNode(t *testing.T, cfg Config) *Node {
	t.Helper()
	cfg.Open = true
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
