package gossip

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
)

// The defaults of [Config].
const (
	DefaultGrace              = 30 * time.Second
	DefaultMaxRelays          = 256
	DefaultMaxRecordsPerRelay = 1 << 17
)

// ErrClosed is what methods of a [Backbone] return after Close.
var ErrClosed = errors.New("gossip: the backbone is closed")

// Config configures a [Backbone]. Zero values are the defaults.
type Config struct {
	// Credentials are the relay's. Required; they must have the role
	// [identity.RoleRelay].
	Credentials *identity.Credentials
	// Directory is what the backbone fills. Required.
	Directory *Directory
	// Addrs are where nodes and other relays reach this relay, at most
	// [MaxRelayAddrs].
	Addrs []string
	// Transport carries the messages, such as NewMesh's. Required; Close closes
	// it.
	Transport Transport
	// Grace is how long the nodes of a relay that cannot be reached any more
	// stay listed. Zero: 30 s.
	Grace time.Duration
	// MaxRelays is how many other relays there may be. Zero: 256.
	MaxRelays int
	// MaxRecordsPerRelay is how many nodes may be attached to one relay, this
	// one included, so that a relay that invents nodes does not fill the
	// directories of all. Zero: 131072.
	MaxRecordsPerRelay int
	// Logger takes what is worth knowing. Nil: silent.
	Logger logrus.FieldLogger

	// OnDatagram takes a datagram that another relay sent with Send. It may be
	// called from several goroutines, must not block, and may keep b. Who sent
	// it is what the transport says, and no proof. Nil: datagrams are dropped.
	OnDatagram func(from identity.NodeID, b []byte)
	// OnChange is called when a node is attached elsewhere than before, from
	// the backbone's goroutine, in order. It must not block. Changes that this
	// relay makes itself, with Publish and Withdraw, are not told.
	OnChange func(Change)
	// OnRelays is called when [Backbone.Relays] has changed. It must not block.
	OnRelays func()
}

// A Backbone tells other relays which nodes are attached to this one, learns
// from them who is attached elsewhere, and carries datagrams between relays
// that have no link to each other. Multiple goroutines may invoke its methods
// simultaneously.
type Backbone struct {
	cfg       Config
	dir       *Directory
	network   [32]byte
	self      identity.NodeID
	transport Transport
	log       logrus.FieldLogger
	inbox     *inbox
	dirty     *dirtySet
	out       *senders
	received  receivers
	view      atomic.Pointer[view]

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
	closer sync.Once

	coreStats  coreStats
	broadcasts atomic.Uint64
	inboxDrops atomic.Uint64
	overlong   atomic.Uint64 // messages
}

// Start makes the backbone of one relay; Serve adds others. Close ends it.
func Start(cfg Config) (*Backbone, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.Grace = cmp.Or(cfg.Grace, DefaultGrace)
	cfg.MaxRelays = cmp.Or(cfg.MaxRelays, DefaultMaxRelays)
	cfg.MaxRecordsPerRelay = cmp.Or(cfg.MaxRecordsPerRelay, DefaultMaxRecordsPerRelay)
	if cfg.Logger == nil {
		cfg.Logger = silent()
	}
	cfg.Addrs = slices.Clone(cfg.Addrs)
	b := &Backbone{
		cfg: cfg, dir: cfg.Directory, network: cfg.Credentials.Network().ID(), self: cfg.Credentials.Key().ID(),
		transport: cfg.Transport, log: cfg.Logger, inbox: newInbox(), dirty: newDirtySet(),
		done: make(chan struct{}),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	c, err := b.newCore()
	if err == nil {
		b.show(c)
		b.out = newSenders(b.ctx, b.transport, func(to Name) { b.inbox.put(event{kind: notSent, from: to}) })
		err = b.transport.Start(NameOf(b.self), &handler{b})
	}
	if err != nil {
		b.cancel()
		return nil, err
	}
	go b.run(&loop{Backbone: b, core: c})
	return b, nil
}

// silent returns a logger that says nothing.
func silent() logrus.FieldLogger {
	return &logrus.Logger{Out: io.Discard, Formatter: new(logrus.TextFormatter), Level: logrus.PanicLevel}
}

// check reports what makes the configuration unusable.
func (cfg *Config) check() error {
	if cfg.Credentials == nil || cfg.Directory == nil || cfg.Transport == nil {
		return errors.New("gossip: Config needs Credentials, Directory and Transport")
	}
	if !slices.Contains(cfg.Credentials.Roles(), identity.RoleRelay) {
		return fmt.Errorf("gossip: the certificate lacks the role %q; call Credentials.TakeRole first", identity.RoleRelay)
	}
	if len(cfg.Addrs) > MaxRelayAddrs {
		return fmt.Errorf("gossip: %d addresses of the relay, at most %d are allowed", len(cfg.Addrs), MaxRelayAddrs)
	}
	if err := checkTexts(cfg.Addrs, maxAddr); err != nil {
		return err
	}
	if id := cfg.Credentials.Key().ID(); NameOf(id) == 0 {
		return fmt.Errorf("gossip: the last 12 digits of the node ID %v are zero; make a new key", id)
	}
	return nil
}

// newCore makes the state that the backbone's goroutine owns.
func (b *Backbone) newCore() (*core, error) {
	cred := b.cfg.Credentials
	c := &core{
		key: cred.Key(), network: b.network, dir: b.dir,
		grace: b.cfg.Grace, maxRelays: b.cfg.MaxRelays, maxPerRelay: b.cfg.MaxRecordsPerRelay,
		nonce:   newNonce,
		certify: cred.VerifyChain, leaf: cred.Chain, revoked: cred.Revocations(),
	}
	return c, c.init(b.cfg.Addrs, time.Now())
}

// newNonce returns a number that is not 0 and that nobody guesses.
func newNonce() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return max(binary.BigEndian.Uint64(b[:]), 1)
}

