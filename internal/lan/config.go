package lan

import (
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
)

// KeyLabel is what Config.Key is derived by (identity.Network.Derive).
const KeyLabel = "lan discovery 1"

// A Config configures [Open].
type Config struct {
	// Key seals what nodes tell each other: identity.Network.Derive(KeyLabel).
	Key [32]byte
	// Self is this node. Required.
	Self identity.NodeID
	// Port is the port of this node's UDP socket. Required.
	Port uint16
	// Addr is the one address that the socket is bound to: only the link that
	// has it is used, and no other address is told. Invalid: all.
	Addr netip.Addr
	// Names are this node's, in lower case; those beyond identity.MaxNames are
	// left out.
	Names []string
	// Conns move the packets; the LAN owns them. Nil: the kernel's sockets, see
	// [Listen].
	Conns []PacketConn
	// OnPeer is told of each change. It is called from the LAN's goroutine, so
	// it must neither block nor call Close. May be nil.
	OnPeer func(Event)
	// Logger is told of errors of sockets. Required.
	Logger logrus.FieldLogger
}

// Limits. Those of what comes from outside are far above what is on any LAN
// that multicast DNS works on.
const (
	// MaxPeers bounds the records that are kept. Further ones are dropped: a
	// flood of new records does not displace what is known.
	MaxPeers = 256
	// MaxAddrs bounds the addresses of a record, and of a peer.
	MaxAddrs = 8
	// maxPerSource bounds the records that were first heard from one address, so
	// that one host cannot fill the table: some containers of one machine.
	maxPerSource = 32
	// maxPerNode bounds the records of one node: those of earlier starts stay
	// until they expire, and anybody in the network can claim an ID.
	maxPerNode = 4
	// maxLinks bounds the interfaces that are joined, per address family: Linux
	// lets a socket join 20 (net.ipv4.igmp_max_memberships).
	maxLinks = 20
	// maxPacket is the largest packet that is read (RFC 6762 section 17).
	maxPacket = 9000
	// maxParts bounds the questions and the records that are read of a packet:
	// six of records of each of some twenty nodes.
	maxParts = 128
	// maxFound bounds the TXT records of peers in a packet.
	maxFound = 32
	// maxKnown bounds the known answers in a query: they fit into 1232 bytes.
	maxKnown = 20
	// packetRate and packetBurst bound the packets with our service that are
	// looked at: each of 256 nodes twice a second.
	packetRate, packetBurst = 512, 512
	// inboxLen bounds what waits for the owner.
	inboxLen = 128
)

// Times, from RFC 6762 where a section is given.
const (
	// ttl is what this node's records have: that of records that go with an
	// address (section 10).
	ttl = 120 * time.Second
	// minTTL and maxTTL are what a peer's TTL is taken for at least and at most
	// (section 10 recommends 75 minutes for what changes rarely): small ones
	// would make this node ask all the time.
	minTTL, maxTTL = 15 * time.Second, 75 * time.Minute
	// goodbyeWait is how long a record lives on after a goodbye (section 10.1).
	goodbyeWait = time.Second
	// minDelay and maxDelay are how long an answer or a first query waits
	// (sections 5.2 and 6), and truncatedDelay what the former waits for more
	// known answers (section 7.2).
	minDelay, maxDelay = 20 * time.Millisecond, 120 * time.Millisecond
	truncatedDelay     = 400 * time.Millisecond
	// minGap is between two times that the same records are multicast on a link
	// (section 6), and between two queries (section 5.2).
	minGap = time.Second
	// announcements is how often a node announces itself: at once, after one and
	// after three seconds (section 8.3).
	announcements = 3
	// maxQueryGap is to what the interval between queries grows (section 5.2).
	maxQueryGap = time.Hour
	// writeTimeout bounds a write to a socket whose buffer is full.
	writeTimeout = 100 * time.Millisecond
)

// A Kind is what happened to a peer.
type Kind uint8

// The kinds of events.
const (
	Found   Kind = iota + 1 // not known before
	Changed                 // other addresses, or other names
	Gone                    // said goodbye, or was not heard for too long
)

// An Event is something that happened to a peer.
type Event struct {
	Kind Kind
	Peer Peer // with Gone: as it was
}

// A Peer is a node that claims to be on the LAN.
type Peer struct {
	ID identity.NodeID
	// Addrs are where its UDP socket may be reached, at most MaxAddrs: first
	// those that its packets came from, the latest first. Zones are interface
	// numbers.
	Addrs []netip.AddrPort

	names []nameTag
}

// Counters are what happened so far. What is not counted as dropped or ignored
// was taken.
type Counters struct {
	PacketsIn, PacketsOut uint64 // of this service; out: per link
	DroppedInbox          uint64 // the owner was busy
	DroppedRate           uint64 // more than packetRate
	DroppedMalformed      uint64 // not a DNS message, or cut short
	DroppedHops           uint64 // a hop limit that is not 255: it came through a router
	DroppedPort           uint64 // not from port 5353
	DroppedSealed         uint64 // records that do not open: of another network
	DroppedFull           uint64 // records beyond MaxPeers, maxPerSource and maxPerNode
	DroppedParts          uint64 // packets of which only maxParts and maxFound were read
	WriteErrors           uint64
	ReadErrors            uint64
	Peers                 int // records kept
}
