package gossip

import "sync"

// inboxBytes is how many bytes of messages may wait for the core; further ones
// are dropped, and made up for by the next digest.
const inboxBytes = 32 << 20

// An event is something for the core.
type event struct {
	kind  eventKind
	from  Name
	msg   []byte
	peers []Name
}

type eventKind uint8

const (
	gotDigest eventKind = iota
	gotBroadcast
	gotUnicast
	gotPeers
	notSent
)

// An inbox hands events to the backbone's goroutine. put never blocks.
type inbox struct {
	wake chan struct{} // of capacity one

	mu     sync.Mutex
	events []event
	bytes  int
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// put reports whether there was room.
func (i *inbox) put(e event) bool {
	size := len(e.msg) + 64 + 8*len(e.peers)
	i.mu.Lock()
	if i.bytes+size > inboxBytes {
		i.mu.Unlock()
		return false
	}
	i.bytes += size
	i.events = append(i.events, e)
	i.mu.Unlock()
	wake(i.wake)
	return true
}

// take returns what waits.
func (i *inbox) take() []event {
	i.mu.Lock()
	defer i.mu.Unlock()
	events := i.events
	i.events, i.bytes = nil, 0
	return events
}

// wake makes who reads from c look again.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
