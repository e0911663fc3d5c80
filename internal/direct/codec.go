package direct

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// A Kind says how a node knows an address of its own.
type Kind uint8

// The kinds of candidates.
const (
	Host      Kind = 1 // of an interface
	Reflexive Kind = 2 // as a server outside sees it
	Mapped    Kind = 3 // that a router has opened
	TCP       Kind = 4 // where links are accepted
	Predicted Kind = 5 // that a NAT may give to the next destination
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Host:
		return "host"
	case Reflexive:
		return "reflexive"
	case Mapped:
		return "mapped"
	case TCP:
		return "tcp"
	case Predicted:
		return "predicted"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// A Candidate is an address at which a node may be reached.
type Candidate struct {
	Kind Kind
	Addr netip.AddrPort
}

// String is "reflexive 192.0.2.7:4000".
func (c Candidate) String() string { return c.Kind.String() + " " + c.Addr.String() }

// A Mapping says on what the public address depends that a node's NAT gives to
// its socket (RFC 4787 section 4.1).
type Mapping uint8

// The mappings.
const (
	MappingUnknown  Mapping = 0
	MappingSame     Mapping = 1 // endpoint-independent, or there is no NAT
	MappingAddress  Mapping = 2 // address-dependent
	MappingEndpoint Mapping = 3 // address and port-dependent
)

// Hard reports whether the NAT shows others than a server another address than
// it shows the server.
func (m Mapping) Hard() bool { return m == MappingAddress || m == MappingEndpoint }

const (
	// MaxCandidates is how many candidates a node tells, and how many it takes of
	// a peer: some interfaces of both families, and what is known of each NAT.
	MaxCandidates = 16
	// version is that of the content.
	version = 1
	// headLen is the length of what stands before the candidates.
	headLen = 8
)

// maxPredicted is how many ports of a NAT are foretold: its other hosts take some.
const maxPredicted = 5

// Predict returns the addresses that a NAT may give to the next destinations
// when a server saw last, and each destination gets a port that is step above
// the one before. A step of zero predicts nothing.
func Predict(last netip.AddrPort, step int) (out []Candidate) {
	if step == 0 {
		return nil
	}
	for i := 1; i <= maxPredicted; i++ {
		port := int(last.Port()) + i*step
		if port <= 0 || port > 65535 {
			break
		}
		out = append(out, Candidate{Predicted, netip.AddrPortFrom(last.Addr(), uint16(port))})
	}
	return out
}

// A Message is what one side tells the other: all that it has to say at the
// moment, so that only the latest one counts.
type Message struct {
	Round      uint32 // the latest that either side has begun; 0: none
	Mapping    Mapping
	Candidates []Candidate // at most MaxCandidates, further ones are left out
}

// Append appends the encoded message to b.
func (m *Message) Append(b []byte) []byte {
	list := m.Candidates[:min(len(m.Candidates), MaxCandidates)]
	b = append(b, version, 0, byte(m.Mapping))
	b = binary.BigEndian.AppendUint32(b, m.Round)
	b = append(b, byte(len(list)))
	for _, c := range list {
		ip := c.Addr.Addr().Unmap().AsSlice()
		b = append(b, byte(c.Kind), byte(len(ip)))
		b = append(b, ip...)
		b = binary.BigEndian.AppendUint16(b, c.Addr.Port())
	}
	return b
}

// Errors of Parse.
var (
	errVersion = errors.New("direct: candidates of an unknown version")
	errShort   = errors.New("direct: candidates are cut short")
)

// Parse decodes a message. It leaves out candidates that nobody should send to,
// those of unknown kinds, repeated ones and those beyond MaxCandidates.
func Parse(b []byte) (Message, error) {
	switch {
	case len(b) == 0 || len(b) < headLen && b[0] == version:
		return Message{}, errShort
	case b[0] != version:
		return Message{}, errVersion
	}
	m := Message{Mapping: Mapping(b[2]), Round: binary.BigEndian.Uint32(b[3:])}
	if m.Mapping > MappingEndpoint {
		m.Mapping = MappingUnknown
	}
	n := int(b[7])
	b = b[headLen:]
	for range n {
		if len(b) < 2 || len(b) < 4+int(b[1]) {
			return Message{}, errShort
		}
		size := int(b[1])
		ip, ok := netip.AddrFromSlice(b[2 : 2+size])
		c := Candidate{Kind(b[0]), netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(b[2+size:]))}
		b = b[4+size:]
		if ok && c.usable() && len(m.Candidates) < MaxCandidates && !slices.Contains(m.Candidates, c) {
			m.Candidates = append(m.Candidates, c)
		}
	}
	return m, nil
}

// usable reports whether c is of a known kind and of one host. Link-local
// addresses mean nothing without an interface.
func (c Candidate) usable() bool {
	ip := c.Addr.Addr()
	return c.Kind >= Host && c.Kind <= Predicted && c.Addr.Port() != 0 && ip.IsValid() &&
		!ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLinkLocalUnicast() &&
		ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
