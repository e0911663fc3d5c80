package gossip

import (
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weaveworks/mesh"
)

const (
	// digestInterval is how often a relay tells some neighbours its digest.
	digestInterval = 30 * time.Second
	// pendingBroadcasts is how many bytes of broadcasts may wait for one
	// neighbour; what is beyond is dropped, and made up for by the digest.
	pendingBroadcasts = 8 << 20
	// recentBroadcasts is how many broadcasts are remembered, twice, so that
	// none is passed on again when the relays disagree on the topology.
	recentBroadcasts = 4096
)

// A gossiper is what mesh calls. None of its methods blocks, and none returns an
// error, for which mesh would end an innocent conn.
type gossiper struct{ m *meshTransport }

var _ mesh.Gossiper = (*gossiper)(nil)

// OnGossipUnicast implements mesh.Gossiper.
func (g *gossiper) OnGossipUnicast(src mesh.PeerName, msg []byte) error {
	g.m.gate.call(func(h Handler) { h.OnUnicast(Name(src), msg) })
	return nil
}

// OnGossipBroadcast implements mesh.Gossiper. What it returns is passed on.
func (g *gossiper) OnGossipBroadcast(src mesh.PeerName, msg []byte) (mesh.GossipData, error) {
	if !g.m.recent.add(msg) {
		return nil, nil
	}
	g.m.gate.call(func(h Handler) { h.OnBroadcast(Name(src), msg) })
	return &messages{list: [][]byte{msg}, size: len(msg), dropped: &g.m.dropped}, nil
}

// Gossip implements mesh.Gossiper. It is called inside mesh's actor.
func (g *gossiper) Gossip() mesh.GossipData {
	var msg []byte
	g.m.gate.call(func(h Handler) { msg = h.Digest() })
	if msg == nil {
		return nil
	}
	return latest(msg)
}

// OnGossip implements mesh.Gossiper. Digests are for neighbours, never passed on.
func (g *gossiper) OnGossip(msg []byte) (mesh.GossipData, error) {
	g.m.gate.call(func(h Handler) { h.OnDigest(msg) })
	return nil, nil
}

// latest is a message of which only the last counts.
type latest []byte

// Encode implements mesh.GossipData.
func (l latest) Encode() [][]byte { return [][]byte{l} }

// Merge implements mesh.GossipData.
func (l latest) Merge(later mesh.GossipData) mesh.GossipData { return later }

// messages are broadcasts that wait for a neighbour. Several neighbours share
// one value, so that it is never changed.
type messages struct {
	list    [][]byte
	size    int
	dropped *atomic.Uint64
}

// Encode implements mesh.GossipData.
func (d *messages) Encode() [][]byte { return d.list }

// Merge implements mesh.GossipData.
func (d *messages) Merge(later mesh.GossipData) mesh.GossipData {
	l, ok := later.(*messages)
	if !ok || d.size+l.size > pendingBroadcasts {
		d.dropped.Add(1)
		return d
	}
	return &messages{
		list: append(d.list[:len(d.list):len(d.list)], l.list...),
		size: d.size + l.size, dropped: d.dropped,
	}
}

// overlay is how mesh asks whether a conn is wanted.
type overlay struct{ m *meshTransport }

var _ mesh.Overlay = overlay{}

var (
	errStranger = errors.New("gossip: a conn to the mesh router that is none of a relay's")
	errImpostor = errors.New("gossip: a relay has another name in mesh than its session has proven")
)

// PrepareConnection implements mesh.Overlay: nobody is let in but the relays
// whose conns were spliced, under the names that their sessions have proven.
func (o overlay) PrepareConnection(p mesh.OverlayConnectionParams) (mesh.OverlayConnection, error) {
	o.m.mu.Lock()
	peer, ok := o.m.splices[p.RemoteAddr.String()]
	closed := o.m.closed
	o.m.mu.Unlock()
	if ok && !closed && Name(p.RemotePeer.Name) == NameOf(peer) {
		return overlayConn{}, nil
	}
	o.m.refused.Add(1)
	if !ok || closed {
		return nil, errStranger
	}
	o.m.cfg.Logger.WithField("relay", peer.String()).Warn("gossip: ", errImpostor)
	return nil, errImpostor
}

// AddFeaturesTo, Diagnostics and Stop implement mesh.Overlay.
func (overlay) AddFeaturesTo(map[string]string) {}

// Diagnostics implements mesh.Overlay.
func (overlay) Diagnostics() any { return nil }

// Stop implements mesh.Overlay.
func (overlay) Stop() {}

// overlayConn is a conn as mesh's overlays know it. It never says that it is
// established: mesh would write a field then that it reads without a lock.
type overlayConn struct{ mesh.NullOverlay }

// EstablishedChannel implements mesh.OverlayConnection.
func (overlayConn) EstablishedChannel() <-chan struct{} { return nil }

// recent remembers broadcasts.
type recent struct {
	seed maphash.Seed

	mu       sync.Mutex
	now, old map[uint64]struct{}
}

func newRecent() *recent {
	return &recent{seed: maphash.MakeSeed(), now: make(map[uint64]struct{})}
}

// add reports whether msg is new.
func (r *recent) add(msg []byte) bool {
	h := maphash.Bytes(r.seed, msg)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.now[h]; known {
		return false
	}
	if _, known := r.old[h]; known {
		return false
	}
	if len(r.now) >= recentBroadcasts {
		r.old, r.now = r.now, make(map[uint64]struct{})
	}
	r.now[h] = struct{}{}
	return true
}
