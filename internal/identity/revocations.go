package identity

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// MaxRevocations is how many revocations of a network are kept. Only who knows
// the secret makes any; a network that needs more needs a new secret.
const MaxRevocations = 4096

// ErrRevocationsFull refuses a revocation for which there is no room.
var ErrRevocationsFull = errors.New("identity: there are too many revocations; wait until old ones end, or make a new secret")

// Revocations are all that is known to be revoked in a network. They are safe
// for concurrent use. Only what a CA of the network has signed gets in.
type Revocations struct {
	network *Network

	mu      sync.RWMutex
	known   map[Revocation]revoked // by subject
	version uint64                 // grows by 1 with each that is added
	change  chan struct{}          // closed, and replaced, when one is added
	stats   RevocationStats
}

// A revoked is a revocation as it came.
type revoked struct {
	Revocation
	raw     []byte // never modified
	version uint64
	hash    uint64
	own     bool // signed by the network's own CA, not by one that is accepted besides
}

// RevocationStats are the counters of [Revocations].
type RevocationStats struct {
	Known  int    // now
	Forged uint64 // refused: malformed, or not signed by this network's CA
	Full   uint64 // refused: no room
}

func newRevocations(n *Network) *Revocations {
	return &Revocations{network: n, known: make(map[Revocation]revoked), change: make(chan struct{})}
}

// Revocations returns what is revoked in the network, as far as this node knows.
// VerifyPeer refuses all that it has.
func (c *Credentials) Revocations() *Revocations { return c.revoked }

// Add verifies a revocation and keeps it; of two of one subject the one that
// holds for longer. What is known already costs no signature check. isNew
// reports whether something has changed. The error matches [ErrBadRevocation] or
// [ErrRevocationsFull]; a good revocation that has ended is left out without one.
func (s *Revocations) Add(b []byte) (r Revocation, isNew bool, err error) {
	if r, _, err = ReadRevocation(b); err == nil && s.has(r, b) {
		return r, false, nil
	}
	var own bool
	if err == nil {
		r, own, err = s.network.verifyRevocation(b)
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.stats.Forged++
		return r, false, err
	}
	old, known := s.known[r.subject()]
	if r.ended(now) || known && !r.longer(old.Revocation) {
		return r, false, nil
	}
	if !known && len(s.known) >= MaxRevocations {
		maps.DeleteFunc(s.known, func(_ Revocation, e revoked) bool { return e.ended(now) })
		if len(s.known) >= MaxRevocations {
			s.stats.Full++
			return r, false, ErrRevocationsFull
		}
	}
	s.version++
	sum := sha256.Sum256(b)
	s.known[r.subject()] = revoked{r, bytes.Clone(b), s.version, binary.BigEndian.Uint64(sum[:]), own}
	close(s.change)
	s.change = make(chan struct{})
	return r, true, nil
}

// has reports whether the very bytes are known.
func (s *Revocations) has(r Revocation, b []byte) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return bytes.Equal(s.known[r.subject()].raw, b)
}

// All returns all revocations that have not ended: first those that the own CA
// has signed, since others may not accept the others any more, and look at
// nothing behind the first of these. The slices must not be modified.
func (s *Revocations) All() [][]byte {
	found, _, _ := s.after(0)
	slices.SortStableFunc(found, func(a, b revoked) int {
		if a.own == b.own {
			return 0
		}
		if a.own {
			return -1
		}
		return 1
	})
	return raws(found)
}

// After returns revocations that were added after a version, 0 for all, in that
// order and without those that have ended; at most limit, only such as one CA has
// signed, for the same reason as in All, and the version up to which they are.
// The channel is closed once there are more than those that are known now. The
// slices must not be modified.
func (s *Revocations) After(version uint64, limit int) (list [][]byte, upto uint64, more <-chan struct{}) {
	if limit <= 0 {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return nil, s.version, s.change
	}
	found, upto, more := s.after(version)
	n := slices.IndexFunc(found, func(e revoked) bool { return e.own != found[0].own })
	if n < 0 {
		n = len(found)
	}
	if n = min(n, limit); n < len(found) {
		found = found[:n]
		upto = found[n-1].version
	}
	return raws(found), upto, more
}

// after returns all that was added after a version, in that order.
func (s *Revocations) after(version uint64) (found []revoked, upto uint64, more <-chan struct{}) {
	now := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if version < s.version {
		for _, e := range s.known {
			if e.version > version && !e.ended(now) {
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, func(a, b revoked) int { return cmp.Compare(a.version, b.version) })
	return found, s.version, s.change
}

func raws(list []revoked) [][]byte {
	var out [][]byte
	for _, e := range list {
		out = append(out, e.raw)
	}
	return out
}

// Sum is the same for sets of the same revocations, and hardly ever for others:
// the sum of the first 8 bytes of the SHA-256 of each that has not ended; 0 for
// none.
func (s *Revocations) Sum() (sum uint64) {
	now := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.known {
		if !e.ended(now) {
			sum += e.hash
		}
	}
	return sum
}

// Stats returns the counters.
func (s *Revocations) Stats() RevocationStats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.stats
	st.Known = len(s.known)
	return st
}

// Check reports whether a peer's key or invite is revoked. The error matches
// [ErrRevoked].
func (s *Revocations) Check(p Peer) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.known) == 0 {
		return nil
	}
	now := time.Now()
	for _, subject := range [...]Revocation{{Node: p.Key}, {Invite: p.Invite}} {
		if e, ok := s.known[subject]; ok && !e.ended(now) {
			return fmt.Errorf("%w: the %v; whoever has the network's secret did that (weft revoke)", ErrRevoked, e.Revocation)
		}
	}
	return nil
}
