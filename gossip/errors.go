package gossip

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weftnet/weft/internal/identity"
)

// Errors of a [Directory].
var (
	// ErrNotFound is what Lookup returns for a node that is not attached.
	ErrNotFound = errors.New("gossip: no such node is attached")
	// ErrFull is what refuses a node when MaxRecords others are attached.
	ErrFull = errors.New("gossip: the directory is full; raise MaxRecords or use another relay")
	// ErrNotCertified is what refuses a name that is not in the node's certificate.
	ErrNotCertified = errors.New("gossip: a name that is not in the node's certificate")
	// ErrTooMuch is what refuses more names or candidates than a node may have.
	ErrTooMuch = errors.New("gossip: more names or candidate addresses than a node may have")
	// ErrSignature is what refuses a record that its node or relay has not signed.
	ErrSignature = errors.New("gossip: the signature is not the author's")
)

// A ConflictError says that another key holds a node ID already. The node with
// Refused should make a new key.
type ConflictError struct {
	ID             identity.NodeID
	Known, Refused identity.PublicKey
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("gossip: key %v has the node ID %v of another node, with key %v, which was known first; make a new key",
		e.Refused, e.ID, e.Known)
}

// A StaleError says that a newer attachment is known. A node that receives it
// for its own attachment continues with an epoch above the one given.
type StaleError struct {
	ID         identity.NodeID
	Epoch, Seq uint64 // of the attachment that is known
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("gossip: a newer attachment of node %v is known (epoch %d, sequence %d)", e.ID, e.Epoch, e.Seq)
}

// An AmbiguousError says that several attached nodes have one name.
type AmbiguousError struct {
	Name string
	IDs  []identity.NodeID // in ascending order, at most [MaxMatches]
}

func (e *AmbiguousError) Error() string {
	ids := make([]string, len(e.IDs))
	for i, id := range e.IDs {
		ids[i] = id.String()
	}
	return fmt.Sprintf("gossip: %d nodes have the name %q: %s; dial one by its ID", len(ids), e.Name, strings.Join(ids, ", "))
}
