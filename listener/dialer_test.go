package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/stream"
)

var pastTime = time.Unix(1, 0)

func TestDialChecksItsArguments(t *testing.T) {
	d := newPair(t).dialer()
	tests := []struct{ network, addr, want string }{
		{"udp", serverAddr, "unknown network udp"},
		{"", serverAddr, "unknown network"},
		{"tcp", "server", "want <id>:<port>"},
		{"overlay", "server:0", "port must be a number"},
	}
	for _, tt := range tests {
		_, err := d.DialContext(t.Context(), tt.network, tt.addr)
		e, ok := err.(*net.OpError)
		if !ok || e.Op != "dial" || e.Addr.String() != tt.addr || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("DialContext(%q, %q): error is %v, want a *net.OpError with %q", tt.network, tt.addr, err, tt.want)
		}
	}
}

func TestDialContextTakesTCPNetworks(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	for _, network := range []string{"overlay", "tcp", "tcp4", "tcp6"} {
		c, err := p.dialer().DialContext(testContext(t), network, serverAddr)
		if err != nil {
			t.Fatalf("DialContext(%q): %v", network, err)
		}
		roundTrip(t, c, accept(t, l))
		c.Close()
	}
}

func TestDialWithEarlyData(t *testing.T) {
	p := newPair(t)
	d := p.dialer()
	d.EarlyData = true
	c, err := d.Dial(testContext(t), serverAddr) // nobody listens
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1))
	if !errors.Is(err, stream.ErrRefused) {
		t.Errorf("Read: error is %v, want the refusal", err)
	}
}

// A connector is a Connector made of a function.
type connector func(ctx context.Context) (stream.Mux, error)

func (f connector) Connect(ctx context.Context, _ identity.Target) (stream.Mux, identity.Peer, error) {
	m, err := f(ctx)
	return m, serverPeer, err
}

func TestDialTimeout(t *testing.T) {
	d := &OverlayDialer{
		Timeout: time.Millisecond,
		Connector: connector(func(ctx context.Context) (stream.Mux, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}),
	}
	_, err := d.Dial(t.Context(), serverAddr)
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want a timeout", err)
	}
}

func TestDialTriesAgainWhenTheSessionHadEnded(t *testing.T) {
	stale, fresh := newPair(t), newPair(t)
	stale.client.Kill(errLost)
	fresh.listen(t, 80, ListenConfig{})
	calls := 0
	d := &OverlayDialer{Connector: connector(func(context.Context) (stream.Mux, error) {
		calls++
		if calls == 1 {
			return stale.mux, nil
		}
		return fresh.mux, nil
	})}
	c, err := d.Dial(testContext(t), serverAddr)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	c.Close()

	d = stale.dialer()
	if _, err := d.Dial(testContext(t), serverAddr); !errors.Is(err, errLost.Cause) {
		t.Errorf("error is %v, want why the session ended", err)
	}
}

func TestRefusalsAreNotTriedAgain(t *testing.T) {
	p := newPair(t)
	p.wantRefused(t, serverAddr, stream.CodeNoListener)
	if got := p.table.Stats().NoListener; got != 1 {
		t.Errorf("the peer refused %d times, want 1", got)
	}
}

// wrapper is a conn around another, as crypto/tls has it.
type wrapper struct{ net.Conn }

func (w wrapper) NetConn() net.Conn { return w.Conn }

// loop is a wrapper that wraps itself.
type loop struct{ net.Conn }

func (l loop) NetConn() net.Conn { return l }

func TestPeerOf(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	c := p.dial(t, serverAddr)
	s := accept(t, l)
	pipe, other := net.Pipe()
	defer pipe.Close()
	defer other.Close()
	tests := []struct {
		name string
		conn net.Conn
		want identity.NodeID // 0: not known
	}{
		{"dialled", c, serverPeer.ID},
		{"accepted", s, clientPeer.ID},
		{"wrapped", wrapper{wrapper{s}}, clientPeer.ID},
		{"in TLS", tls.Server(s, &tls.Config{}), clientPeer.ID}, //nolint:gosec // never used
		{"of another network", pipe, 0},
		{"around itself", loop{}, 0},
		{"nil", nil, 0},
	}
	for _, tt := range tests {
		peer, ok := PeerOf(tt.conn)
		if ok != (tt.want != 0) || peer.ID != tt.want {
			t.Errorf("%s: PeerOf = %v, %v; want %v", tt.name, peer.ID, ok, tt.want)
		}
	}
	if _, ok := c.(stream.Conn); !ok {
		t.Errorf("the dialled conn (%T) is not a stream.Conn", c)
	}
}

func TestHTTPOverTheOverlay(t *testing.T) {
	p := newPair(t)
	l := p.listen(t, 80, ListenConfig{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, io.MultiReader(strings.NewReader(r.RemoteAddr+" said "), r.Body))
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	transport := &http.Transport{DialContext: p.dialer().DialContext}
	client := &http.Client{Transport: transport}
	for range 3 {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, "http://server.weft/", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.HasSuffix(string(body), " said hello") || !strings.HasPrefix(string(body), clientPeer.ID.String()) {
			t.Errorf("body is %q, %v", body, err)
		}
	}
	transport.CloseIdleConnections()
	if err := server.Shutdown(testContext(t)); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
	if got := p.table.Stats().Accepted; got != 1 {
		t.Errorf("%d conns for requests that can share one", got)
	}
}
