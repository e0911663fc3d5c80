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
