package gossip

import (
	"errors"
	"math"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// maxToldRevocations is how many revocations go in one message: some 50 KiB, so
// that an answer has room for relays.
const maxToldRevocations = 512

// appendRevocation appends a revocation as an item.
func appendRevocation(b, revocation []byte) []byte {
	return append(append(b, itemRevocation), revocation...)
}

// readRevocation reads what follows the type of an item, which says itself how
// long it is.
func readRevocation(r *reader) []byte {
	_, size, err := identity.ReadRevocation(r.b)
	if err != nil {
		r.fail("revocation: %v", err)
		return nil
	}
	return r.take(size)
}

// takeRevocations keeps what a CA of the network has signed. It looks at no more
// than one in a message that is not good. That is no lie: it can be honest and
// of a former secret, which this relay does not accept any more.
func (c *core) takeRevocations(list [][]byte, now time.Time) {
	if c.revoked == nil {
		return
	}
	before := c.stats.Merged
	for _, b := range list {
		_, isNew, err := c.revoked.Add(b)
		if errors.Is(err, identity.ErrBadRevocation) {
			c.stats.Forged++
			break
		}
		switch {
		case err != nil:
			c.stats.Refused++
		case isNew:
			c.stats.Merged++
		}
	}
	if c.stats.Merged != before {
		c.onRevoked(now)
	}
}

// onRevoked takes note that more is revoked: a relay that is does not count any
// more. Nodes leave the directory when their relays end their links.
func (c *core) onRevoked(now time.Time) {
	c.sumRevoked()
	for id, r := range c.relays {
		if c.revoked.Check(r.peer) != nil {
			c.dir.turn(id, live, expired, c.changed)
			c.forget(id)
			c.relaysChanged = true
		}
	}
	c.tellAt(now.Add(tellAfterNews))
}

// sumRevoked computes what the digest says of revocations.
func (c *core) sumRevoked() {
	if c.revoked != nil {
		c.revokedSum = c.revoked.Sum()
	}
}

// appendRevocations appends the revocations to an answer to a relay, as many as
// may be in one, so that who asks again gets the others.
func (c *core) appendRevocations(msg []byte, to Name) []byte {
	if c.revoked == nil {
		return msg
	}
	list := c.revoked.All()
	if len(list) == 0 {
		return msg
	}
	first, n := 0, min(len(list), maxToldRevocations)
	if n < len(list) {
		first = c.toldUpTo(to, n) % len(list)
	}
	for i := range n {
		msg = appendRevocation(msg, list[(first+i)%len(list)])
	}
	return msg
}

// toldUpTo returns where to go on with a relay, which is told n more now. Nobody
// remembers that of a relay without a record: it gets any.
func (c *core) toldUpTo(to Name, n int) int {
	r := c.relays[c.names[to]]
	if r == nil {
		return int(c.nonce() >> 1)
	}
	first := r.toldRevoked
	r.toldRevoked = (first + n) & math.MaxInt
	return first
}

// tellRevoked broadcasts the revocations that are new here, be it from nodes or
// from other relays: those who have them already do not pass them on. It returns
// what tells that there are more.
func (l *loop) tellRevoked(now time.Time) (more <-chan struct{}) {
	revoked := l.cfg.Credentials.Revocations()
	for {
		list, upto, more := revoked.After(l.toldRevoked, maxToldRevocations)
		l.toldRevoked = upto
		if len(list) == 0 {
			return more
		}
		msg := []byte{kindItems}
		for _, b := range list {
			msg = appendRevocation(msg, b)
		}
		l.core.broadcast(msg)
		l.core.onRevoked(now)
		l.flush()
	}
}
