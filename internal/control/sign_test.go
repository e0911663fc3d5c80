package control

import (
	"testing"

	"github.com/weftnet/weft/internal/identity"
)

func TestRegisterIsSignedForOneRelay(t *testing.T) {
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	network, err := identity.OpenNetwork(identity.NetworkConfig{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.NewCredentials(key, network, []string{"kv-1"})
	if err != nil {
		t.Fatal(err)
	}
	m := &Register{Names: c.Names(), Epoch: 1, Seq: 2}
	if err := m.Sign(c, 7); err != nil {
		t.Fatal(err)
	}
	if !m.Record(network.ID(), key.Public(), 7).Verify(m.Signature) {
		t.Error("the signature does not verify")
	}
	if m.Record(network.ID(), key.Public(), 8).Verify(m.Signature) {
		t.Error("the signature verifies for another relay")
	}
	if len(m.Certificate) == 0 {
		t.Error("names without a certificate")
	}
	m.Names = nil
	if err := m.Sign(c, 7); err != nil || m.Certificate != nil {
		t.Errorf("no names, but a certificate of %d bytes (%v)", len(m.Certificate), err)
	}
	if _, err := encode(1, m); err != nil {
		t.Error(err)
	}
}
