package handshake

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/wire"
)

const (
	testSecret   = "correct horse battery staple"
	serverParams = "the server's parameters"
)

var (
	closed = identity.NetworkConfig{Secret: testSecret}
	lab    = identity.NetworkConfig{Name: "lab", Secret: testSecret}
	open   = identity.NetworkConfig{Open: true}
)

// testNetworks are derived once: that is slow on purpose.
var testNetworks sync.Map // identity.NetworkConfig → *identity.Network

func openNetwork(t testing.TB, cfg identity.NetworkConfig) *identity.Network {
	t.Helper()
	if n, ok := testNetworks.Load(cfg); ok {
		return n.(*identity.Network)
	}
	n, err := identity.OpenNetwork(cfg)
	if err != nil {
		t.Fatal(err)
	}
	testNetworks.Store(cfg, n)
	return n
}

// newConfig returns the config of a new node.
func newConfig(t testing.TB, network identity.NetworkConfig, params string, names ...string) Config {
	t.Helper()
	k, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := identity.NewCredentials(k, openNetwork(t, network), names)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Credentials: creds, Params: []byte(params)}
}

// newPair starts both sides of a handshake.
func newPair(t testing.TB, clientConfig, serverConfig Config) (client, server *Conn) {
	t.Helper()
	client, err := Client(t.Context(), clientConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	server, err = Server(t.Context(), serverConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return client, server
}

// A flight is what one side sends before it has to wait for the other.
type flight [wire.NumSpaces][]byte

func take(c *Conn) (f flight, size int) {
	for space := range wire.NumSpaces {
		f[space] = c.Take(space)
		size += len(f[space])
	}
	return f, size
}

func deliver(c *Conn, f flight) error {
	for space := range wire.NumSpaces {
		if err := c.Receive(space, f[space]); err != nil {
			return err
		}
	}
	return nil
}

// run carries flights until there are none left, and returns how many each side
// sent and the first error.
func run(client, server *Conn) (fromClient, fromServer int, err error) {
	from, to := client, server
	for {
		f, size := take(from)
		if size == 0 {
			return fromClient, fromServer, nil
		}
		if from == client {
			fromClient++
		} else {
			fromServer++
		}
		if err := deliver(to, f); err != nil {
			return fromClient, fromServer, err
		}
		from, to = to, from
	}
}

// check fails the test unless both sides can talk.
func check(t *testing.T, client, server *Conn) {
	t.Helper()
	for name, c := range map[string]*Conn{"client": client, "server": server} {
		if !c.Done() || !c.CanSendApp() || !c.CanReceiveApp() || c.AppKeys() == nil {
			t.Fatalf("the %s is not done", name)
		}
	}
	for _, space := range []wire.Space{wire.SpaceHandshake, wire.SpaceApp} {
		seal := func(from *Conn) []byte {
			if space == wire.SpaceApp {
				return from.AppKeys().Seal(nil, []byte("h"), []byte("hello"), 3)
			}
			return from.WriteKeys(space).Seal(nil, []byte("h"), []byte("hello"), 3)
		}
		opened := func(to *Conn, packet []byte) ([]byte, error) {
			if space == wire.SpaceApp {
				return to.AppKeys().Open(nil, []byte("h"), packet, 3, false)
			}
			return to.ReadKeys(space).Open(nil, []byte("h"), packet, 3)
		}
		for _, dir := range [][2]*Conn{{client, server}, {server, client}} {
			if got, err := opened(dir[1], seal(dir[0])); err != nil || string(got) != "hello" {
				t.Errorf("space %v: opened %q, %v", space, got, err)
			}
		}
	}
}

func TestHandshakeTakesTwoFlightsFromTheClientAndOneFromTheServer(t *testing.T) {
	for name, network := range map[string]identity.NetworkConfig{"closed": closed, "open": open} {
		t.Run(name, func(t *testing.T) {
			a, b := newConfig(t, network, "", "kv-1"), newConfig(t, network, serverParams)
			client, server := newPair(t, a, b)
			fromClient, fromServer, err := run(client, server)
			if err != nil {
				t.Fatal(err)
			}
			if fromClient != 2 || fromServer != 1 {
				t.Errorf("%d flights from the client and %d from the server, want 2 and 1", fromClient, fromServer)
			}
			check(t, client, server)
			if p := client.Peer(); p.Key != b.Credentials.Key().Public() {
				t.Errorf("the client sees %+v", p)
			}
			if p := server.Peer(); p.Key != a.Credentials.Key().Public() || len(p.Names) != 1 || p.Names[0] != "kv-1" {
				t.Errorf("the server sees %+v", p)
			}
			if got := server.PeerParams(); got == nil || len(got) != 0 {
				t.Errorf("the client's parameters are %q, want empty and not nil", got)
			}
			if got := client.PeerParams(); string(got) != serverParams {
				t.Errorf("the server's parameters are %q", got)
			}
		})
	}
}

func TestHandshakeUsesPostQuantumKeyExchange(t *testing.T) {
	client, server := newPair(t, newConfig(t, open, ""), newConfig(t, open, ""))
	if _, _, err := run(client, server); err != nil {
		t.Fatal(err)
	}
	state := client.tls.ConnectionState()
	if state.CurveID != tls.X25519MLKEM768 || state.Version != tls.VersionTLS13 {
		t.Errorf("negotiated %v and %v", state.CurveID, tls.VersionName(state.Version))
	}
}

func TestHandshakeWorksByteByByte(t *testing.T) {
	client, server := newPair(t, newConfig(t, closed, "c"), newConfig(t, closed, "s"))
	for _, dir := range [][2]*Conn{{client, server}, {server, client}, {client, server}} {
		f, _ := take(dir[0])
		for space := range wire.NumSpaces {
			for i := range f[space] {
				if err := dir[1].Receive(space, f[space][i:i+1]); err != nil {
					t.Fatalf("space %v, byte %d: %v", space, i, err)
				}
			}
		}
	}
	check(t, client, server)
}

func TestHandshakeRunsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := newPair(t, newConfig(t, closed, ""), newConfig(t, closed, ""))
		if _, _, err := run(client, server); err != nil {
			t.Fatal(err)
		}
		check(t, client, server)
	})
}

