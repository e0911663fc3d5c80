package gossip

import (
	"encoding/binary"
	"math"

	"github.com/weftnet/weft/internal/identity"
)

// Limits on messages.
const (
	// MaxMessage is the largest message that a [Transport] has to carry, in bytes.
	MaxMessage = 256 << 10
	// MaxDatagram is the largest datagram that a [Backbone] carries, in bytes: a
	// link frame with its header, and some room.
	MaxDatagram = 65535 + 128

	softMessage = 192 << 10 // messages are closed when they are longer than this
	maxBriefs   = 4096      // in one pull
)

// Kinds of messages, their first byte. Readers ignore kinds that they do not
// know, and bytes after those that they do.
const (
	kindItems    = 1 // broadcast; items
	kindAsk      = 2 // nonce (8), the asker's relay record as an item: which relays are there?
	kindAnswer   = 3 // nonce (8), last ID covered (8), items: answers ask and pull
	kindPull     = 4 // nonce (8), first ID (8), last ID (8), buckets (128), count (4), briefs of 32 bytes
	kindDatagram = 5 // stream (8), offset behind it (8), datagram
	kindAck      = 6 // stream (8), offset (8)
	kindDigest   = 7 // sender's ID (8), sum over relays (8), 1024 times count (4) and sum (8)
)

const digestLen = 1 + 8 + 8 + buckets*(4+8)

// Types of items, their first byte.
const (
	itemNode       = 1
	itemRelay      = 2
	itemRevocation = 3
)

// lastID is the answer's last ID when there is nothing left to ask for.
const lastID = identity.NodeID(math.MaxUint64)

// appendNode appends a node's record as an item.
func appendNode(b []byte, s *signed) []byte { return s.append(append(b, itemNode)) }

// appendRelay appends a relay's record as an item.
func appendRelay(b []byte, r *relayRecord) []byte { return r.append(append(b, itemRelay)) }

// readItems reads items to the end of r; records that came before an error are
// good.
func readItems(r *reader) (nodes []*signed, relays []*relayRecord, revoked [][]byte) {
	for r.more() {
		switch t := r.byte(); t {
		case itemNode:
			if s := readSigned(r); s != nil {
				nodes = append(nodes, s)
			}
		case itemRelay:
			if rec := readRelay(r); rec != nil {
				relays = append(relays, rec)
			}
		case itemRevocation:
			if b := readRevocation(r); b != nil {
				revoked = append(revoked, b)
			}
		default:
			r.fail("item of type %d", t)
		}
	}
	return nodes, relays, revoked
}

// A digest says what a relay knows, in 12 KiB.
type digest struct {
	from   identity.NodeID
	relays uint64 // the sum of the hashes of the relays that it sees
	sums   *[buckets]bucketSum
}

func (d *digest) append(b []byte) []byte {
	b = append(b, kindDigest)
	b = binary.BigEndian.AppendUint64(b, uint64(d.from))
	b = binary.BigEndian.AppendUint64(b, d.relays)
	for _, s := range d.sums {
		b = binary.BigEndian.AppendUint32(b, s.count)
		b = binary.BigEndian.AppendUint64(b, s.sum)
	}
	return b
}

func readDigest(r *reader) *digest {
	d := &digest{from: identity.NodeID(r.uint64()), relays: r.uint64(), sums: new([buckets]bucketSum)}
	for i := range d.sums {
		d.sums[i] = bucketSum{count: r.uint32(), sum: r.uint64()}
	}
	if r.err != nil {
		return nil
	}
	return d
}

// A bucketSet is a set of buckets: bit i%8 of byte i/8.
type bucketSet [buckets / 8]byte

func (s *bucketSet) add(i int)      { s[i/8] |= 1 << (i % 8) }
func (s *bucketSet) has(i int) bool { return s[i/8]&(1<<(i%8)) != 0 }

// A pull asks what there is to know of the nodes in a range, as far as they are
// in some buckets, beyond the briefs.
type pull struct {
	nonce   uint64
	lo, hi  identity.NodeID
	buckets bucketSet
	briefs  []brief // in ascending order of IDs
}

func (p *pull) append(b []byte) []byte {
	b = append(b, kindPull)
	b = binary.BigEndian.AppendUint64(b, p.nonce)
	b = binary.BigEndian.AppendUint64(b, uint64(p.lo))
	b = binary.BigEndian.AppendUint64(b, uint64(p.hi))
	b = append(b, p.buckets[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.briefs)))
	for _, e := range p.briefs {
		b = binary.BigEndian.AppendUint64(b, uint64(e.id))
		b = binary.BigEndian.AppendUint64(b, e.epoch)
		b = binary.BigEndian.AppendUint64(b, e.seq)
		b = binary.BigEndian.AppendUint64(b, e.hash)
	}
	return b
}

func readPull(r *reader) *pull {
	p := &pull{nonce: r.uint64(), lo: identity.NodeID(r.uint64()), hi: identity.NodeID(r.uint64())}
	copy(p.buckets[:], r.take(len(p.buckets)))
	n := r.uint32()
	if n > maxBriefs {
		r.fail("%d briefs, at most %d are allowed", n, maxBriefs)
		return nil
	}
	last := identity.NodeID(0)
	for range n {
		e := brief{id: identity.NodeID(r.uint64()), epoch: r.uint64(), seq: r.uint64(), hash: r.uint64()}
		if r.err != nil {
			return nil
		}
		if e.id <= last || e.id < p.lo || e.id > p.hi {
			r.fail("briefs out of order")
			return nil
		}
		last = e.id
		p.briefs = append(p.briefs, e)
	}
	if r.err != nil || p.lo > p.hi {
		r.fail("empty range")
		return nil
	}
	return p
}

// An answer answers an ask or a pull.
type answer struct {
	nonce  uint64
	upto   identity.NodeID // the last ID of the range that it covers
	nodes  []*signed
	relays []*relayRecord

	revoked [][]byte
}

// answerHead begins an answer; items follow.
func answerHead(nonce uint64, upto identity.NodeID) []byte {
	b := binary.BigEndian.AppendUint64([]byte{kindAnswer}, nonce)
	return binary.BigEndian.AppendUint64(b, uint64(upto))
}

func readAnswer(r *reader) *answer {
	a := &answer{nonce: r.uint64(), upto: identity.NodeID(r.uint64())}
	if r.err != nil {
		return nil
	}
	a.nodes, a.relays, a.revoked = readItems(r)
	return a
}

// appendNonce begins a request.
func appendNonce(kind byte, nonce uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, nonce)
}

// answerUpto sets the last ID that an answer covers.
func answerUpto(msg []byte, upto identity.NodeID) []byte {
	binary.BigEndian.PutUint64(msg[9:], uint64(upto))
	return msg
}
