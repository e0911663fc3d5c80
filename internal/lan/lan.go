package lan

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weftnet/weft/internal/identity"
	"golang.org/x/time/rate"
)

// A LAN announces this node and knows the others. Its methods are safe for
// concurrent use. [Open] makes one.
type LAN struct {
	cfg  Config
	seal *sealer

	instance string // this node's, random

	view   atomic.Pointer[view]
	inbox  chan heard
	relink chan struct{} // cap 1: the host's addresses may have changed
	ask    chan struct{} // cap 1: somebody waits for a peer
	limit  *rate.Limiter
	count  counters

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// A view is what readers see. It is never modified.
type view struct {
	peers   map[identity.NodeID]Peer
	records int
	changed chan struct{} // closed when there is a newer view
}

type counters struct {
	in, out, inbox, rate, malformed, hops, port atomic.Uint64
	sealed, full, parts, writeErrors, readErrs  atomic.Uint64
}

// Open starts to announce this node and to listen for others. It sends nothing
// itself. The caller must Close the LAN. An error says why the kernel gave no
// socket.
func Open(cfg Config) (*LAN, error) {
	if cfg.Self == 0 || cfg.Port == 0 {
		return nil, errors.New("lan: Config.Self and Config.Port are required")
	}
	s, err := newSealer(cfg.Key)
	if err != nil {
		return nil, err
	}
	l := &LAN{
		cfg:  cfg,
		seal: s,

		instance: newInstance(),
		inbox:    make(chan heard, inboxLen),
		relink:   make(chan struct{}, 1),
		ask:      make(chan struct{}, 1),
		limit:    rate.NewLimiter(packetRate, packetBurst),
	}
	l.view.Store(&view{changed: make(chan struct{})})
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if l.cfg.Conns == nil {
		if l.cfg.Conns, err = Listen(l.ctx); err != nil {
			l.cancel()
			return nil, err
		}
	}
	o := newOwner(l)
	for i, c := range l.cfg.Conns {
		l.wg.Go(func() { l.read(i, c) })
	}
	l.wg.Go(o.run)
	return l, nil
}

// newInstance returns a name that nobody else has: 96 random bits.
func newInstance() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// Close says goodbye to the others and closes the sockets. Closing again is
// net.ErrClosed.
func (l *LAN) Close() error {
	if l.ctx.Err() != nil {
		return net.ErrClosed
	}
	l.cancel() // the owner closes the conns after its last words
	l.wg.Wait()
	return nil
}

// Refresh says that the network may have changed: the LAN looks at the
// interfaces, and announces itself and asks for others as at its start.
func (l *LAN) Refresh() { poke(l.relink) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Peer returns a node that is on the LAN.
func (l *LAN) Peer(id identity.NodeID) (Peer, bool) {
	p, ok := l.view.Load().peers[id]
	p.Addrs = slices.Clone(p.Addrs)
	return p, ok
}

// Peers returns all nodes that are on the LAN, by ID.
func (l *LAN) Peers() []Peer {
	v := l.view.Load()
	out := make([]Peer, 0, len(v.peers))
	for _, p := range v.peers {
		p.Addrs = slices.Clone(p.Addrs)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Peer) int { return compareIDs(a.ID, b.ID) })
	return out
}

// Lookup returns the nodes that claim a name, in lower case, by ID.
func (l *LAN) Lookup(name string) []identity.NodeID {
	return l.view.Load().named(l.seal.nameTag(name))
}

func (v *view) named(tag nameTag) (out []identity.NodeID) {
	for id, p := range v.peers {
		if slices.Contains(p.names, tag) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, compareIDs)
	return out
}

func compareIDs(a, b identity.NodeID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// WaitPeer returns a node when it is on the LAN, at once if it is already. It
// asks for it, but no more than once a second. The error is ctx's, or
// net.ErrClosed.
func (l *LAN) WaitPeer(ctx context.Context, id identity.NodeID) (Peer, error) {
	err := l.wait(ctx, func(v *view) bool { _, ok := v.peers[id]; return ok })
	p, _ := l.Peer(id)
	return p, err
}

// WaitName is WaitPeer for the nodes that claim a name. It returns when there is
// one; others of the name may come later.
func (l *LAN) WaitName(ctx context.Context, name string) ([]identity.NodeID, error) {
	tag := l.seal.nameTag(name)
	var ids []identity.NodeID
	err := l.wait(ctx, func(v *view) bool { ids = v.named(tag); return len(ids) > 0 })
	return ids, err
}

func (l *LAN) wait(ctx context.Context, there func(*view) bool) error {
	for asked := false; ; asked = true {
		v := l.view.Load()
		if there(v) {
			return nil
		}
		if !asked {
			poke(l.ask)
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.ctx.Done():
			return net.ErrClosed
		}
	}
}

// Counters returns a snapshot, not taken at one instant.
func (l *LAN) Counters() Counters {
	c := &l.count
	return Counters{
		PacketsIn: c.in.Load(), PacketsOut: c.out.Load(),
		DroppedInbox:     c.inbox.Load(),
		DroppedRate:      c.rate.Load(),
		DroppedMalformed: c.malformed.Load(),
		DroppedHops:      c.hops.Load(),
		DroppedPort:      c.port.Load(),
		DroppedSealed:    c.sealed.Load(),
		DroppedFull:      c.full.Load(),
		DroppedParts:     c.parts.Load(),
		WriteErrors:      c.writeErrors.Load(),
		ReadErrors:       c.readErrs.Load(),
		Peers:            l.view.Load().records,
	}
}
