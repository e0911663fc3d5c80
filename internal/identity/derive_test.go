package identity

import "testing"

func TestNetworkDeriveDependsOnSecretNameAndLabel(t *testing.T) {
	open := func(cfg NetworkConfig) *Network {
		t.Helper()
		n, err := OpenNetwork(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	base := NetworkConfig{Name: "a", Secret: "a secret for tests only"}
	want := open(base).Derive("use")
	if got := open(base).Derive("use"); got != want {
		t.Error("two members derive different bytes")
	}
	for name, got := range map[string][32]byte{
		"another label":   open(base).Derive("user"),
		"another name":    open(NetworkConfig{Name: "b", Secret: base.Secret}).Derive("use"),
		"another secret":  open(NetworkConfig{Name: "a", Secret: base.Secret + "!"}).Derive("use"),
		"an open network": open(NetworkConfig{Name: "a", Open: true}).Derive("use"),
	} {
		if got == want {
			t.Errorf("%s: the same bytes", name)
		}
	}
}
