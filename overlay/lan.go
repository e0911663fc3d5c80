package overlay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/lan"
	"github.com/weftnet/weft/internal/session"
)

const (
	// lanHeadStart is how long a dial to a peer that is on the LAN waits before
	// it asks the relays as well: longer than handshakes on a LAN take, and not
	// noticed by people.
	lanHeadStart = 300 * time.Millisecond
	// lanSettle is how long after a node's start others on the LAN may not have
	// answered yet: three queries.
	lanSettle = 3500 * time.Millisecond
	// lanGrace is how long a dial that the relays cannot help waits for an
	// answer from the LAN after that.
	lanGrace = 500 * time.Millisecond
	// lanStagger is after what time without success the next address of a peer
	// is tried as well (RFC 8305 section 5).
	lanStagger = 250 * time.Millisecond
)

// lanListen opens the kernel's sockets; tests put something else in its place,
// because they must not be heard on any network.
var lanListen = lan.Listen

// errNotOnLAN is the cause of a dial's end that waited for the LAN only.
var errNotOnLAN = errors.New("nobody on the LAN answers to that")

// lanNodes is what a node knows of its LAN. A nil *lanNodes is a node that looks
// for nobody there.
type lanNodes struct {
	*lan.LAN
	node   *Node
	opened time.Time
}

// openLAN begins to look for nodes on the LAN, once there is a UDP socket. That
// it cannot is no error: relays are another way.
func (n *Node) openLAN() *lanNodes {
	if n.direct == nil || n.direct.sock == nil || n.cfg.NoLAN {
		return nil
	}
	bound := n.direct.sock.LocalAddr()
	cfg := lan.Config{
		Key:    n.credentials.Network().Derive(lan.KeyLabel),
		Self:   n.ID(),
		Port:   bound.Port(),
		Names:  n.credentials.Names(),
		Logger: n.log,
	}
	if a := bound.Addr(); a.IsValid() && !a.IsUnspecified() {
		cfg.Addr = a
	}
	switch {
	case cfg.Addr.IsLoopback():
		return nil // which is no LAN
	case n.direct.lanConns != nil:
		cfg.Conns = n.direct.lanConns()
	case n.cfg.ListenUDP != nil:
		return nil
	}
	if cfg.Conns == nil {
		var err error
		if cfg.Conns, err = lanListen(n.ctx); err != nil {
			n.log.WithError(err).Info("nodes on the LAN are not looked for")
			return nil
		}
	}
	l, err := lan.Open(cfg)
	if err != nil {
		n.log.WithError(err).Info("nodes on the LAN are not looked for")
		return nil
	}
	return &lanNodes{LAN: l, node: n, opened: time.Now()}
}

func (l *lanNodes) close() {
	if l != nil {
		_ = l.Close()
	}
}

// refresh says that the host's addresses have changed.
func (l *lanNodes) refresh() {
	if l != nil {
		l.Refresh()
	}
}

// A leg is one of two ways to reach a peer at the same time.
type leg func(ctx context.Context, a *Attempt) (*peerSession, error)

type legResult struct {
	ps      *peerSession
	attempt Attempt
	err     error
}

// race takes the way over the LAN and the one over relays, whichever is
// successful first. known says that the peer is on the LAN; else the relays are
// asked at once. find is given up some time after the relays could not help.
func (l *lanNodes) race(ctx context.Context, a *Attempt, known bool, onLAN func(find context.Context) leg, relayed leg) (*peerSession, error) {
	ctx, cancel := context.WithCancel(ctx)
	find, giveUp := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer giveUp(nil)
	defer cancel()
	before := *a
	run := func(f leg) <-chan legResult {
		done := make(chan legResult, 1)
		wg.Go(func() {
			r := legResult{attempt: before}
			r.ps, r.err = f(ctx, &r.attempt)
			done <- r
		})
		return done
	}
	lanDone := run(onLAN(find))
	var relayDone <-chan legResult
	timer := time.NewTimer(0)
	defer timer.Stop()
	if known {
		timer.Reset(lanHeadStart)
	}
	var failed, missing error // of the relays, of the LAN
	for {
		select {
		case r := <-lanDone:
			if r.err == nil {
				*a = r.attempt
				return r.ps, nil
			}
			lanDone, missing = nil, r.err
			if relayDone == nil && failed == nil {
				relayDone = run(relayed)
			}
		case r := <-relayDone:
			if r.err == nil {
				*a = r.attempt
				return r.ps, nil
			}
			relayDone, failed = nil, r.err
			*a = r.attempt
			timer.Reset(max(lanGrace, time.Until(l.opened.Add(lanSettle))))
		case <-timer.C:
			if failed != nil {
				giveUp(errNotOnLAN)
			} else if relayDone == nil {
				relayDone = run(relayed)
			}
		}
		if lanDone == nil && failed != nil {
			return nil, l.both(failed, missing)
		}
	}
}

