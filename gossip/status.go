package gossip

import (
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// A RelayInfo is another relay of the backbone.
type RelayInfo struct {
	ID    identity.NodeID
	Key   identity.PublicKey
	Addrs []string  // where it can be reached; at most [MaxRelayAddrs]
	Since time.Time // when this relay first heard of it
	// Reachable says that messages get through, be it over others. What is
	// attached to a relay that is not stays listed for a grace time.
	Reachable bool
	// Leaving says that it has announced to shut down.
	Leaving bool
	// NameClash says that another relay has the same low 48 bits in its node ID
	// and was known first. No messages reach this one until one of the two has
	// a new key.
	NameClash bool
	// Nodes is how many nodes are attached to it.
	Nodes int
}

// Stats are the counters of a [Backbone].
type Stats struct {
	Merged       uint64 // records that were new
	Known        uint64 // records that were not
	Refused      uint64 // records for which there was no room
	Refuted      uint64 // records of nodes that are not attached here, as others thought
	Forged       uint64 // records with wrong signatures or certificates
	NotRelays    uint64 // relay records whose certificate is not that of a relay
	Conflicts    uint64 // records of another key for an ID that is known
	NameClashes  uint64 // relays that share the low 48 bits of their node ID with another
	UnknownRelay uint64 // records and requests of relays that are not known
	RelaysFull   uint64 // relays for which there was no room
	Malformed    uint64 // messages, those that are too long included
	RenewErrors  uint64 // times when the own certificate could not be had

	Pulls        uint64 // times a digest differed and its sender was asked
	PullBytes    uint64 // in requests
	PulledBytes  uint64 // in answers to them
	AnswerBytes  uint64 // in answers to others
	PullTimeouts uint64 // relays that did not answer
	Throttled    uint64 // answers not given because the asker had its share
	Unasked      uint64 // answers to no request
	Liars        uint64 // answers that no honest relay gives

	InboxDrops uint64 // messages that came faster than they could be read
	DirtyDrops uint64 // changes that were not broadcast because there were too many
	Broadcasts uint64 // sent
	Unsent     uint64 // messages to relays for which there was no way

	Datagrams         uint64 // sent
	DatagramBytes     uint64
	DatagramDrops     uint64 // not sent: the queue was full
	DatagramNoWay     uint64 // not sent: the relay cannot be reached
	DatagramsReceived uint64
	DatagramsBad      uint64 // received, and malformed or from nobody known
}
