package gossip

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weftnet/weft/internal/identity"
)

// An Attachment says how a node can be reached. Of two attachments of one node
// the one with the higher (Epoch, Seq) is the newer.
type Attachment struct {
	Relay      identity.NodeID // where the node is attached
	Names      []string        // what it may be dialled as, in lower case
	Candidates []string        // addresses where it may be reached directly
	Epoch      uint64          // grows with each start of the node
	Seq        uint64          // grows with each change within an epoch
}

// compare says which of two attachments is the newer, as cmp.Compare does.
func (a Attachment) compare(b Attachment) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Seq, b.Seq))
}

// clone returns a copy that shares no memory, with the names in lower case.
func (a Attachment) clone() Attachment {
	a.Names = slices.Clone(a.Names)
	for i, name := range a.Names {
		a.Names[i] = strings.ToLower(name)
	}
	a.Candidates = slices.Clone(a.Candidates)
	return a
}

// A Record is a node and its newest attachment. Its slices are shared and must
// not be modified.
type Record struct {
	ID  identity.NodeID
	Key identity.PublicKey
	Attachment
}
