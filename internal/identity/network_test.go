package identity

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

const testSecret = "correct horse battery staple"

// testNetworks are derived once: Argon2id is slow on purpose.
var testNetworks sync.Map // NetworkConfig → *Network

func openTestNetwork(t testing.TB, cfg NetworkConfig) *Network {
	t.Helper()
	if n, ok := testNetworks.Load(cfg); ok {
		return n.(*Network)
	}
	n, err := OpenNetwork(cfg)
	if err != nil {
		t.Fatal(err)
	}
	testNetworks.Store(cfg, n)
	return n
}

func TestEveryMemberDerivesTheSameCA(t *testing.T) {
	a, err := OpenNetwork(NetworkConfig{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenNetwork(NetworkConfig{Name: DefaultNetwork, Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.ca.cert.Raw, b.ca.cert.Raw) || a.ID() != b.ID() || a.ALPN() != b.ALPN() {
		t.Error("two members derived different networks from one secret")
	}
	if a.Open() || a.Name() != "weft" {
		t.Errorf("network %v: Open is %v, want a closed network named weft", a, a.Open())
	}
}

// The derivation is part of the protocol: a change here separates new nodes
// from old ones.
func TestNetworkDerivationDoesNotChange(t *testing.T) {
	tests := []struct {
		cfg  NetworkConfig
		alpn string
	}{
		{NetworkConfig{Secret: testSecret}, "weft/1/7ab0b602755f3beb"},
		{NetworkConfig{Open: true}, "weft/1/04dc12130bc6c46b"},
	}
	for _, tt := range tests {
		if got := openTestNetwork(t, tt.cfg).ALPN(); got != tt.alpn {
			t.Errorf("%+v has ALPN %q, want %q", tt.cfg, got, tt.alpn)
		}
	}
}

func TestNetworksDifferByNameSecretAndOpenness(t *testing.T) {
	seen := map[[32]byte]NetworkConfig{}
	for _, cfg := range []NetworkConfig{
		{Secret: testSecret},
		{Secret: testSecret + "."},
		{Name: "lab", Secret: testSecret},
		{Open: true},
		{Name: "lab", Open: true},
	} {
		id := openTestNetwork(t, cfg).ID()
		if other, dup := seen[id]; dup {
			t.Errorf("%+v and %+v are the same network", cfg, other)
		}
		seen[id] = cfg
	}
}

func TestNetworkConfigErrorsSayWhatToDo(t *testing.T) {
	tests := []struct {
		name string
		cfg  NetworkConfig
		want string
	}{
		{"no membership", NetworkConfig{}, "Open: true"},
		{"both", NetworkConfig{Secret: testSecret, Open: true}, "only one of Open and Secret"},
		{"short secret", NetworkConfig{Secret: "hunter2"}, "weft secret"},
		{"short secret of long characters", NetworkConfig{Secret: strings.Repeat("密", 15)}, "15 characters"},
		{"secret with a newline", NetworkConfig{Secret: testSecret + "\n"}, "white space"},
		{"upper-case name", NetworkConfig{Name: "Lab", Open: true}, "a to z"},
		{"long name", NetworkConfig{Name: strings.Repeat("a", 33), Open: true}, "32"},
		{"name with a dot", NetworkConfig{Name: "a.b", Open: true}, "dash"},
		{"name with a zero byte", NetworkConfig{Name: "a\x00b", Open: true}, "dash"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := OpenNetwork(tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("OpenNetwork = %v, %v; want an error with %q", n, err, tt.want)
			}
			if s := tt.cfg.Secret; err != nil && s != "" && strings.Contains(err.Error(), s) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	if _, err := OpenNetwork(NetworkConfig{}); !errors.Is(err, ErrNoMembership) {
		t.Errorf("empty config: %v, want ErrNoMembership", err)
	}
}

func TestNewSecretMakesDifferentUsableSecrets(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if a == b {
		t.Error("the same secret twice")
	}
	for _, s := range []string{a, b} {
		if err := checkSecret(s); err != nil || len(s) != 52 {
			t.Errorf("secret of %d characters: %v", len(s), err)
		}
	}
}

func TestPrintingANetworkDoesNotShowItsKey(t *testing.T) {
	n := openTestNetwork(t, NetworkConfig{Secret: testSecret})
	seed := n.ca.key.Seed()
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		s := fmt.Sprintf(verb, n)
		for _, leak := range []string{testSecret, fmt.Sprintf("%x", seed), fmt.Sprint(seed)[1:20], fmt.Sprintf("%#v", seed)[7:30]} {
			if strings.Contains(s, leak) {
				t.Errorf("%s prints a secret: %s", verb, s)
			}
		}
	}
}
