package overlay

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/yamux"
)

func TestNewSaysWhatIsWrongWithAConfig(t *testing.T) {
	key := newKey(t)
	for name, tt := range map[string]struct {
		cfg  Config
		want string // in the error
	}{
		"no membership":          {Config{}, "Secret"},
		"two memberships":        {Config{Secret: NewSecret(), Open: true}, "only one of Open and Secret"},
		"a short secret":         {Config{Secret: "short"}, "at least 16"},
		"two keys":               {Config{Open: true, Key: key, StateDir: t.TempDir()}, "StateDir"},
		"a name with the suffix": {Config{Open: true, Name: "KV-1.weft"}, "leave it out"},
		"an ID as a name":        {Config{Open: true, Name: key.ID().String()}, "node ID"},
		"a key as a name":        {Config{Open: true, Name: key.Public().String()}, "public key"},
		"an address as a name":   {Config{Open: true, Name: "192.0.2.1"}, "IP address"},
		"no port of a relay":     {Config{Open: true, Relays: []string{"ok:1", "relay"}}, "Relays[1]"},
		"another scheme":         {Config{Open: true, Relays: []string{"ftp://relay:1"}}, "scheme"},
		"a negative timeout":     {Config{Open: true, PeerTimeout: -1}, "PeerTimeout"},
		"a negative limit":       {Config{Open: true, MaxStreams: -1}, "MaxStreams"},
		"negative handshakes":    {Config{Open: true, MaxHandshakes: -1}, "MaxHandshakes"},
		"negative of a node":     {Config{Open: true, MaxHandshakesPerNode: -1}, "MaxHandshakesPerNode"},
		"negative of an address": {Config{Open: true, MaxHandshakesPerAddress: -1}, "MaxHandshakesPerAddress"},
		"a bad network name":     {Config{Open: true, Network: "a b"}, "network name"},
	} {
		if _, err := New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v does not say %q", name, err, tt.want)
		}
	}
}

func TestANodeWithAStateDirectoryKeepsItsID(t *testing.T) {
	cfg := Config{Open: true, StateDir: t.TempDir(), Name: "Keeper"}
	var ids []NodeID
	for range 2 {
		n, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, n.ID())
		if n.Key().ID() != n.ID() || n.Name() != "keeper" {
			t.Errorf("key %v and ID %v, name %q", n.Key(), n.ID(), n.Name())
		}
		if err := n.WaitReady(t.Context()); err != nil { // no relay: nothing to wait for
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if ids[0] != ids[1] {
		t.Errorf("IDs %v differ", ids)
	}
}

func TestParsing(t *testing.T) {
	key := newKey(t)
	if id, err := ParseNodeID(key.ID().String()); err != nil || id != key.ID() {
		t.Errorf("ParseNodeID: %v, %v", id, err)
	}
	if k, err := ParseKey(key.Public().String()); err != nil || k != key.Public() {
		t.Errorf("ParseKey: %v, %v", k, err)
	}
}

func TestTheDefaultNodeSaysWhichVariablesAreMissing(t *testing.T) {
	for _, name := range []string{EnvNetwork, EnvSecret, EnvOpen, EnvRelays, EnvName, EnvState} {
		t.Setenv(name, "")
	}
	_, dialErr := Dial(t.Context(), "kv-1:80")
	_, listenErr := Listen(80)
	for _, err := range []error{dialErr, listenErr} {
		if err == nil || !strings.Contains(err.Error(), EnvSecret) || !strings.Contains(err.Error(), EnvRelays) {
			t.Errorf("error %v does not name the variables", err)
		}
	}
}

func TestTheDefaultNodeComesFromTheEnvironment(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0") // a relay that is not there
	if err != nil {
		t.Fatal(err)
	}
	refusing.Close()
	addr := refusing.Addr().String()
	for name, value := range map[string]string{
		EnvNetwork: "env", EnvSecret: "", EnvOpen: "1", EnvRelays: addr + " , tcp://" + addr, EnvName: "me", EnvState: t.TempDir(),
	} {
		t.Setenv(name, value)
	}
	n, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	st := n.Status()
	if st.Network != "env" || st.Name != "me" || len(st.Relays) != 2 || ln.Addr().(Addr).Node != n.ID() {
		t.Errorf("the node is %+v", st)
	}
	if same, err := Default(); err != nil || same != n {
		t.Errorf("another call gave %v, %v", same, err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	fresh, err := Default()
	if err != nil || fresh == n {
		t.Fatalf("after Close: %v, %v", fresh, err)
	}
	if err := fresh.Close(); err != nil {
		t.Error(err)
	}
}

func TestSlogGetsWhatIsLogged(t *testing.T) {
	var out bytes.Buffer
	log := NewSlogLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})))
	log.WithField("relay", "r:1").WithError(errors.New("broken")).Warn("a warning")
	log.Info("not this")
	log.Error("an error")
	got := out.String()
	for _, want := range []string{"level=WARN", `msg="a warning"`, "relay=r:1", "error=broken", "level=ERROR"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if strings.Contains(got, "not this") {
		t.Errorf("%q has what the level forbids", got)
	}
}

func TestNodesOfDifferentLayersRefuseEachOther(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{Reliability: otherLayer{}})
		l.echo(a)
		l.echo(b)
		for _, pair := range [][2]*Node{{a, b}, {b, a}} {
			_, err := pair[0].Dial(t.Context(), pair[1].ID().String()+":7")
			checkDialError(t, err, ErrLayerMismatch)
			for _, layer := range []string{`"native"`, `"other"`} {
				if !strings.Contains(err.Error(), layer) {
					t.Errorf("%q does not name the layer %s", err, layer)
				}
			}
		}
	})
}

// otherLayer is the native layer by another name.
type otherLayer struct{ native.Layer }

func (otherLayer) Name() string { return "other" }

// yamux must not run in a bubble, so this test has real time.
func TestNodesOverYamux(t *testing.T) {
	a, b := loopbackPair(t, Config{Reliability: yamux.Layer{}})
	ln, err := b.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := a.Dial(t.Context(), b.ID().String()+":7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	go func() {
		buf := make([]byte, 16)
		n, _ := d.Read(buf)
		_, _ = d.Write(buf[:n])
	}()
	roundTrip(t, c)
	if p, ok := PeerOf(d); !ok || p.ID != a.ID() {
		t.Errorf("PeerOf gave %v, %v", p, ok)
	}
	_, err = a.Dial(t.Context(), b.ID().String()+":8")
	checkDialError(t, err, ErrRefused)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the conn of a closed node reads on")
	}
}
