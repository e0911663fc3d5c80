package control

import (
	"fmt"

	"github.com/weftnet/weft/internal/identity"
)

// A Key is a node's public key. It decodes only from exactly 32 bytes.
type Key identity.PublicKey

// keyHead is the CBOR head of a byte string of 32 bytes.
const keyHead = "\x58\x20"

// MarshalCBOR writes the key as a byte string.
func (k Key) MarshalCBOR() ([]byte, error) { return append([]byte(keyHead), k[:]...), nil }

// UnmarshalCBOR reads what MarshalCBOR writes, and nothing else.
func (k *Key) UnmarshalCBOR(b []byte) error {
	if len(b) != len(keyHead)+len(k) || string(b[:len(keyHead)]) != keyHead {
		return fmt.Errorf("%w: a key must be a byte string of %d bytes", ErrMalformed, len(k))
	}
	copy(k[:], b[len(keyHead):])
	return nil
}

// Lookup asks which nodes a target means. Exactly one field is set.
type Lookup struct {
	ID   identity.NodeID `cbor:"1,keyasint,omitempty"`
	Key  Key             `cbor:"2,keyasint,omitzero"`
	Name string          `cbor:"3,keyasint,omitempty"`
}

// Target returns the lookup's target.
func (m *Lookup) Target() identity.Target {
	return identity.Target{ID: m.ID, Key: identity.PublicKey(m.Key), Name: m.Name}
}

func (*Lookup) kind() Kind { return KindLookup }

func (m *Lookup) check() error {
	set := 0
	for _, yes := range []bool{m.ID != 0, m.Key != Key{}, m.Name != ""} {
		if yes {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("%w: a lookup names %d of ID, key and name, exactly one is wanted", ErrMalformed, set)
	}
	return checkText("name", m.Name, MaxName)
}

// A Record is a node that a relay knows to be attached somewhere.
type Record struct {
	ID    identity.NodeID `cbor:"1,keyasint,omitempty"`
	Key   Key             `cbor:"2,keyasint,omitzero"`
	Names []string        `cbor:"3,keyasint,omitempty"`
}

// Found answers Lookup. There is more than one record when nodes share a name.
type Found struct {
	Records []Record `cbor:"1,keyasint,omitempty"`
}

func (*Found) kind() Kind { return KindFound }

func (m *Found) check() error {
	if len(m.Records) == 0 || len(m.Records) > MaxRecords {
		return fmt.Errorf("%w: %d records, 1 to %d are allowed", ErrMalformed, len(m.Records), MaxRecords)
	}
	for _, r := range m.Records {
		if err := checkTexts("name", r.Names, MaxNames, MaxName); err != nil {
			return err
		}
		if identity.PublicKey(r.Key).ID() != r.ID {
			return fmt.Errorf("%w: a record's node ID does not belong to its key", ErrMalformed)
		}
	}
	return nil
}

// NotFound answers Lookup: the relay knows no such node.
type NotFound struct{}

func (*NotFound) kind() Kind   { return KindNotFound }
func (*NotFound) check() error { return nil }
