package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/weftnet/weft/overlay"
)

const (
	// idBits is the size of the ring: positions are SHA-256 sums.
	idBits = 256
	// maxSuccessors is the length of the successor list. All of these have to fail within
	// one round for a node to lose the ring.
	maxSuccessors = 8
)

// An ID is a position on the ring, of a key or of a node.
type ID [sha256.Size]byte

// position is where a node is on the ring.
func position(node overlay.NodeID) ID {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(node)))
}

// hashOf is where a key is on the ring. It belongs to the first node there or behind.
func hashOf(key []byte) ID { return sha256.Sum256(key) }

func (id ID) String() string { return hex.EncodeToString(id[:4]) }

func (id ID) compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// within reports whether id is in (from, to], clockwise; from == to is the whole ring.
func (id ID) within(from, to ID) bool {
	if from.compare(to) < 0 {
		return from.compare(id) < 0 && id.compare(to) <= 0
	}
	return from.compare(id) < 0 || id.compare(to) <= 0
}

// between is within without the end.
func (id ID) between(from, to ID) bool { return id != to && id.within(from, to) }

// plusPower is id + 2^i, modulo 2^256.
func (id ID) plusPower(i int) ID {
	at := len(id) - 1 - i/8
	sum := uint16(id[at]) + 1<<(i%8)
	id[at] = byte(sum)
	for sum > 0xff && at > 0 {
		at--
		sum = uint16(id[at]) + 1
		id[at] = byte(sum)
	}
	return id
}

// A Ring is what one node knows of the Chord ring (Stoica et al., SIGCOMM 2001, figures
// 5 to 7; successor lists are section IV.E.3 of the version in ToN 2003). It has no I/O
// and no clock, and is not safe for concurrent use: its owner asks others what it says and tells
// it the answers.
type Ring struct {
	self        overlay.NodeID
	selfID      ID
	predecessor overlay.NodeID   // 0: none known
	successors  []overlay.NodeID // nearest first, never self; empty: alone
	fingers     [idBits]overlay.NodeID
	next        int // the finger that is looked up next
}

// NewRing makes a ring of one node.
func NewRing(self overlay.NodeID) *Ring { return &Ring{self: self, selfID: position(self)} }

// Successor is the next node on the ring, self if there is no other.
func (r *Ring) Successor() overlay.NodeID {
	if len(r.successors) == 0 {
		return r.self
	}
	return r.successors[0]
}

// Step is one step of a lookup: the node that id belongs to, or one that is nearer to it.
func (r *Ring) Step(id ID) (node overlay.NodeID, found bool) {
	if successor := r.Successor(); id.within(r.selfID, position(successor)) {
		return successor, true
	}
	best, bestID := r.Successor(), position(r.Successor())
	consider := func(n overlay.NodeID) {
		if n == 0 || n == best || n == r.self {
			return
		}
		if p := position(n); p.between(r.selfID, id) && p.between(bestID, id) {
			best, bestID = n, p
		}
	}
	for i := idBits - 1; i >= 0; i-- {
		if i < idBits-1 && r.fingers[i] == r.fingers[i+1] {
			continue // most are the same
		}
		consider(r.fingers[i])
	}
	for _, n := range r.successors {
		consider(n)
	}
	return best, false
}

// Join makes a node of the ring that this one is to be part of its successor.
func (r *Ring) Join(successor overlay.NodeID) {
	if successor != r.self && successor != 0 && !slices.Contains(r.successors, successor) {
		r.setSuccessors(append([]overlay.NodeID{successor}, r.successors...))
	}
}

// Stabilize takes what the successor says: its predecessor, which may be a nearer
// successor, and its own successors. It returns whether there is a nearer one, which is to
// be asked next.
func (r *Ring) Stabilize(successor, itsPredecessor overlay.NodeID, itsSuccessors []overlay.NodeID) (nearer bool) {
	if successor != r.Successor() {
		return false // meanwhile another
	}
	list := append([]overlay.NodeID{successor}, itsSuccessors...)
	if p := itsPredecessor; p != 0 && p != r.self && position(p).between(r.selfID, position(successor)) {
		list = append([]overlay.NodeID{p}, list...)
		nearer = true
	}
	r.setSuccessors(list)
	return nearer
}

// setSuccessors takes a list up to self or its limit.
func (r *Ring) setSuccessors(list []overlay.NodeID) {
	r.successors = nil
	for _, n := range list {
		if n == r.self || len(r.successors) == maxSuccessors {
			break
		}
		if n != 0 && !slices.Contains(r.successors, n) {
			r.successors = append(r.successors, n)
		}
	}
}

// Notify takes that a node believes to be the predecessor.
func (r *Ring) Notify(node overlay.NodeID) {
	if node == r.self || node == 0 {
		return
	}
	if r.predecessor == 0 || position(node).between(position(r.predecessor), r.selfID) {
		r.predecessor = node
	}
	if len(r.successors) == 0 { // two nodes: each is the other's successor
		r.successors = []overlay.NodeID{node}
	}
}

// Remove forgets a node that does not answer.
func (r *Ring) Remove(node overlay.NodeID) {
	if r.predecessor == node {
		r.predecessor = 0
	}
	r.successors = slices.DeleteFunc(r.successors, func(n overlay.NodeID) bool { return n == node })
	for i := range r.fingers {
		if r.fingers[i] == node {
			r.fingers[i] = 0
		}
	}
}

// NextFinger is the position whose node is to be looked up for a finger. Those that the
// successor is the node of need no lookup, and are most.
func (r *Ring) NextFinger() (finger int, id ID, ok bool) {
	successor := r.Successor()
	for range idBits {
		i := r.next
		r.next = (r.next + 1) % idBits
		if id := r.selfID.plusPower(i); !id.within(r.selfID, position(successor)) {
			return i, id, true
		}
		r.fingers[i] = successor
	}
	return 0, ID{}, false
}

// SetFinger takes what a lookup for a finger has found, for the further ones that it
// is the node of, too.
func (r *Ring) SetFinger(finger int, node overlay.NodeID) {
	r.fingers[finger] = node
	for i := finger + 1; i < idBits && r.selfID.plusPower(i).within(r.selfID.plusPower(finger), position(node)); i++ {
		r.fingers[i] = node
		r.next = (i + 1) % idBits
	}
}

// Known lists all nodes in the ring's tables.
func (r *Ring) Known() []overlay.NodeID {
	known := append([]overlay.NodeID{r.predecessor}, r.successors...)
	known = append(known, r.fingers[:]...)
	slices.Sort(known)
	known = slices.Compact(known)
	return slices.DeleteFunc(known, func(n overlay.NodeID) bool { return n == 0 || n == r.self })
}
