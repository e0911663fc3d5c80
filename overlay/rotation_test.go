package overlay

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

func rotatedSecret(t *testing.T) string {
	t.Helper()
	secret, err := RotateSecret("", labSecret)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestAStatusSaysWhatIsAccepted(t *testing.T) {
	fresh := rotatedSecret(t)
	n, err := New(Config{Secret: labSecret, AlsoAccept: []string{fresh, labSecret}, NoDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if st := n.Status(); st.AlsoAccepted != 1 || st.Network != "weft" {
		t.Errorf("status: %+v", st)
	}
}

// What nodes seal on a LAN is the same in all steps, so that they find each other
// there, by name as well. A guest that knows the other CA's name only does, too.
func TestMembersByTwoSecretsMeetOnALAN(t *testing.T) {
	fresh := rotatedSecret(t)
	network, err := identity.OpenNetwork(identity.NetworkConfig{Secret: fresh})
	if err != nil {
		t.Fatal(err)
	}
	inLANLab(t, func(t *testing.T, l *lanLab) {
		token, _, err := NewInvite("", labSecret, Invite{Expires: time.Now().Add(time.Hour), Names: []string{"guest"}})
		if err != nil {
			t.Fatal(err)
		}
		old := l.node("old", Config{Relays: none, Name: "old", Secret: labSecret, AlsoAccept: []string{fresh}})
		young := l.node("young", Config{Relays: none, Name: "young", Secret: fresh, AlsoAccept: []string{labSecret}})
		guest := l.node("guest", Config{Relays: none, Name: "guest", Invite: token, AlsoAccept: []string{network.CA()}})
		all := []*Node{old, young, guest}
		for _, n := range all {
			l.echo(n)
		}
		for _, from := range all {
			for _, to := range all {
				if from == to {
					continue
				}
				c, err := from.Dial(t.Context(), to.Name()+":7")
				if err != nil {
					t.Fatalf("from %s to %s: %v", from.Name(), to.Name(), err)
				}
				roundTrip(t, c)
				if p, _ := PeerOf(c); p.OtherCA != (from == young || to == young) {
					t.Errorf("%s says of %s that it is %+v", from.Name(), to.Name(), p)
				}
				_ = c.Close()
			}
		}
	})
}

func TestWhatANodeCannotAccept(t *testing.T) {
	fresh := rotatedSecret(t)
	other, _, err := NewInvite("lab", labSecret, Invite{Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"another network's secret": {Config{Secret: fresh, AlsoAccept: []string{labSecret, labSecret + "!"}}, "AlsoAccept[1] is of another network"},
		"another network's invite": {Config{Secret: labSecret, AlsoAccept: []string{other}}, "of another network"},
		"an open network":          {Config{Open: true, AlsoAccept: []string{fresh}}, "everybody is accepted"},
		"another name":             {Config{Network: "lab", Secret: fresh}, "leave the network's name out"},
	} {
		n, err := New(tt.cfg)
		if err == nil {
			n.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), labSecret) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := RotateSecret("", ""); err == nil {
		t.Error("the secret of an open network was replaced")
	}
	if _, err := RotateSecret("", "short"); err == nil || errors.Is(err, identity.ErrNoSecret) {
		t.Errorf("a short secret: %v", err)
	}
}

func TestTheEnvironmentNamesWhatIsAccepted(t *testing.T) {
	t.Setenv(EnvSecret, labSecret)
	t.Setenv(EnvRelays, relayAddr)
	t.Setenv(EnvAlsoAccept, "\n a secret, with spaces \nweft-ca-1-x\n\n")
	cfg, err := ConfigFromEnv()
	if want := []string{"a secret, with spaces", "weft-ca-1-x"}; err != nil || !slices.Equal(cfg.AlsoAccept, want) {
		t.Errorf("%q, %v", cfg.AlsoAccept, err)
	}
}
