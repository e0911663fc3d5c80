package gossip

import (
	"fmt"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// The methods of this file change the table; d.mu is held.

// check reports why a peer must not have an attachment.
func (d *Directory) check(peer identity.Peer, a Attachment) error {
	if len(a.Names) > d.cfg.MaxNamesPerNode || len(a.Candidates) > d.cfg.MaxCandidates {
		return fmt.Errorf("%w: %d names and %d candidates, at most %d and %d are allowed",
			ErrTooMuch, len(a.Names), len(a.Candidates), d.cfg.MaxNamesPerNode, d.cfg.MaxCandidates)
	}
	for _, name := range a.Names {
		if !slices.Contains(peer.Names, name) {
			return fmt.Errorf("%w: %.64q", ErrNotCertified, name)
		}
	}
	return nil
}

// claim returns the peer's entry; it makes one if the ID is free and there is
// room.
func (d *Directory) claim(peer identity.Peer) (*entry, error) {
	if e := d.nodes[peer.ID]; e != nil {
		if e.Key != peer.Key {
			d.stats.Conflicts++
			return nil, &ConflictError{ID: peer.ID, Known: e.Key, Refused: peer.Key}
		}
		return e, nil
	}
	if len(d.nodes) >= d.cfg.MaxRecords && !d.forgetOldest() {
		d.stats.Full++
		return nil, ErrFull
	}
	e := &entry{Record: Record{ID: peer.ID, Key: peer.Key}}
	d.nodes[peer.ID] = e
	return e, nil
}

// set makes a the attachment of e, which is attached from now on.
func (d *Directory) set(e *entry, a Attachment) {
	d.unname(e)
	if e.gone != nil {
		d.detached.Remove(e.gone)
		e.gone = nil
	}
	e.Attachment = a
	for _, name := range a.Names {
		holders := d.names[name]
		if holders == nil {
			holders = make(map[identity.NodeID]*entry, 1)
			d.names[name] = holders
		}
		holders[e.ID] = e
	}
}

// unname makes e unknown under its names.
func (d *Directory) unname(e *entry) {
	for _, name := range e.Names {
		holders := d.names[name]
		delete(holders, e.ID)
		if len(holders) == 0 {
			delete(d.names, name)
		}
	}
}

// forgetExpired forgets the nodes that were detached long enough ago.
func (d *Directory) forgetExpired(now time.Time) {
	for first := d.detached.Front(); first != nil; first = d.detached.Front() {
		if now.Before(first.Value.(*entry).forget) {
			return
		}
		d.forgetOldest()
	}
}

// forgetOldest forgets the node that was detached first, if there is one.
func (d *Directory) forgetOldest() bool {
	first := d.detached.Front()
	if first == nil {
		return false
	}
	e := d.detached.Remove(first).(*entry)
	delete(d.nodes, e.ID)
	return true
}
