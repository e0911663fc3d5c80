package overlay

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/uplink"
)

// An EventKind says what an [Event] tells of. There may be more kinds one day.
type EventKind uint8

// The kinds of events.
const (
	// EventRelayUp: a relay is in use, as home or as spare.
	EventRelayUp = EventKind(uplink.EventUp)
	// EventRelayDown: a relay that was in use has broken; Err says how. That a
	// node leaves a relay by itself is no event.
	EventRelayDown = EventKind(uplink.EventDown)
	// EventRelayMoved: the node is registered at a relay, at From before.
	EventRelayMoved = EventKind(uplink.EventMoved)
	// EventRelayGoingAway: a relay is about to stop, after Grace. The node
	// leaves it for another one.
	EventRelayGoingAway = EventKind(uplink.EventGoingAway)
	// EventThrottled: a relay drops frames because the node sends more than the
	// relay allows; Dropped is how many since the last such event.
	EventThrottled = EventKind(uplink.EventThrottled)
	// EventIDConflict: a relay refuses this node because another key has the
	// same ID. Only a new key helps.
	EventIDConflict = EventKind(uplink.EventConflict)

	// EventPathUp: packets to Peer take a direct path from now on, a relay
	// before.
	EventPathUp = firstPathEvent
	// EventPathMoved: packets to Peer take another direct path.
	EventPathMoved = firstPathEvent + 1
	// EventPathDown: packets to Peer go over a relay again; Reason says why.
	EventPathDown = firstPathEvent + 2

	// EventInviteEnding: the node's invite expires within a day, after Grace;
	// with a new one, the node has to be started anew before that.
	EventInviteEnding = firstMemberEvent
	// EventInviteExpired: the node's invite has expired, so that nobody talks to
	// the node any more; Err says what to do.
	EventInviteExpired = firstMemberEvent + 1
	// EventRevoked: the node's key or its invite was revoked; Err says which. Most
	// revoked nodes are cut off before they hear of it; they see EventRelayDown.
	EventRevoked = firstMemberEvent + 2
)

// firstPathEvent leaves room for more events of uplinks, and firstMemberEvent
// for more about paths.
const (
	firstPathEvent   EventKind = 64
	firstMemberEvent EventKind = 96
)

// String names the kind.
func (k EventKind) String() string {
	switch k {
	case EventRelayUp:
		return "relay up"
	case EventRelayDown:
		return "relay down"
	case EventRelayMoved:
		return "home relay moved"
	case EventRelayGoingAway:
		return "relay going away"
	case EventThrottled:
		return "throttled by relay"
	case EventIDConflict:
		return "node ID conflict"
	case EventPathUp:
		return "direct path up"
	case EventPathMoved:
		return "direct path moved"
	case EventPathDown:
		return "direct path down"
	case EventInviteEnding:
		return "invite ending"
	case EventInviteExpired:
		return "invite expired"
	case EventRevoked:
		return "revoked"
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// An Event is something that happened between a node and its relays or peers, or
// to its membership; see Config.OnEvent.
type Event struct {
	Kind    EventKind
	Time    time.Time
	Relay   string        // address of the relay; empty if the event is about none
	RelayID NodeID        // zero if the relay has not proven who it is
	From    string        // EventRelayMoved: address of the relay before, empty for the first; about a peer: the path before
	Grace   time.Duration // EventRelayGoingAway: zero if the relay did not say; EventInviteEnding
	Dropped uint64        // EventThrottled
	Err     error         // EventRelayDown, EventIDConflict, EventInviteExpired, EventRevoked

	Peer   NodeID // zero if the event is not about a peer
	Path   string // to Peer, in words as in [PeerStatus]
	Reason string // why packets to Peer take another path
}

// String says what happened, for people.
func (e Event) String() string {
	s := e.Kind.String()
	if e.Relay != "" {
		s += ": " + e.Relay
	}
	switch {
	case e.Peer != 0:
		s += fmt.Sprintf(": %v by %s, %s before: %s", e.Peer, e.Path, e.From, e.Reason)
	case e.Err != nil:
		s += ": " + e.Err.Error()
	case e.From != "":
		s += ", from " + e.From
	case e.Grace != 0:
		s += fmt.Sprintf(", in %v", e.Grace)
	case e.Dropped != 0:
		s += fmt.Sprintf(", %d frames dropped", e.Dropped)
	}
	return s
}

// eventQueue is how many events wait for Config.OnEvent.
const eventQueue = 128

// A teller calls Config.OnEvent from a goroutine of its own.
type teller struct {
	tell    func(Event) // nil: nobody is told
	queue   chan Event
	done    chan struct{}
	dropped atomic.Uint64
	wg      sync.WaitGroup
}

func newTeller(tell func(Event)) *teller {
	t := &teller{tell: tell}
	if tell != nil {
		t.queue, t.done = make(chan Event, eventQueue), make(chan struct{})
	}
	return t
}

// start starts the goroutine, if there is somebody to tell.
func (t *teller) start() {
	if t.tell != nil {
		t.wg.Go(t.run)
	}
}

func (t *teller) run() {
	for {
		select {
		case <-t.done:
			return
		case e := <-t.queue:
			t.tell(e)
		}
	}
}

// told queues an event of the uplinks. It never blocks.
func (t *teller) told(e uplink.Event) {
	t.put(Event{
		Kind: EventKind(e.Kind), Time: e.Time, Relay: e.Addr, RelayID: e.Relay,
		From: e.From, Grace: e.Grace, Dropped: e.Dropped, Err: e.Err,
	})
}

// put queues an event. It never blocks.
func (t *teller) put(e Event) {
	if t.tell == nil {
		return
	}
	select {
	case t.queue <- e:
	default:
		t.dropped.Add(1)
	}
}

// close waits for the call that runs; nobody is told of what is still queued.
func (t *teller) close() {
	if t.tell != nil {
		close(t.done)
		t.wg.Wait()
	}
}
