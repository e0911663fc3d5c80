package relay

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/uplink"
)

// serveTCP starts a relay on a loopback port.
func serveTCP(t *testing.T, s *Server) (addr string, served <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	return ln.Addr().String(), done
}

func TestServeOverTCP(t *testing.T) {
	l := newLab(t)
	s := &Server{MaxLinks: 2}
	s.Host = l.node("relay", newKey(t, ""))
	defer s.Host.(*node).close()
	addr, served := serveTCP(t, s)
	nodes := []*node{l.node("a", newKey(t, "", "a")), l.node("b", newKey(t, "", "b"))}
	nodes[1].parts.Hooks.Watch(&echoer{l})
	var hello link.Hello
	for _, n := range nodes {
		c := n.parts.Credentials
		hello = link.Hello{Network: link.TagOf(c.Network().ID()), Node: n.id()}
		n.up = uplink.New(uplink.Config{
			Relays: []string{"tcp://" + addr},
			Dial:   link.DialTCP(new(net.Dialer), hello),
			Logger: n.parts.Logger,
		}, n.parts.Switch, n.parts.Endpoint)
		l.ready(n)
	}
	stream, err := l.open(nodes[0], nodes[1].id())
	if err != nil {
		t.Fatal(err)
	}
	l.roundTrip(stream, "hello")
	_ = stream.Close()

	fc, err := link.DialTCP(new(net.Dialer), hello)(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fc.ReadFrame()
	if refused, ok := errors.AsType[*link.RefusedError](err); !ok || refused.Status != link.StatusBusy {
		t.Errorf("third link: %v", err)
	}
	_ = fc.Close()

	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
	for _, n := range nodes {
		n.close()
	}
	l.wg.Wait()
}

func TestAClosedServerServesNothing(t *testing.T) {
	l := newLab(t)
	s := &Server{}
	s.Host = l.node("relay", newKey(t, ""))
	defer s.Host.(*node).close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, served := serveTCP(t, s)
	if err := <-served; err != ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
	here, there := net.Pipe()
	s.ServeLink(link.NewStreamConn(here))
	if _, err := there.Write([]byte("x")); err == nil {
		t.Error("the conn is still open")
	}
	if err := errors.Join(s.Close(), s.Shutdown(t.Context())); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// A failingListener fails as often as it has errors, and then waits for Close.
type failingListener struct {
	mu     sync.Mutex
	errs   []error
	closed chan struct{}
}

func (ln *failingListener) Accept() (net.Conn, error) {
	ln.mu.Lock()
	if len(ln.errs) > 0 {
		err := ln.errs[0]
		ln.errs = ln.errs[1:]
		ln.mu.Unlock()
		return nil, err
	}
	ln.mu.Unlock()
	<-ln.closed
	return nil, net.ErrClosed
}

func (ln *failingListener) Close() error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	select {
	case <-ln.closed:
	default:
		close(ln.closed)
	}
	return nil
}

func (ln *failingListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestErrorsOfAListenerThatPassAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		s := &Server{}
		s.Host = l.node("relay", newKey(t, ""))
		emfile := &net.OpError{Op: "accept", Err: syscall.EMFILE}
		ln := &failingListener{errs: []error{emfile, emfile, emfile}, closed: make(chan struct{})}
		began := time.Now()
		served := make(chan error)
		go func() { served <- s.Serve(ln) }()
		time.Sleep(time.Minute)
		if n := s.Stats().AcceptErrors; n != 3 {
			t.Errorf("counted %d errors", n)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("took %v", took)
		}
		_ = s.Close()
		if err := <-served; err != ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		s.Host.(*node).close()
	})
}

func TestOtherErrorsOfAListenerEndServe(t *testing.T) {
	l := newLab(t)
	s := &Server{}
	s.Host = l.node("relay", newKey(t, ""))
	defer s.Host.(*node).close()
	broken := errors.New("broken")
	ln := &failingListener{errs: []error{broken}, closed: make(chan struct{})}
	if err := s.Serve(ln); err != broken {
		t.Errorf("Serve: %v", err)
	}
	_ = s.Close()
}

func TestAcceptPausesGrowToASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p acceptPause
		for _, want := range []int64{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000} {
			began := time.Now()
			if !p.wait(t.Context()) || time.Since(began).Milliseconds() != want {
				t.Errorf("paused %v, want %d ms", time.Since(began), want)
			}
		}
		p.reset()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p.wait(ctx) {
			t.Error("the pause outlived its context")
		}
	})
}

func TestAddressesAreCountedByHostOrNetwork(t *testing.T) {
	tests := []struct{ a, b string }{
		{"192.0.2.1:1", "192.0.2.1:2"},
		{"[::ffff:192.0.2.1]:1", "192.0.2.1:2"},
		{"[2001:db8::1]:1", "[2001:db8::ffff:2]:1"},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1"},
		{"host:1", "host:2"},
	}
	for _, tt := range tests {
		a, b := addressOf(textAddr(tt.a)), addressOf(textAddr(tt.b))
		if a != b {
			t.Errorf("%s counts as %s, %s as %s", tt.a, a, tt.b, b)
		}
	}
	for _, tt := range []struct{ a, b string }{
		{"192.0.2.1:1", "192.0.2.2:1"},
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1"},
		{"pipe", "other"},
	} {
		if addressOf(textAddr(tt.a)) == addressOf(textAddr(tt.b)) {
			t.Errorf("%s and %s count as one", tt.a, tt.b)
		}
	}
}

type textAddr string

func (a textAddr) Network() string { return "test" }
func (a textAddr) String() string  { return string(a) }

func TestAdmissionForgetsAddressesThatLeft(t *testing.T) {
	a := newAdmission(-1, -1, 64, -1)
	var slots []*slot
	for range 3 {
		s := a.enter(textAddr("192.0.2.1:1"))
		if status := s.link(); status != link.StatusOK {
			t.Fatal(status)
		}
		slots = append(slots, s)
	}
	if links, prefaces := a.count(); links != 3 || prefaces != 0 {
		t.Errorf("%d links, %d prefaces", links, prefaces)
	}
	for _, s := range slots {
		s.leave()
	}
	if len(a.addresses) != 0 {
		t.Error("the address is still known")
	}
}