func TestKeysAppearOneSpaceAfterTheOther(t *testing.T) {
	client, server := newPair(t, newConfig(t, closed, "c"), newConfig(t, closed, "s"))
	if client.ReadKeys(wire.SpaceHandshake) != nil || client.WriteKeys(wire.SpaceHandshake) != nil || client.PeerParams() != nil {
		t.Error("the client has keys or parameters from the start")
	}
	f, _ := take(client)
	if err := deliver(server, f); err != nil {
		t.Fatal(err)
	}
	if server.ReadKeys(wire.SpaceHandshake) == nil || server.WriteKeys(wire.SpaceHandshake) == nil {
		t.Error("the server has no handshake keys after the first flight")
	}
	if server.AppKeys() != nil || server.CanSendApp() || server.Done() {
		t.Error("the server would talk to a client that it has not verified")
	}
	if server.ReadKeys(wire.SpaceInitial) != nil || server.WriteKeys(wire.SpaceApp) != nil || server.Take(wire.NumSpaces) != nil {
		t.Error("there are keys or bytes for a space that has none")
	}
}

func TestHandshakeFailsWith(t *testing.T) {
	refused := errors.New("refused by policy")
	self := newConfig(t, closed, "")
	kv2 := newConfig(t, closed, "")
	kv2.Check = identity.Target{Name: "kv-2"}.Check
	refusing := newConfig(t, closed, "")
	refusing.Check = func(identity.Peer) error { return refused }
	stranger := newConfig(t, open, "")
	const badCertificate, noALPN = codeCryptoError + 42, codeCryptoError + 120
	tests := []struct {
		name           string
		client, server Config
		want           error
		code           uint64
	}{
		{"a network of another name", newConfig(t, closed, ""), newConfig(t, lab, ""), nil, noALPN},
		{"an open network", newConfig(t, open, ""), newConfig(t, closed, ""), nil, noALPN},
		{"another peer than the target", kv2, newConfig(t, closed, "", "kv-1"), identity.ErrWrongPeer, badCertificate},
		{"a client that is not welcome", newConfig(t, closed, ""), refusing, refused, badCertificate},
		{"itself", self, self, identity.ErrSelf, badCertificate},
		{"a server that is no member", newConfig(t, closed, ""), pretend(t, stranger, closed), identity.ErrNotMember, badCertificate},
		{"a client that is no member", pretend(t, stranger, closed), newConfig(t, closed, ""), identity.ErrNotMember, badCertificate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, server := newPair(t, tt.client, tt.server)
			_, _, err := run(client, server)
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Code != tt.code || e.Reason == "" || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("error %v with code %#x; want %v with %#x", err, e.Code, tt.want, tt.code)
			}
			if client.Done() && server.Done() {
				t.Error("both sides are done")
			}
		})
	}
}