// Publish lists a node that is attached to this relay and tells the others. The
// peer is verified, as by its session; the signature is the node's, over what
// internal/record says; the certificate, what [identity.Credentials.Chain]
// returns there, is needed if there are names. The error is one of [Directory.Put], matches [ErrSignature], or is
// [ErrClosed].
func (b *Backbone) Publish(peer identity.Peer, a Attachment, sig, certificate []byte) error {
	s := &signed{Record: Record{ID: peer.ID, Key: peer.Key, Attachment: a.clone()}, certificate: slices.Clone(certificate)}
	if len(sig) != len(s.signature) {
		return fmt.Errorf("%w: signature of %d bytes, want %d", ErrSignature, len(sig), len(s.signature))
	}
	copy(s.signature[:], sig)
	if b.ctx.Err() != nil {
		return ErrClosed
	}
	if err := b.checkOwn(peer, s); err != nil {
		b.dir.refuse()
		return err
	}
	_, isNew, err := b.dir.register(s, b.cfg.MaxRecordsPerRelay)
	if isNew {
		b.dirty.add(peer.ID)
	}
	return err
}

// checkOwn reports why a record must not be published.
func (b *Backbone) checkOwn(peer identity.Peer, s *signed) error {
	if s.Relay != b.self {
		return fmt.Errorf("gossip: node %v is attached to relay %v, not to this one", s.ID, s.Relay)
	}
	if err := b.dir.check(peer, s.Attachment); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	if err := s.verify(b.network); err != nil {
		return err
	}
	if len(s.Names) == 0 {
		s.certificate = nil
		return nil
	}
	// The others do not know the session, only the certificate.
	shown, err := b.cfg.Credentials.VerifyChain(s.certificate)
	if errors.Is(err, identity.ErrSelf) && s.ID == b.self {
		return nil
	}
	if err != nil || shown.Key != peer.Key {
		return errors.Join(ErrNotCertified, err)
	}
	return b.dir.check(shown, s.Attachment)
}

// Withdraw says that a node is no longer attached to this relay, here and to the
// others. hungUp says that the node ended its link itself, so that those who
// talk to it need not wait long for its return. Withdraw does nothing when the
// node is attached elsewhere.
func (b *Backbone) Withdraw(node identity.NodeID, hungUp bool) {
	s := b.dir.withdraw(node, b.self)
	if s == nil {
		return
	}
	s.depart(b.network, b.cfg.Credentials.Key(), hungUp)
	if _, err := b.dir.merge(s, departed, false, b.cfg.MaxRecordsPerRelay); err == nil {
		b.dirty.add(node)
	} // otherwise the node has registered anew meanwhile, here or elsewhere
}

// Send sends a datagram, at most [MaxDatagram] bytes, to another relay. It never
// blocks, keeps nothing of p, and reports whether the datagram was queued;
// if not it was dropped and counted: the relay cannot be reached, or its queue
// is full. Sources share the queue fairly: they take turns, and when it is full
// the one with the most makes room. In the first 100 ms after the first conn of a relay, mesh knows no
// way yet.
func (b *Backbone) Send(to, source identity.NodeID, p []byte) bool {
	if len(p) > MaxDatagram || !b.view.Load().reachable[to] {
		b.out.noWay.Add(1)
		return false
	}
	return b.out.datagram(NameOf(to), source, p)
}

// Serve lets the backbone use conn, such as a stream of the session with
// another relay, until ctx or the conn ends; then it closes conn and returns.
// The session has proven that peer is at the other end and has the role of a
// relay. Both ends call it.
func (b *Backbone) Serve(ctx context.Context, conn net.Conn, peer identity.NodeID) error {
	if b.ctx.Err() != nil {
		_ = conn.Close()
		return ErrClosed
	}
	return b.transport.Serve(ctx, conn, peer)
}

// Relays returns the other relays, in the order of their IDs.
func (b *Backbone) Relays() []RelayInfo {
	list := slices.Clone(b.view.Load().relays)
	for i := range list {
		list[i].Nodes = b.dir.countOf(list[i].ID)
	}
	return list
}

// Stats returns the backbone's counters, which were not all taken at one instant.
func (b *Backbone) Stats() Stats {
	s := b.coreStats.get()
	s.Malformed += b.overlong.Load()
	s.InboxDrops, s.DirtyDrops, s.Broadcasts = b.inboxDrops.Load(), b.dirty.drops.Load(), b.broadcasts.Load()
	b.out.fill(&s)
	b.received.fill(&s)
	return s
}

// Close tells the others that this relay leaves, ends all conns and waits for
// the backbone's goroutines.
func (b *Backbone) Close() error {
	var err error
	b.closer.Do(func() {
		b.cancel()
		<-b.done
		err = b.transport.Close()
		b.out.wait()
	})
	return err
}
