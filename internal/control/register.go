package control

import (
	"errors"
	"fmt"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/record"
)

// Register makes a node known at its relay, or changes what is known of it. Of
// two Registers for one node, the one with the higher (Epoch, Seq) holds.
type Register struct {
	Names       []string `cbor:"1,keyasint,omitempty"` // each must be in the node's certificate
	Candidates  []string `cbor:"2,keyasint,omitempty"` // addresses where the node may be reached directly
	Epoch       uint64   `cbor:"3,keyasint,omitempty"` // grows with each start of the process
	Seq         uint64   `cbor:"4,keyasint,omitempty"` // grows with each change within an epoch
	Signature   []byte   `cbor:"5,keyasint,omitempty"` // of the record, see Record; 64 bytes
	Certificate []byte   `cbor:"6,keyasint,omitempty"` // what identity.Credentials.Chain returns; empty when there are no names
}

// Record returns what Signature is for: the statement of the node with the
// given key that it is attached to the relay.
func (m *Register) Record(network [32]byte, node identity.PublicKey, relay identity.NodeID) record.Record {
	return record.Record{
		Network: network, Key: node, Relay: relay,
		Names: m.Names, Candidates: m.Candidates, Epoch: m.Epoch, Seq: m.Seq,
	}
}

// Sign makes the message that of the node with the credentials, at the relay:
// it sets Signature, and Certificate if there are names. All else must be set
// before.
func (m *Register) Sign(c *identity.Credentials, relay identity.NodeID) error {
	m.Signature = m.Record(c.Network().ID(), c.Key().Public(), relay).Sign(c.Key())
	m.Certificate = nil
	if len(m.Names) == 0 {
		return nil
	}
	var err error
	m.Certificate, err = c.Chain()
	return err
}

func (*Register) kind() Kind { return KindRegister }

func (m *Register) check() error {
	return errors.Join(
		checkTexts("name", m.Names, MaxNames, MaxName),
		checkTexts("candidate", m.Candidates, MaxCandidates, MaxAddr),
		m.checkProof(),
	)
}

func (m *Register) checkProof() error {
	if n := len(m.Signature); n != 0 && n != identity.SignatureSize {
		return fmt.Errorf("%w: signature of %d bytes, want %d", ErrMalformed, n, identity.SignatureSize)
	}
	if n := len(m.Certificate); n > MaxCertificate {
		return fmt.Errorf("%w: certificate of %d bytes, at most %d are allowed", ErrMalformed, n, MaxCertificate)
	}
	return nil
}

// Registered answers Register.
type Registered struct {
	ObservedAddr string `cbor:"1,keyasint,omitempty"` // the node's address as the relay sees it
	RelayName    string `cbor:"2,keyasint,omitempty"` // for people; empty if the relay has none
	RelayVersion string `cbor:"3,keyasint,omitempty"` // for people

	Revoked uint64 `cbor:"4,keyasint,omitempty"` // [identity.Revocations.Sum] at the relay; 0: none
}

func (*Registered) kind() Kind { return KindRegistered }

func (m *Registered) check() error {
	return errors.Join(
		checkText("observed address", m.ObservedAddr, MaxAddr),
		checkText("relay name", m.RelayName, MaxName),
		checkText("relay version", m.RelayVersion, MaxVersion),
	)
}
