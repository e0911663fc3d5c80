package overlay

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
)

// inviteWarning is how long before its invite expires a node says so.
const inviteWarning = 24 * time.Hour

// A warden ends the sessions and links of peers whose membership has ended, and
// says when the node's own does. Handshakes only see who is a member at their
// time, and sessions can last for weeks.
type warden struct {
	node  *Node
	kick  chan struct{} // capacity 1: there is a session with an invited peer
	own   *identity.Invite
	saids int // what was said about the own invite: 1 that it ends, 2 that it has

	revoked *identity.Revocations
	file    *revocationFile // nil: revocations are not kept over restarts
	told    bool            // that the node itself is revoked

	mu      sync.Mutex
	watched map[ending]identity.Peer // sessions and links, and who is at the other end; some have ended
	prune   int                      // how many there may be before those that have ended are dropped
}

// An ending is a *session.Session or a *switchboard.Port.
type ending interface{ Done() <-chan struct{} }

// minPrune is the least that warden.prune can be.
const minPrune = 64

// watchMembership starts the warden, in a network that has members.
func (n *Node) watchMembership() {
	if n.credentials.Network().Open() {
		return
	}
	if also := n.credentials.Network().Accepted(); len(also) > 0 {
		n.log.WithField("accepted", also).Info("the secret is being replaced: members of other CAs are accepted, too")
	}
	w := &warden{
		node: n, kick: make(chan struct{}, 1), own: n.credentials.Network().Invite(),
		watched: make(map[ending]identity.Peer), prune: minPrune,
		revoked: n.credentials.Revocations(),
	}
	if dir := n.cfg.StateDir; dir != "" {
		w.file = &revocationFile{path: filepath.Join(dir, revocationsFile)}
		w.recall()
	}
	n.hooks.Watch(w)
	n.wg.Go(w.run)
}

// Bound implements relayhost.Watcher. A peer can end its session and stay on its
// link, which is why links are watched, too.
func (w *warden) Bound(peer identity.Peer, port *switchboard.Port) error {
	w.watch(port, peer)
	return nil
}

// Established implements relayhost.Watcher.
func (w *warden) Established(s *session.Session) { w.watch(s, s.Peer()) }

// watch remembers a session or link.
func (w *warden) watch(e ending, peer identity.Peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watched[e] = peer
	if len(w.watched) > w.prune {
		w.pruneLocked()
		w.prune = max(2*len(w.watched), minPrune)
	}
	if peer.Invite != 0 || w.revoked.Check(peer) != nil {
		w.look()
	}
}

// pruneLocked forgets what has ended.
func (w *warden) pruneLocked() {
	maps.DeleteFunc(w.watched, func(e ending, _ identity.Peer) bool {
		select {
		case <-e.Done():
			return true
		default:
			return false
		}
	})
}

// look makes the warden look around soon.
func (w *warden) look() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *warden) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		_, _, more := w.revoked.After(0, 0)
		w.remember()
		now := time.Now()
		w.accuse(now)
		next := w.expel(now)
		if due := w.speak(now); !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
		if timer.Stop(); !next.IsZero() {
			timer.Reset(next.Sub(now))
		}
		select {
		case <-timer.C:
		case <-w.kick:
		case <-more:
		case <-w.node.ctx.Done():
			w.remember()
			return
		}
	}
}

// expel ends the sessions and links of those who are no members any more, and
// returns when the next one will not be; zero for never.
func (w *warden) expel(now time.Time) (next time.Time) {
	reasons := make(map[ending]error)
	for e, peer := range w.all() {
		if err := w.membership(peer, now); err != nil {
			reasons[e] = err
		} else if ends := peer.InviteExpires; peer.Invite != 0 && (next.IsZero() || ends.Before(next)) {
			next = ends.Add(time.Nanosecond)
		}
	}
	w.end(reasons)
	return next
}

// end ends sessions and links: sessions first, so that peers are told why.
func (w *warden) end(reasons map[ending]error) {
	for e, err := range reasons {
		if s, ok := e.(*session.Session); ok {
			w.node.log.WithError(err).WithField("peer", s.Peer().ID.String()).Info("session ended: no member any more")
			_ = s.CloseWithError(session.CodeNoError, err.Error())
		}
	}
	for e, err := range reasons {
		if port, ok := e.(*switchboard.Port); ok {
			port.CloseWithError(fmt.Errorf("overlay: no member any more: %w", err))
		}
	}
}

// membership reports why a peer that was a member is none at a time.
func (w *warden) membership(peer identity.Peer, now time.Time) error {
	if peer.Invite != 0 && now.After(peer.InviteExpires) {
		return &identity.InviteExpiredError{Invite: peer.Invite, Expired: peer.InviteExpires}
	}
	return w.revoked.Check(peer)
}

// all returns what has not ended.
func (w *warden) all() map[ending]identity.Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pruneLocked()
	return maps.Clone(w.watched)
}

// speak says that the node's own invite ends soon, or has ended, once each. It
// returns when there is more to say, zero for never.
func (w *warden) speak(now time.Time) time.Time {
	if w.own == nil {
		return time.Time{}
	}
	ends := w.own.Expires
	log := w.node.log.WithFields(logrus.Fields{"invite": w.own.ID.String(), "expires": ends.UTC().Format(time.RFC3339)})
	switch {
	case now.Before(ends.Add(-inviteWarning)):
		return ends.Add(-inviteWarning)
	case !now.After(ends):
		if w.saids == 0 {
			w.saids = 1
			log.Warnf("the invite expires in %v: then nobody talks to this node any more; get a new one and start the node with it", ends.Sub(now).Round(time.Second))
			w.node.events.put(Event{Kind: EventInviteEnding, Time: now, Grace: ends.Sub(now)})
		}
		return ends.Add(time.Nanosecond)
	case w.saids < 2:
		w.saids = 2
		err := &identity.InviteExpiredError{Invite: w.own.ID, Expired: ends}
		log.WithError(err).Error("the invite has expired: nobody talks to this node any more")
		w.node.events.put(Event{Kind: EventInviteExpired, Time: now, Err: err})
		reasons := make(map[ending]error)
		for e := range w.all() { // the other ends have ended them, too
			reasons[e] = err
		}
		w.end(reasons)
	}
	return time.Time{}
}