// pretend returns a config that shows the certificate of cfg but otherwise acts
// as a node of another network.
func pretend(t *testing.T, cfg Config, network identity.NetworkConfig) Config {
	t.Helper()
	cert, err := cfg.Credentials.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	liar := newConfig(t, network, "")
	own, err := liar.Credentials.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	*own = *cert // breaks the rule that the result is shared and not modified
	return liar
}

func TestExpiredCertificateIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := newConfig(t, closed, "")
		client, err := Client(t.Context(), newConfig(t, closed, ""))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := Server(t.Context(), slow) // takes its certificate now
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		time.Sleep(24 * time.Hour)
		if _, _, err := run(client, server); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("error %v, want ErrExpired", err)
		}
	})
}

// Someone who shows another node's certificate without its key gets nowhere.
func TestCertificateWithoutItsKeyIsRefused(t *testing.T) {
	victim := newConfig(t, closed, "")
	cert, err := victim.Credentials.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	thief := newConfig(t, closed, "")
	own, err := thief.Credentials.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	own.Certificate, own.Leaf = cert.Certificate, cert.Leaf
	for name, asClient := range map[string]bool{"client": true, "server": false} {
		t.Run(name, func(t *testing.T) {
			honest := newConfig(t, closed, "")
			client, server := newPair(t, honest, thief)
			if asClient {
				client, server = newPair(t, thief, honest)
			}
			_, _, err := run(client, server)
			if e, ok := errors.AsType[*Error](err); !ok || e.Code != codeCryptoError+51 {
				t.Errorf("error %v, want the alert decrypt_error", err)
			}
		})
	}
}

// The first flight shown back to the client that sent it does nothing good.
func TestReflectedFlightIsRefused(t *testing.T) {
	client, _ := newPair(t, newConfig(t, closed, ""), newConfig(t, closed, ""))
	f, _ := take(client)
	if err := deliver(client, f); err == nil {
		t.Error("the client accepted its own first flight")
	}
}

func TestEndOfContextEndsTheHandshake(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	client, err := Client(ctx, newConfig(t, open, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	cause := errors.New("the dialler lost patience")
	cancel(cause)
	if err := client.Receive(wire.SpaceInitial, []byte{2}); !errors.Is(err, cause) {
		t.Errorf("error %v, want the context's cause", err)
	}
	if c, err := Client(ctx, newConfig(t, open, "")); err == nil {
		c.Close()
	}
}

func TestCloseInAnyStateMayBeRepeated(t *testing.T) {
	client, server := newPair(t, newConfig(t, open, ""), newConfig(t, open, ""))
	f, _ := take(client)
	if err := deliver(server, f); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Conn{client, server} {
		c.Close()
		c.Close()
		if err := c.Receive(wire.SpaceInitial, []byte{1}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Receive after Close: %v, want net.ErrClosed", err)
		}
	}
}

func BenchmarkHandshake(b *testing.B) {
	a, s := newConfig(b, closed, ""), newConfig(b, closed, "")
	b.ReportAllocs()
	for b.Loop() {
		client, err := Client(b.Context(), a)
		if err != nil {
			b.Fatal(err)
		}
		server, err := Server(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := run(client, server); err != nil {
			b.Fatal(err)
		}
		client.Close()
		server.Close()
	}
}
