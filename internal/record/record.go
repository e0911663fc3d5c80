package record

import (
	"encoding/binary"

	"github.com/weftnet/weft/internal/identity"
)

// label is the purpose of the signature; a change of the signed bytes changes it.
const label = "record 1"

// A Record is a node's statement about where it is. Of two statements of one
// node the one with the higher (Epoch, Seq) holds.
type Record struct {
	Network    [32]byte           // network ID
	Key        identity.PublicKey // of the node that signs
	Relay      identity.NodeID    // where it is attached
	Names      []string           // what it may be dialled as, in lower case, in the order in which they were signed
	Candidates []string           // addresses where it may be reached directly
	Epoch      uint64             // grows with each start of the node
	Seq        uint64             // grows with each statement within an epoch
}

// Sign returns the signature of a record. Key must be k's public key.
func (r Record) Sign(k *identity.Key) []byte { return k.Sign(label, r.message()) }

// Verify reports whether the node itself has signed exactly this record.
func (r Record) Verify(signature []byte) bool { return r.Key.Verify(label, r.message(), signature) }

// message returns the bytes that stand for the record. They are never sent. Two
// records that differ in anything have different bytes: lists and texts are
// preceded by their lengths.
func (r Record) message() []byte {
	b := make([]byte, 0, 256)
	b = append(b, r.Network[:]...)
	b = append(b, r.Key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Relay))
	b = binary.BigEndian.AppendUint64(b, r.Epoch)
	b = binary.BigEndian.AppendUint64(b, r.Seq)
	b = appendTexts(b, r.Names)
	return appendTexts(b, r.Candidates)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}
