package statuspage

import "time"

// Format is the version of a Snapshot's form. Fields are only ever added; should one
// change its meaning, the number grows.
const Format = 1

// The limits of a snapshot's lists, so that the page of a busy node stays small enough to
// be sent each second. What is beyond is counted.
const (
	MaxPeers     = 256
	MaxAttached  = 256
	MaxThrottled = 16
)

// A Source is what a page is about. Its functions may be called from several goroutines
// at once.
type Source struct {
	// Snapshot returns the present state. It is called twice a second at most, and
	// only while somebody asks.
	Snapshot func() Snapshot
	// Traffic returns what Snapshot would have as Traffic. It is called each second,
	// for some minutes after somebody has asked.
	Traffic func() Traffic
}

// A Snapshot is the state of a node at one moment: the answer to GET api/status. Times
// are in RFC 3339, durations in milliseconds, sizes in bytes; what is unknown or zero is
// left out where the tag says so.
type Snapshot struct {
	Format  int       `json:"format"`
	Time    time.Time `json:"time"`
	Node    string    `json:"node"` // ID
	Key     string    `json:"key"`
	Name    string    `json:"name,omitempty"`
	Network string    `json:"network"`
	Layer   string    `json:"layer"`
	Ports   []uint16  `json:"ports"` // that are listened on
	UDP     UDP       `json:"udp"`
	Traffic Traffic   `json:"traffic"`
	Relays  []Relay   `json:"relays"` // that the node uses
	// Peers are sessions: the MaxPeers with the most traffic, by ID.
	Peers    []Peer    `json:"peers"`
	Sessions int       `json:"sessions"` // all, also those that are not in Peers
	LAN      []LANPeer `json:"lan"`      // nodes that announce themselves on the LAN
	Dials    []Dial    `json:"dials"`    // the last ones, newest first
	Drops    []Count   `json:"drops"`    // what was refused or dropped, and is not zero
	Hosted   *Hosted   `json:"relay,omitempty"`
}

// Traffic is counted from the start of the node.
type Traffic struct {
	Sent      uint64 `json:"sent"`     // bytes of all sessions of the node, with overhead
	Received  uint64 `json:"received"` // the same
	Forwarded uint64 `json:"forwarded"`
}

// UDP is what a node has for direct paths.
type UDP struct {
	Addr       string   `json:"addr,omitempty"`
	Mapping    string   `json:"nat_mapping,omitempty"`
	Filtering  string   `json:"nat_filtering,omitempty"`
	Candidates []string `json:"candidates"`
}

// A Relay is one that the node uses.
type Relay struct {
	ID        string    `json:"id,omitempty"` // empty until it was reached once
	Addr      string    `json:"addr"`
	Name      string    `json:"name,omitempty"`
	Up        bool      `json:"up"`
	Home      bool      `json:"home"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	RTT       float64   `json:"rtt_ms,omitempty"`
	Observed  string    `json:"observed_addr,omitempty"`
	Dropped   uint64    `json:"dropped,omitempty"` // frames of this node, over the relay's limits
	Error     string    `json:"error,omitempty"`
	GoingAway bool      `json:"going_away,omitempty"`
	Learned   bool      `json:"learned,omitempty"`
}

// A Peer is a session with another node.
type Peer struct {
	ID        string   `json:"id"`
	Key       string   `json:"key"`
	Names     []string `json:"names"`
	Roles     []string `json:"roles"`
	Kind      string   `json:"kind"` // of the path in use, as in Path
	Path      string   `json:"path"`
	NotDirect string   `json:"not_direct,omitempty"` // why it goes over a relay
	Conns     int      `json:"conns"`
	RTT       float64  `json:"rtt_ms,omitempty"`
	MinRTT    float64  `json:"min_rtt_ms,omitempty"`
	Sent      uint64   `json:"bytes_sent"`
	Received  uint64   `json:"bytes_received"`
	Packets   uint64   `json:"packets_sent"`
	Lost      uint64   `json:"packets_lost"`
	Paths     []Path   `json:"paths"`
}

// A Path is one way to a peer.
type Path struct {
	Kind      string    `json:"kind"`          // relay, link, udp or lan
	Via       string    `json:"via,omitempty"` // the relay's address
	Path      string    `json:"path"`
	Active    bool      `json:"active"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	RTT       float64   `json:"rtt_ms,omitempty"`
	Sent      uint64    `json:"bytes_sent"`
	Received  uint64    `json:"bytes_received"`
	Packets   uint64    `json:"packets_sent"`
	Lost      uint64    `json:"packets_lost"`
	MaxPacket int       `json:"max_packet"`
	Reason    string    `json:"reason,omitempty"` // why it is not in use
}

// A LANPeer is a node that announces itself on the LAN.
type LANPeer struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs"`
}

// A Dial is how one dial went.
type Dial struct {
	Time     time.Time `json:"time"` // when it began
	Addr     string    `json:"addr"`
	Peer     string    `json:"peer,omitempty"` // ID of who answered
	Path     string    `json:"path,omitempty"`
	Duration float64   `json:"duration_ms"`
	Steps    []Step    `json:"steps"` // attempts that failed; empty if the first did not
	OK       bool      `json:"ok"`
}

// A Step is an attempt of a dial that failed.
type Step struct {
	Target string `json:"target"`
	Path   string `json:"path,omitempty"`
	Error  string `json:"error"`
}

// A Count is a counter with what it counts, in words.
type Count struct {
	What string `json:"what"`
	N    uint64 `json:"n"`
}

// Hosted is the relay that runs on the node.
type Hosted struct {
	Nodes            int         `json:"nodes"`     // that are attached
	Links            int         `json:"links"`     // of nodes
	Frames           uint64      `json:"frames"`    // forwarded
	Throttled        uint64      `json:"throttled"` // frames over the limits
	BytesPerSecond   int         `json:"bytes_per_second,omitempty"`
	PacketsPerSecond int         `json:"packets_per_second,omitempty"`
	Networks         []string    `json:"networks"` // others that are served on the same port
	Relays           []Neighbour `json:"relays"`   // of the backbone
	// Attached are the MaxAttached nodes with the most traffic, by ID.
	Attached       []Attached  `json:"attached"`
	ThrottledNodes []Throttled `json:"throttled_nodes"` // worst first
}

// A Neighbour is another relay of the backbone, with a link to it or without.
type Neighbour struct {
	ID        string  `json:"id,omitempty"` // empty until it was reached once
	Addr      string  `json:"addr,omitempty"`
	Up        bool    `json:"up"`        // there is a link
	Reachable bool    `json:"reachable"` // its messages get through, be it over others
	State     string  `json:"state"`
	RTT       float64 `json:"rtt_ms,omitempty"`
	Nodes     int     `json:"nodes"` // that are attached there
	Error     string  `json:"error,omitempty"`
}

// Attached is a node with a link to the relay.
type Attached struct {
	ID        string    `json:"id"`
	Names     []string  `json:"names"`
	Addr      string    `json:"addr"`
	Since     time.Time `json:"since"`
	RTT       float64   `json:"rtt_ms,omitempty"`
	From      uint64    `json:"frames_from"` // forwarded
	To        uint64    `json:"frames_to"`
	Throttled uint64    `json:"throttled,omitempty"`
}

// Throttled is a node that has sent more than the relay allows.
type Throttled struct {
	ID       string   `json:"id"`
	Names    []string `json:"names"`
	Attached bool     `json:"attached"`
	Frames   uint64   `json:"frames"` // dropped
}

// Milliseconds is a duration as a snapshot has it.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// List is a list that is [] in JSON if there is nothing in it.
func List[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
