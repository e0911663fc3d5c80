package relay

import (
	"context"
	"errors"
	"sync"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/stream"
	"golang.org/x/time/rate"
)

// A console serves the control streams of one session, one at a time: a new
// one ends the one before. With another relay it also serves a stream of the
// backbone, in the same way.
type console struct {
	relay     *relay
	session   *session.Session
	registers *rate.Limiter
	requests  *rate.Limiter // of all control streams

	mu     sync.Mutex
	server *control.Server // of the present stream; nil before the first

	told    uint64          // the version of the revocations that the node has been told of
	telling *control.Server // of a goroutine that tells more
}

var _ control.Handler = (*console)(nil)

// Established implements relayhost.Watcher: there is a new session.
func (r *relay) Established(s *session.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.consoles[s] != nil || r.refuse(s) {
		return
	}
	c := &console{
		relay: r, session: s,
		registers: perSecond(r.registrations, registerBurst), requests: perSecond(r.requests, requestBurst),
	}
	r.consoles[s] = c
	r.wg.Go(func() {
		c.run(r.ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.consoles, s)
	})
}

// run serves streams until the session or ctx ends.
func (c *console) run(ctx context.Context) {
	requests, mesh := newTurn(ctx), newTurn(ctx)
	defer requests.end()
	defer mesh.end()
	for {
		stream, err := c.session.AcceptControl(ctx)
		if err != nil {
			return
		}
		if stream.Kind() == session.KindMesh {
			c.takeMesh(stream, mesh)
			continue
		}
		c.takeControl(stream, requests)
	}
}

func (c *console) takeControl(s *session.Stream, t *turn) {
	t.end()
	if err := s.Accept(); err != nil {
		return
	}
	server := control.NewServer(s, c)
	server.SetLimit(c.requests)
	c.use(server)
	t.begin(func(ctx context.Context) { c.serve(ctx, server) })
}

// takeMesh serves a stream of the backbone if the peer may belong to it: it is a
// relay, and a link leads there that was dialled as one between relays.
func (c *console) takeMesh(s *session.Stream, t *turn) {
	id := c.session.Peer().ID
	if port := c.relay.Switch.Port(id); !c.session.Peer().Has(identity.RoleRelay) || port == nil || !port.Trusted() {
		c.relay.stats.refusedMesh.Add(1)
		_ = s.Refuse(uint64(stream.CodeNotAllowed))
		return
	}
	t.end()
	if err := s.Accept(); err != nil {
		return
	}
	t.begin(func(ctx context.Context) {
		err := c.relay.converse(ctx, s)
		c.relay.log.WithError(err).WithField("peer", id.String()).Debug("stream of the backbone ended")
		_ = s.Close()
	})
}

// A turn runs one function at a time, in a goroutine of its own.
type turn struct {
	parent context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newTurn(ctx context.Context) *turn { return &turn{parent: ctx, cancel: func() {}} }

// begin runs f until it returns, or end is called.
func (t *turn) begin(f func(context.Context)) {
	ctx, cancel := context.WithCancel(t.parent)
	t.cancel = cancel
	t.wg.Go(func() { f(ctx) })
}

// end ends what runs, and waits for it.
func (t *turn) end() {
	t.cancel()
	t.wg.Wait()
}

// use makes server the present one.
func (c *console) use(server *control.Server) {
	c.mu.Lock()
	c.server, c.told = server, 0
	c.mu.Unlock()
	c.catchUp()
	c.relay.mu.Lock()
	leaving := c.relay.leaving
	c.relay.mu.Unlock()
	if leaving != nil {
		server.Push(leaving)
	}
}

func (c *console) serve(ctx context.Context, server *control.Server) {
	err := server.Serve(ctx)
	if errors.Is(err, control.ErrMalformed) {
		c.relay.stats.controlMalformed.Add(1)
		c.relay.log.WithError(err).WithField("node", c.session.Peer().ID.String()).Warn("node breaks the control protocol")
	}
}

// push tells the node something, unless it has no control stream.
func (c *console) push(m control.Message) {
	c.mu.Lock()
	server := c.server
	c.mu.Unlock()
	if server != nil {
		server.Push(m)
	}
}

// errNotAttached refuses nodes whose link has not been proven, or is gone.
var errNotAttached = &control.Failed{
	Code:   control.FailureNotAllowed,
	Reason: "the relay knows no link of this node yet",
}

// Register implements control.Handler.
func (c *console) Register(ctx context.Context, m *control.Register) (*control.Registered, error) {
	if err := c.registers.Wait(ctx); err != nil {
		return nil, err
	}
	peer := c.session.Peer()
	addr, origin, ok := c.relay.seen(peer.ID)
	if !ok {
		return nil, errNotAttached
	}
	if err := awaitTurn(ctx, origin, c.relay.rates.register, &c.relay.stats.limitedRegistrations); err != nil {
		return nil, err
	}
	if err := c.relay.publish(peer, m); err != nil {
		return nil, failureOf(err)
	}
	c.push(c.relay.relayList())
	return &control.Registered{
		ObservedAddr: addr, RelayName: c.relay.name, RelayVersion: c.relay.version,
		Revoked: c.relay.Credentials.Revocations().Sum(),
	}, nil
}

// failureOf says in the terms of the protocol why the directory refused.
func failureOf(err error) *control.Failed {
	failed := &control.Failed{Code: control.FailureInternal, Reason: "the relay cannot list the node"}
	stale, isStale := errors.AsType[*gossip.StaleError](err)
	_, isConflict := errors.AsType[*gossip.ConflictError](err)
	switch {
	case isStale:
		failed.Code, failed.Reason, failed.Epoch = control.FailureStale, "a newer registration is known", stale.Epoch
	case isConflict:
		failed.Code, failed.Reason = control.FailureConflict, "another key has the same node ID; make a new key"
	case errors.Is(err, gossip.ErrFull):
		failed.Code, failed.Reason = control.FailureFull, "the relay's directory is full"
	case errors.Is(err, gossip.ErrSignature):
		failed.Code, failed.Reason = control.FailureNotAllowed, "the signature is not the node's for this relay"
	case errors.Is(err, gossip.ErrNotCertified):
		failed.Code, failed.Reason = control.FailureNotAllowed, "a name is not in the node's certificate"
	case errors.Is(err, gossip.ErrTooMuch):
		failed.Code, failed.Reason = control.FailureNotAllowed, "too many names or candidate addresses"
	}
	return failed
}

// Lookup implements control.Handler.
func (c *console) Lookup(ctx context.Context, m *control.Lookup) ([]control.Record, error) {
	if _, err := c.ask(ctx); err != nil {
		return nil, err
	}
	var records []control.Record
	for _, r := range c.relay.directory.Find(m.Target()) {
		records = append(records, control.Record{ID: r.ID, Key: control.Key(r.Key), Names: r.Names})
	}
	return records, nil
}

// Observe implements control.Handler.
func (c *console) Observe(ctx context.Context) (string, error) { return c.ask(ctx) }

// ask waits until the node may ask something, and returns its address.
func (c *console) ask(ctx context.Context) (string, error) {
	addr, origin, ok := c.relay.seen(c.session.Peer().ID)
	if !ok {
		return "", errNotAttached
	}
	return addr, awaitTurn(ctx, origin, c.relay.rates.request, &c.relay.stats.limitedRequests)
}
