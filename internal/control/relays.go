package control

import (
	"fmt"

	"github.com/weftnet/weft/internal/identity"
)

// Relays tells a node which other relays there are: those of the backbone that
// the relay belongs to, best first. A relay sends it after a registration and
// when the list changes; each takes the place of the one before. The list is a
// hint: who is at an address, and whether that is a relay of the network, the
// session with it proves.
type Relays struct {
	Relays []Relay `cbor:"1,keyasint,omitempty"`
}

// A Relay is a relay and the addresses where nodes reach it, as a node's config
// has them, best first.
type Relay struct {
	ID    identity.NodeID `cbor:"1,keyasint,omitempty"`
	Addrs []string        `cbor:"2,keyasint,omitempty"`
}

// What NewRelays counts for the CBOR heads: of the message, of a relay with its
// ID, of an address.
const (
	relaysHead    = 8
	relayHead     = 16
	relayAddrHead = 3
)

// NewRelays makes a list that can be sent: it leaves out relays without an
// address, addresses that are too long, and what is beyond [MaxRelays],
// [MaxRelayAddrs] and [MaxBody].
func NewRelays(list []Relay) *Relays {
	m := new(Relays)
	room := MaxBody - relaysHead
	for _, r := range list {
		entry, size := Relay{ID: r.ID}, relayHead
		for _, addr := range r.Addrs {
			if addr != "" && len(addr) <= MaxAddr && len(entry.Addrs) < MaxRelayAddrs {
				entry.Addrs = append(entry.Addrs, addr)
				size += relayAddrHead + len(addr)
			}
		}
		if r.ID == 0 || len(entry.Addrs) == 0 {
			continue
		}
		if room -= size; room < 0 || len(m.Relays) == MaxRelays {
			break
		}
		m.Relays = append(m.Relays, entry)
	}
	return m
}

func (*Relays) kind() Kind { return KindRelays }

func (m *Relays) check() error {
	if n := len(m.Relays); n > MaxRelays {
		return fmt.Errorf("%w: %d relays, at most %d are allowed", ErrMalformed, n, MaxRelays)
	}
	for _, r := range m.Relays {
		if r.ID == 0 || len(r.Addrs) == 0 {
			return fmt.Errorf("%w: a relay without a node ID or without an address", ErrMalformed)
		}
		if err := checkTexts("relay address", r.Addrs, MaxRelayAddrs, MaxAddr); err != nil {
			return err
		}
	}
	return nil
}
