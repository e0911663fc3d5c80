package gossip

import (
	"container/list"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// A state says what holds of an entry's record.
type state uint8

const (
	none     state = iota // there is no record
	live                  // the node is attached to the record's relay
	departed              // it was
	expired               // the relay has been away for too long
)

// An entry is a node that is attached, or was not long ago. There may be a
// million of them: what few nodes have is in more.
type entry struct {
	key        identity.PublicKey
	relay      identity.NodeID // the record's; 0 if the node was only attached
	here       identity.NodeID // the relay that Attach named; 0 after Detach
	epoch, seq uint64
	signature  signature     // zero in a record that only this relay knows
	more       *more         // nil for a node without names and candidates
	gone       *list.Element // in Directory.detached; nil while attached
	state      state
	isSigned   bool
	unnamed    bool // the certificate was not valid when the record came
}

type more struct {
	names, candidates []string
	certificate       []byte
	departure         signature // with state departed
	hungUp            bool      // with state departed: the node ended its link itself
}

// A departedNode waits in Directory.detached to be forgotten.
type departedNode struct {
	id     identity.NodeID
	forget time.Time
}

// signed reports whether the entry's record can be shown to others.
func (e *entry) signed() bool { return e.isSigned && e.state != none }

// at returns where the node is attached, 0 when it is not.
func (e *entry) at() identity.NodeID {
	if e.state == live && e.relay != 0 {
		return e.relay
	}
	return e.here
}

// attachment returns the version, without names and candidates.
func (e *entry) attachment() Attachment {
	return Attachment{Relay: e.relay, Epoch: e.epoch, Seq: e.seq}
}

// record returns the entry as lookups give it.
func (e *entry) record(id identity.NodeID) Record {
	r := Record{ID: id, Key: e.key, Attachment: e.attachment()}
	r.Relay = e.at()
	if e.more != nil {
		r.Names, r.Candidates = e.more.names, e.more.candidates
	}
	return r
}

// wire returns the entry's record as it is sent. It has one that is signed.
func (e *entry) wire(id identity.NodeID) *signed {
	s := &signed{
		Record:    Record{ID: id, Key: e.key, Attachment: e.attachment()},
		signature: e.signature, departed: e.state == departed,
	}
	if m := e.more; m != nil {
		s.Names, s.Candidates = m.names, m.candidates
		s.certificate, s.departure, s.hungUp = m.certificate, m.departure, m.hungUp
	}
	return s
}

// set makes s the entry's record.
func (e *entry) set(s *signed, st state) {
	e.relay, e.epoch, e.seq = s.Relay, s.Epoch, s.Seq
	e.signature, e.isSigned = s.signature, s.signature != signature{}
	e.state, e.unnamed, e.more = st, false, nil
	if len(s.Names)+len(s.Candidates)+len(s.certificate) != 0 || s.departed {
		e.more = &more{
			names: s.Names, candidates: s.Candidates, certificate: s.certificate,
			departure: s.departure, hungUp: s.hungUp,
		}
	}
}
