package control

import (
	"context"
	"fmt"

	"github.com/weftnet/weft/internal/identity"
)

// MaxRevocations is how many revocations one message has: with a head each,
// they fit [MaxBody].
const MaxRevocations = 64

// Revoke brings a relay revocations, which it keeps and passes on if the network's
// CA has signed all of them. Any member may bring one: who signed it is what counts.
type Revoke struct {
	Revocations [][]byte `cbor:"1,keyasint,omitempty"`
}

func (*Revoke) kind() Kind     { return KindRevoke }
func (m *Revoke) check() error { return checkRevocations(m.Revocations) }

// Revoked answers Revoke: the relay knows all of them now.
type Revoked struct{}

func (*Revoked) kind() Kind   { return KindRevoked }
func (*Revoked) check() error { return nil }

// Revocations tells a node what is revoked. A relay sends all that it knows, in
// several messages, when a control stream begins, and new ones as they come. The
// node verifies each.
type Revocations struct {
	Revocations [][]byte `cbor:"1,keyasint,omitempty"`
}

func (*Revocations) kind() Kind     { return KindRevocations }
func (m *Revocations) check() error { return checkRevocations(m.Revocations) }

func checkRevocations(list [][]byte) error {
	if n := len(list); n > MaxRevocations {
		return fmt.Errorf("%w: %d revocations, at most %d are allowed", ErrMalformed, n, MaxRevocations)
	}
	for _, b := range list {
		if len(b) > identity.MaxRevocation {
			return fmt.Errorf("%w: a revocation of %d bytes, at most %d are allowed", ErrMalformed, len(b), identity.MaxRevocation)
		}
	}
	return nil
}

// Revoke hands revocations to the relay, at most [MaxRevocations]. A refusal is
// a *[Failed].
func (c *Client) Revoke(ctx context.Context, revocations [][]byte) error {
	_, err := call[*Revoked](ctx, c, &Revoke{Revocations: revocations})
	return err
}
