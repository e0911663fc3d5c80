package hostile

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// shownBy is what a node shows whose clock is ahead: a certificate that it has made
// then. All simulated time begins at the same moment.
func shownBy(t *testing.T, k *identity.Key, token string, ahead time.Duration) (shown *tls.Certificate) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(ahead)
		n, err := identity.OpenNetwork(identity.NetworkConfig{Invite: token})
		if err != nil {
			t.Fatal(err)
		}
		c, err := identity.NewCredentials(k, n, nil)
		if err != nil {
			t.Fatal(err)
		}
		if shown, err = c.Certificate(); err != nil {
			t.Fatal(err)
		}
	})
	return shown
}

// show has a node that has just started show a chain of certificates.
func (w *world) show(h *host, chain [][]byte) {
	w.Helper()
	own, err := h.RelayHost().Credentials.Certificate()
	if err != nil {
		w.Fatal(err)
	}
	own.Certificate = chain
	_, _ = h.RelayHost().Credentials.Certificate() // whoever takes it from now on sees the change
}

// newKey makes a key.
func newKey(t *testing.T) *identity.Key {
	t.Helper()
	k, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Clocks of members are wrong: almost an hour ahead, more than that, and behind, so
// that they take an invite for valid which has expired. An hour ahead is forgiven,
// nothing at the end of an invite.
func TestClocksDiffer(t *testing.T) {
	var node, short string // invites for long, and for a minute
	synctest.Test(t, func(t *testing.T) {
		var err error
		node, _ = tokens()
		if short, _, err = overlay.NewInvite("", secret, overlay.Invite{Expires: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	})
	for _, test := range []struct {
		name  string
		token string
		ahead time.Duration
		wait  time.Duration
		in    bool
	}{
		{"59 minutes ahead", node, 59 * time.Minute, 0, true},
		{"61 minutes ahead", node, 61 * time.Minute, 0, false},
		{"behind, with an invite that has expired", short, 0, time.Minute, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newKey(t)
			shown := shownBy(t, k, test.token, test.ahead)
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				victim := w.node("victim", overlay.Config{}, r)
				b := w.bystanders(r).befriend(w, victim, r)
				time.Sleep(test.wait)
				b.withstand(assault{
					play: func(context.Context) {
						h := w.start("mallory", overlay.Config{Key: k, Invite: node, Relays: []string{r.addr}})
						w.show(h, shown.Certificate)
						ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
						defer cancel()
						if err := h.WaitReady(ctx); (err == nil) != test.in {
							w.Errorf("at the relay: %v", err)
						}
						if test.in {
							here, there := w.connect(h, victim)
							_, _ = here.Close(), there.Close()
							here, there = w.connect(victim, h)
							_, _ = here.Close(), there.Close()
						}
						if talksTo(victim, k.ID()) != test.in || talksTo(r, k.ID()) != test.in {
							w.Errorf("the session: %v at the victim, %v at the relay", talksTo(victim, k.ID()), talksTo(r, k.ID()))
						}
					},
					may: []cost{{"an honest node", 1, perNode + perLink + perSimulatedConn + 2*perSession}},
				})
			})
		})
	}
}

// Somebody has a valid invite, and with it makes a certificate for the key of another
// node, which he has not. He is refused everywhere, and the other keeps what it has.
func TestAValidInviteForAnothersKey(t *testing.T) {
	const strangers = 5
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim := w.node("victim", overlay.Config{}, r)
		b := w.bystanders(r).befriend(w, victim, r)
		known := r.Stats()
		port, was := r.RelayHost().Switch.Port(victim.ID()), r.RelayHost().Endpoint.Session(victim.ID())
		b.withstand(assault{
			play: func(ctx context.Context) {
				for range strangers {
					h := w.start("mallory", overlay.Config{Relays: []string{r.addr}})
					w.show(h, w.certify(h, victim.Key()))
				}
				<-ctx.Done()
			},
			may: []cost{{"MaxLinks", strangers, perLink + perSimulatedConn + perNode + perHandshake}},
		})
		s := r.Stats()
		if s.Nodes != known.Nodes || s.Directory.Attached != known.Directory.Attached || s.Accepted-known.Accepted < strangers {
			w.Errorf("somebody is among the nodes: %+v", s)
		}
		if r.RelayHost().Switch.Port(victim.ID()) != port || port.Err() != nil || r.RelayHost().Endpoint.Session(victim.ID()) != was || was.Err() != nil {
			w.Error("the victim has lost its link or session")
		}
	})
}

// inviteKey returns the private key that an invite holds (SPEC.md section 2.5).
func inviteKey(t *testing.T, token string) ed25519.PrivateKey {
	t.Helper()
	const checksum = 4
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, identity.InvitePrefix+"1-"))
	if err != nil {
		t.Fatal(err)
	}
	var fields struct {
		Seed []byte `cbor:"3,keyasint"`
	}
	if err := cbor.Unmarshal(b[:len(b)-checksum], &fields); err != nil {
		t.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(fields.Seed)
}

// certify makes a chain of a node's invite for any key, as who has the invite's key can.
func (w *world) certify(h *host, k identity.PublicKey) [][]byte {
	w.Helper()
	own, err := h.RelayHost().Credentials.Certificate()
	if err != nil {
		w.Fatal(err)
	}
	node, _ := tokens()
	signer := inviteKey(w.T, node)
	parent, err := x509.ParseCertificate(own.Certificate[1])
	if err != nil {
		w.Fatal(err)
	}
	if !bytes.Equal(parent.PublicKey.(ed25519.PublicKey), signer.Public().(ed25519.PublicKey)) {
		w.Fatal("the key is not that of the invite")
	}
	template := *own.Leaf
	template.SerialNumber = nil
	template.Subject.CommonName = k.ID().String()
	leaf, err := x509.CreateCertificate(rand.Reader, &template, parent, ed25519.PublicKey(k[:]), signer)
	if err != nil {
		w.Fatal(err)
	}
	return [][]byte{leaf, own.Certificate[1]}
}
