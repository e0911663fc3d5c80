package gossip

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/weftnet/weft/internal/identity"
)

// MaxRelayAddrs is how many addresses a relay may be known by.
const MaxRelayAddrs = 4

// labelRelay is the purpose of a relay's signature of its own record.
const labelRelay = "relay 1"

// A relayRecord is what a relay says about itself. Of two records of one relay
// the one with the higher (epoch, sequence) is the newer.
type relayRecord struct {
	id          identity.NodeID
	key         identity.PublicKey
	epoch, seq  uint64
	leaving     bool // what is attached to it is on its way elsewhere
	addrs       []string
	signature   signature
	certificate []byte // its chain, with the relay role
}

const flagLeaving = 1

func (r *relayRecord) newer(r0 *relayRecord) bool {
	c := cmp.Or(cmp.Compare(r.epoch, r0.epoch), cmp.Compare(r.seq, r0.seq))
	if c == 0 { // only for a relay that signs one version twice
		c = cmp.Compare(string(r.signature[:]), string(r0.signature[:]))
	}
	return c > 0
}

// hash identifies the content.
func (r *relayRecord) hash() uint64 {
	sum := sha256.Sum256(append(r.appendBody(nil), r.signature[:]...))
	return binary.BigEndian.Uint64(sum[:])
}

// sign makes the record that of the relay with the key.
func (r *relayRecord) sign(network [32]byte, key *identity.Key) {
	r.id, r.key = key.ID(), key.Public()
	copy(r.signature[:], key.Sign(labelRelay, r.appendBody(network[:])))
}

// verify checks the relay's signature, but not its certificate.
func (r *relayRecord) verify(network [32]byte) error {
	if !r.key.Verify(labelRelay, r.appendBody(network[:]), r.signature[:]) {
		return fmt.Errorf("%w: record of relay %v", ErrSignature, r.id)
	}
	return nil
}

// appendBody appends what is signed after the network's ID: key (32), epoch
// (8), sequence (8), flags (1), addresses.
func (r *relayRecord) appendBody(b []byte) []byte {
	b = append(b[:len(b):len(b)], r.key[:]...)
	b = binary.BigEndian.AppendUint64(b, r.epoch)
	b = binary.BigEndian.AppendUint64(b, r.seq)
	var flags byte
	if r.leaving {
		flags = flagLeaving
	}
	b = append(b, flags)
	return appendTexts(b, r.addrs)
}

// append appends the record as it is sent: body, signature, certificate.
func (r *relayRecord) append(b []byte) []byte {
	b = r.appendBody(b)
	b = append(b, r.signature[:]...)
	return appendCert(b, r.certificate)
}

// readRelay reads what append wrote. It shares no memory with r's.
func readRelay(r *reader) *relayRecord {
	rec := &relayRecord{}
	copy(rec.key[:], r.take(len(rec.key)))
	rec.epoch, rec.seq = r.uint64(), r.uint64()
	rec.leaving = r.byte()&flagLeaving != 0
	rec.addrs = r.texts(MaxRelayAddrs, maxAddr)
	copy(rec.signature[:], r.take(len(rec.signature)))
	rec.certificate = r.cert()
	if r.err != nil {
		return nil
	}
	if rec.id = rec.key.ID(); rec.id == 0 {
		r.fail("node ID zero")
		return nil
	}
	return rec
}
