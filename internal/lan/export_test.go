package lan

import (
	"net/netip"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// What hostile_test.go needs to write packets of its own.
const (
	TTL         = ttl
	MinTTL      = minTTL
	PerSource   = maxPerSource
	PerNode     = maxPerNode
	PacketBurst = packetBurst
	MaxParts    = maxParts
)

var Ours = ours

// Forge returns the records of an instance as a member of a network makes them.
func Forge(key [32]byte, instance string, id identity.NodeID, port uint16, ttl time.Duration, addrs ...netip.Addr) []byte {
	s, err := newSealer(key)
	if err != nil {
		panic(err)
	}
	b, err := records(instance, port, s.seal(claim{id: id, port: port, addrs: addrs}, instance), ttl)
	if err != nil {
		panic(err)
	}
	return b
}

// Query returns a query that knows an instance, if that is not empty.
func Query(instance string, ttl time.Duration) []byte {
	var known []knownAnswer
	if instance != "" {
		known = []knownAnswer{{instance, ttl}}
	}
	b, err := query(known)
	if err != nil {
		panic(err)
	}
	return b
}

// Instance returns what a node is called.
func (l *LAN) Instance() string { return l.instance }

// Parse is parse, without its result.
func Parse(b []byte, self string) error { _, err := parse(b, self); return err }
