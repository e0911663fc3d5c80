package gossip

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/record"
)

// Limits on what a record may hold; longer ones are malformed.
const (
	maxName = 253               // bytes in a name: a DNS name
	maxAddr = 128               // bytes in an address
	maxCert = identity.MaxChain // bytes in certificates
)

// labelDeparture is the purpose of a relay's signature that a node has left it.
const labelDeparture = "departure 1"

type signature [identity.SignatureSize]byte

// A signed is a node's record as relays pass it on.
type signed struct {
	Record
	signature   signature
	certificate []byte // the node's chain, see identity.Credentials.Chain; a record with names has one
	// departed says that the attachment has ended; departure is the signature
	// of the relay to which the node was attached. hungUp says that the node
	// ended its link itself.
	departed, hungUp bool
	departure        signature
}

// newer reports whether a relay that has s0 is to take s instead: the one with
// the higher (epoch, sequence); then, only for a node that has signed one
// version twice, the higher relay; then a departure before what it ends; then
// the higher hash. So all relays end with the same record, in whatever order
// they come.
func (s *signed) newer(s0 *signed) bool {
	if c := s.compare(s0.Attachment); c != 0 {
		return c > 0
	}
	if s.Relay != s0.Relay {
		return s.Relay > s0.Relay
	}
	if s.departed != s0.departed {
		return s.departed
	}
	return s.hash() > s0.hash()
}

// hash identifies the content: what digests are made of.
func (s *signed) hash() uint64 {
	// The signature covers what is not named here.
	b := appendHead(make([]byte, 0, 128), s.Key, &s.Attachment)
	b = append(b, s.signature[:]...)
	if s.departed {
		b = append(b, s.flags())
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// statement is what the node has signed.
func (s *signed) statement(network [32]byte) record.Record {
	return record.Record{
		Network: network, Key: s.Key, Relay: s.Relay,
		Names: s.Names, Candidates: s.Candidates, Epoch: s.Epoch, Seq: s.Seq,
	}
}

// verify checks the node's signature.
func (s *signed) verify(network [32]byte) error {
	if !s.statement(network).Verify(s.signature[:]) {
		return fmt.Errorf("%w: record of node %v", ErrSignature, s.ID)
	}
	return nil
}

// depart makes s a departure that the relay signs.
func (s *signed) depart(network [32]byte, relay *identity.Key, hungUp bool) {
	s.departed, s.hungUp = true, hungUp
	copy(s.departure[:], relay.Sign(labelDeparture, s.departureMessage(network)))
}

// verifyDeparture checks that the relay has signed the departure.
func (s *signed) verifyDeparture(network [32]byte, relay identity.PublicKey) error {
	if relay.ID() != s.Relay || !relay.Verify(labelDeparture, s.departureMessage(network), s.departure[:]) {
		return fmt.Errorf("%w: departure of node %v from relay %v", ErrSignature, s.ID, s.Relay)
	}
	return nil
}

// departureMessage is what the relay signs.
func (s *signed) departureMessage(network [32]byte) []byte {
	how := byte(0)
	if s.hungUp {
		how = 1
	}
	return append(appendHead(network[:], s.Key, &s.Attachment), how)
}

// appendHead appends what identifies a version of a record: key (32), relay
// (8), epoch (8) and sequence (8).
func appendHead(b []byte, node identity.PublicKey, a *Attachment) []byte {
	b = append(b[:len(b):len(b)], node[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Relay))
	b = binary.BigEndian.AppendUint64(b, a.Epoch)
	return binary.BigEndian.AppendUint64(b, a.Seq)
}

const (
	flagDeparted = 1
	flagHungUp   = 2 // only with flagDeparted
)

func (s *signed) flags() byte {
	switch {
	case !s.departed:
		return 0
	case s.hungUp:
		return flagDeparted | flagHungUp
	}
	return flagDeparted
}

// append appends the record as it is sent: head, names, candidates, signature,
// flags (1), the departure's signature if there is one, certificate.
func (s *signed) append(b []byte) []byte {
	b = append(b, s.Key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Relay))
	b = binary.BigEndian.AppendUint64(b, s.Epoch)
	b = binary.BigEndian.AppendUint64(b, s.Seq)
	b = appendTexts(b, s.Names)
	b = appendTexts(b, s.Candidates)
	b = append(b, s.signature[:]...)
	b = append(b, s.flags())
	if s.departed {
		b = append(b, s.departure[:]...)
	}
	return appendCert(b, s.certificate)
}

// check reports whether the record keeps the limits, so that it can be sent.
func (s *signed) check() error {
	if len(s.Names) > DefaultMaxNamesPerNode || len(s.Candidates) > DefaultMaxCandidates {
		return fmt.Errorf("%w: %d names and %d candidates", ErrTooMuch, len(s.Names), len(s.Candidates))
	}
	if err := checkTexts(s.Names, maxName); err != nil {
		return err
	}
	if len(s.certificate) > maxCert {
		return fmt.Errorf("%w: certificate of %d bytes", ErrTooMuch, len(s.certificate))
	}
	return checkTexts(s.Candidates, maxAddr)
}

// readSigned reads what append wrote. The record shares no memory with r's.
func readSigned(r *reader) *signed {
	s := &signed{}
	copy(s.Key[:], r.take(len(s.Key)))
	s.Relay = identity.NodeID(r.uint64())
	s.Epoch, s.Seq = r.uint64(), r.uint64()
	s.Names = r.texts(DefaultMaxNamesPerNode, maxName)
	s.Candidates = r.texts(DefaultMaxCandidates, maxAddr)
	copy(s.signature[:], r.take(len(s.signature)))
	flags := r.byte()
	if s.departed = flags&flagDeparted != 0; s.departed {
		s.hungUp = flags&flagHungUp != 0
		copy(s.departure[:], r.take(len(s.departure)))
	}
	s.certificate = r.cert()
	if r.err != nil {
		return nil
	}
	s.ID = s.Key.ID()
	if s.Relay == 0 || s.ID == 0 {
		r.fail("node ID zero")
		return nil
	}
	return s
}
