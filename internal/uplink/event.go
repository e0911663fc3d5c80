package uplink

import (
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// An EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	EventUp        EventKind = 1 + iota // a relay is in use, as home or as spare
	EventDown                           // a relay that was in use is not any more; Err says why
	EventMoved                          // the node is registered at another relay than before
	EventGoingAway                      // a relay is about to stop
	EventThrottled                      // a relay dropped frames of this node
	EventConflict                       // a relay says that another key has this node's ID
)

// An Event is something that happened between a node and its relays.
type Event struct {
	Kind    EventKind
	Time    time.Time
	Addr    string          // of the relay
	Relay   identity.NodeID // 0 if it has not proven who it is
	From    string          // EventMoved: address of the relay before; empty for the first
	Grace   time.Duration   // EventGoingAway: when it stops; 0 if it did not say
	Dropped uint64          // EventThrottled: frames since the last such event
	Err     error           // EventDown, EventConflict
}
