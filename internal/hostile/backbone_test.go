package hostile

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/record"
)

// A spied transport carries a relay's gossip, counts what the relay sends, and
// can keep the broadcasts that it is told. Whoever has it can send what he likes.
type spied struct {
	gossip.Transport
	sent atomic.Int64 // messages
	deaf atomic.Bool  // the relay itself is told nothing

	mu   sync.Mutex
	rec  bool // broadcasts are kept
	tape [][]byte
	echo bool // each broadcast is repeated, twice
}

// record keeps broadcasts from now on.
func (s *spied) record() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec = true
}

// heard returns the broadcasts that the relay was told.
func (s *spied) heard() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tape)
}

// repeat says whether broadcasts are repeated.
func (s *spied) repeat(echo bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.echo = echo
}

func (s *spied) Start(self gossip.Name, h gossip.Handler) error {
	return s.Transport.Start(self, spy{h, s})
}

func (s *spied) Broadcast(msg []byte) {
	s.sent.Add(1)
	s.Transport.Broadcast(msg)
}

func (s *spied) Gossip(msg []byte) {
	s.sent.Add(1)
	s.Transport.Gossip(msg)
}

func (s *spied) Unicast(to gossip.Name, msg []byte) error {
	s.sent.Add(1)
	return s.Transport.Unicast(to, msg)
}

// A spy hears what a relay is told.
type spy struct {
	gossip.Handler
	on *spied
}

func (s spy) OnBroadcast(from gossip.Name, msg []byte) {
	s.on.mu.Lock()
	if s.on.rec {
		s.on.tape = append(s.on.tape, slices.Clone(msg))
	}
	echo := s.on.echo
	s.on.mu.Unlock()
	if echo {
		go func() {
			s.on.Transport.Broadcast(slices.Clone(msg))
			s.on.Transport.Broadcast(slices.Clone(msg))
		}()
	}
	if !s.on.deaf.Load() {
		s.Handler.OnBroadcast(from, msg)
	}
}

func (s spy) OnUnicast(from gossip.Name, msg []byte) {
	if !s.on.deaf.Load() {
		s.Handler.OnUnicast(from, msg)
	}
}

func (s spy) OnDigest(msg []byte) {
	if !s.on.deaf.Load() {
		s.Handler.OnDigest(msg)
	}
}

// The parts of gossip messages, as SPEC.md section 10 has them.
const (
	kindItems = 1
	itemNode  = 1
	itemRelay = 2
)

// items begins a broadcast.
func items() []byte { return []byte{kindItems} }

// A claim is what a relay says of a node.
type claim struct {
	key       identity.PublicKey
	relay     identity.NodeID
	epoch     uint64
	seq       uint64
	signature []byte // 64 bytes
	departure []byte // the same, if the node is said to have departed
}

// append appends the claim as an item.
func (c claim) append(b []byte) []byte {
	b = append(append(b, itemNode), c.key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.relay))
	b = binary.BigEndian.AppendUint64(b, c.epoch)
	b = binary.BigEndian.AppendUint64(b, c.seq)
	b = append(b, 0, 0) // neither names nor candidates
	b = append(b, c.signature...)
	if c.departure != nil {
		b = append(append(b, 1), c.departure...)
	} else {
		b = append(b, 0)
	}
	return append(b, 0, 0) // no certificate
}

// sign makes the claim one that a node has signed, which need not be the one of
// which it is.
func (c claim) sign(network [32]byte, k *identity.Key) claim {
	c.signature = record.Record{Network: network, Key: c.key, Relay: c.relay, Epoch: c.epoch, Seq: c.seq}.Sign(k)
	return c
}

// depart has a relay sign that the node has departed.
func (c claim) depart(network [32]byte, k *identity.Key) claim {
	b := append(network[:], c.key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.relay))
	b = binary.BigEndian.AppendUint64(b, c.epoch)
	b = binary.BigEndian.AppendUint64(b, c.seq)
	c.departure = k.Sign("departure 1", append(b, 0))
	return c
}

// ownRecord appends a relay's record of itself as an item.
func (w *world) ownRecord(b []byte, h *host, epoch, seq uint64, addrs ...string) []byte {
	w.Helper()
	c := h.RelayHost().Credentials
	chain, err := c.Chain()
	if err != nil {
		w.Fatal(err)
	}
	public, network := c.Key().Public(), c.Network().ID()
	body := binary.BigEndian.AppendUint64(public[:], epoch)
	body = append(binary.BigEndian.AppendUint64(body, seq), 0, byte(len(addrs)))
	for _, a := range addrs {
		body = append(append(body, byte(len(a))), a...)
	}
	b = append(append(b, itemRelay), body...)
	b = append(b, c.Key().Sign("relay 1", append(network[:], body...))...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(chain)))
	return append(b, chain...)
}