// both is the error of a dial for which neither way worked.
func (l *lanNodes) both(failed, missing error) error {
	if errors.Is(missing, errNotOnLAN) || errors.Is(missing, context.Canceled) || failed.Error() == missing.Error() {
		return failed
	}
	return fmt.Errorf("%w; on the LAN: %w", failed, missing)
}

// dial makes a session with a node on the LAN, when it is found.
func (l *lanNodes) dial(find, ctx context.Context, target identity.Target, id NodeID, a *Attempt) (*peerSession, error) {
	a.Path = "LAN"
	peer, err := l.WaitPeer(find, id)
	if err != nil {
		return nil, err
	}
	s, err := l.dialAddrs(ctx, target, peer.Addrs, a)
	if err != nil {
		return nil, err
	}
	return l.node.peerSession(s), nil
}

// dialName is dial for the one node of a name.
func (l *lanNodes) dialName(find, ctx context.Context, target identity.Target, a *Attempt) (*peerSession, error) {
	a.Path = "LAN"
	ids, err := l.WaitName(find, target.Name)
	if err != nil {
		return nil, err
	}
	if len(ids) > 1 {
		return nil, ambiguous(target.Name, ids...)
	}
	ps, err := l.dial(find, ctx, identity.Target{ID: ids[0]}, ids[0], a)
	if err != nil {
		return nil, err
	}
	return ps, target.Check(ps.sess.Peer())
}

// dialAddrs makes a session with a node that may be at several addresses, tried
// one after the other, but not waiting for each to the end.
func (l *lanNodes) dialAddrs(ctx context.Context, target identity.Target, addrs []netip.AddrPort, a *Attempt) (*session.Session, error) {
	type result struct {
		s    *session.Session
		addr netip.AddrPort
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, l.node.handshakeTimeout())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	done := make(chan result, len(addrs))
	timer := time.NewTimer(0)
	defer timer.Stop()
	var failed error
	for open, next := 0, 0; ; {
		select {
		case <-timer.C:
		case r := <-done:
			open--
			a.Path = "udp " + r.addr.String()
			if r.err == nil {
				return r.s, nil
			}
			failed = r.err
		}
		switch {
		case next < len(addrs):
			addr := addrs[next]
			wg.Go(func() {
				fl := l.node.direct.sock.Flow(addr)
				defer fl.Forget()
				s, err := l.node.ep.DialDirect(ctx, target, fl)
				done <- result{s, addr, err}
			})
			open++
			next++
			timer.Reset(lanStagger)
		case open == 0:
			return nil, failed
		}
	}
}

// handshakeTimeout is Config.HandshakeTimeout or its default.
func (n *Node) handshakeTimeout() time.Duration {
	if n.cfg.HandshakeTimeout > 0 {
		return n.cfg.HandshakeTimeout
	}
	return defaultHandshakeTimeout
}

// A LANPeer is a node that announces itself on the LAN. It has proven nothing; a
// conn to it does.
type LANPeer struct {
	ID    NodeID
	Addrs []netip.AddrPort // of its UDP socket, at most 8
}

// near returns a node that is on the LAN, as far as this one knows.
func (l *lanNodes) near(id NodeID) (p lan.Peer, ok bool) {
	if l == nil {
		return p, false
	}
	return l.Peer(id)
}

// status returns what is known of the LAN, by ID.
func (l *lanNodes) status() (out []LANPeer) {
	if l == nil {
		return nil
	}
	for _, p := range l.Peers() {
		out = append(out, LANPeer{ID: p.ID, Addrs: p.Addrs})
	}
	return out
}
