package control

import "errors"

// Register makes a node known at its relay, or changes what is known of it. Of
// two Registers for one node, the one with the higher (Epoch, Seq) holds.
type Register struct {
	Names      []string `cbor:"1,keyasint,omitempty"` // each must be in the node's certificate
	Candidates []string `cbor:"2,keyasint,omitempty"` // addresses where the node may be reached directly
	Epoch      uint64   `cbor:"3,keyasint,omitempty"` // grows with each start of the process
	Seq        uint64   `cbor:"4,keyasint,omitempty"` // grows with each change within an epoch
}

func (*Register) kind() Kind { return KindRegister }

func (m *Register) check() error {
	return errors.Join(
		checkTexts("name", m.Names, MaxNames, MaxName),
		checkTexts("candidate", m.Candidates, MaxCandidates, MaxAddr),
	)
}

// Registered answers Register.
type Registered struct {
	ObservedAddr string `cbor:"1,keyasint,omitempty"` // the node's address as the relay sees it
	RelayName    string `cbor:"2,keyasint,omitempty"` // for people; empty if the relay has none
	RelayVersion string `cbor:"3,keyasint,omitempty"` // for people
}

func (*Registered) kind() Kind { return KindRegistered }

func (m *Registered) check() error {
	return errors.Join(
		checkText("observed address", m.ObservedAddr, MaxAddr),
		checkText("relay name", m.RelayName, MaxName),
		checkText("relay version", m.RelayVersion, MaxVersion),
	)
}
