package gossip

import (
	"errors"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// closedSim is a simulation of two relays of which the first knows a network with
// a CA, and that network.
func closedSim(t *testing.T) (*sim, *simRelay, *identity.Network) {
	t.Helper()
	s := newSim(t, 1, 2, 1)
	s.run(3 * time.Second)
	n, err := identity.OpenNetwork(identity.NetworkConfig{Secret: "a secret for tests only"})
	if err != nil {
		t.Fatal(err)
	}
	cred, err := identity.NewCredentials(mustKey(t), n, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.relays[0].revoked = cred.Revocations()
	return s, s.relays[0], n
}

func mustRevoke(t *testing.T, n *identity.Network, r identity.Revocation) []byte {
	t.Helper()
	b, err := n.Revoke(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Of a message full of forged revocations one is looked at. Who sends one need
// not lie: a former secret may have signed it, which others still accept.
func TestAFloodOfForgedRevocationsIsBoundedAndCounted(t *testing.T) {
	s, c, n := closedSim(t)
	other, err := identity.OpenNetwork(identity.NetworkConfig{Name: "other", Secret: "a secret for tests only"})
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte{kindItems}
	for id := range identity.InviteID(1000) {
		if id%100 == 0 {
			msg = appendRevocation(msg, mustRevoke(t, other, identity.Revocation{Invite: id + 1}))
			continue
		}
		msg = appendRevocation(msg, msg[1+1:][:1+8+8+identity.SignatureSize])
	}
	sum := c.relaySum()
	for range 10 {
		c.onBroadcast(msg, c.clock())
	}
	if st := c.revoked.Stats(); st != (identity.RevocationStats{Forged: 10}) || c.stats.Forged != 10 || c.relaySum() != sum {
		t.Errorf("%+v, %+v", st, c.stats)
	}
	good := mustRevoke(t, n, identity.Revocation{Invite: 1})
	c.onBroadcast(appendRevocation([]byte{kindItems}, good), c.clock())
	if c.revoked.Stats().Known != 1 || c.relaySum() == sum {
		t.Error("a good one is not taken any more")
	}
	from := s.relays[1].self
	c.pulling = &puller{from: from, relays: true, nonce: 7}
	c.onAnswer(&answer{nonce: 7, upto: lastID, revoked: [][]byte{msg[2:][:1+8+8+identity.SignatureSize]}}, false, 9, c.clock())
	if c.stats.Liars != 0 || c.penalties[from] != nil {
		t.Errorf("who answers with one of a former secret is not asked any more: %+v", c.stats)
	}
}

// A relay that has not heard of a revocation yet passes on records of who is
// revoked. That is no lie, and the records keep their place, so that all relays
// have the same.
func TestRecordsOfWhoIsRevokedAreNoLies(t *testing.T) {
	s, c, _ := closedSim(t)
	certify := c.certify
	c.certify = func(chain []byte) (identity.Peer, error) {
		p, err := certify(chain)
		return p, errors.Join(err, identity.ErrRevoked)
	}
	n := s.nodes[0]
	s.attach(n, s.relays[1])
	s.run(time.Second)
	if at, ok := c.dir.RelayOf(n.peer.ID); !ok || at != s.relays[1].self {
		t.Errorf("the node is at %v, %v", at, ok)
	}
	if found := c.dir.Find(identity.Target{Name: n.peer.Names[0]}); len(found) != 0 {
		t.Errorf("found by its name: %v", found)
	}
	s.run(2 * refreshEvery) // the other relay signs its record anew, and that is refused
	if c.stats.NotRelays == 0 || c.stats.Liars != 0 || len(c.penalties) != 0 {
		t.Errorf("%+v", c.stats)
	}
}

// A relay that still accepts a former secret passes on what that has certified. It
// is left out, and no lie.
func TestRecordsOfAFormerSecretAreNoLies(t *testing.T) {
	s, c, _ := closedSim(t)
	n := s.nodes[0]
	certify := c.certify
	c.certify = func(chain []byte) (identity.Peer, error) {
		p, err := certify(chain)
		if p.Key != n.peer.Key {
			return p, err
		}
		return identity.Peer{}, identity.ErrNotMember
	}
	s.attach(n, s.relays[1])
	s.run(2 * digestInterval)
	if at, ok := c.dir.RelayOf(n.peer.ID); ok {
		t.Errorf("the node is at %v", at)
	}
	if c.stats.Forged == 0 || c.stats.Pulls == 0 || c.stats.Liars != 0 || len(c.penalties) != 0 {
		t.Errorf("%+v", c.stats)
	}
}

func TestARevokedRelayDoesNotCount(t *testing.T) {
	s, c, n := closedSim(t)
	s.attach(s.nodes[0], s.relays[1])
	s.run(time.Second)
	if _, ok := c.dir.RelayOf(s.nodes[0].peer.ID); !ok || len(c.relays) != 1 {
		t.Fatal("the relay is not known")
	}
	b := mustRevoke(t, n, identity.Revocation{Node: s.relays[1].key.Public(), Until: s.now.Add(100 * 365 * 24 * time.Hour)})
	c.onBroadcast(appendRevocation([]byte{kindItems}, b), c.clock())
	if at, ok := c.dir.RelayOf(s.nodes[0].peer.ID); ok || len(c.relays) != 0 {
		t.Errorf("the node is at %v, there are %d relays", at, len(c.relays))
	}
}
