package lan

import (
	"errors"
	"net"
	"time"
)

// readPause is how long a reader waits after an error that is not the end.
const readPause = time.Second

// heard is a packet that a reader has parsed.
type heard struct {
	message
	conn int
	pkt  Packet
}

// read gives the owner what a conn receives.
func (l *LAN) read(conn int, c PacketConn) {
	buf := make([]byte, maxPacket)
	for {
		pkt, err := c.ReadPacket(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			l.count.readErrs.Add(1)
			if !l.pause() {
				return
			}
			continue
		}
		if m, ok := l.take(buf[:pkt.N], pkt); ok {
			select {
			case l.inbox <- heard{m, conn, pkt}:
			default:
				l.count.inbox.Add(1)
			}
		}
	}
}

// pause reports false if the LAN was closed.
func (l *LAN) pause() bool {
	t := time.NewTimer(readPause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// take parses a packet and reports whether it is for the owner. Most of what
// multicast DNS carries has nothing to do with the service.
func (l *LAN) take(b []byte, pkt Packet) (message, bool) {
	var m message
	if !ours(b) {
		return m, false
	}
	l.count.in.Add(1)
	switch {
	case !l.limit.Allow():
		l.count.rate.Add(1)
		return m, false
	case pkt.Hops != 0 && pkt.Hops != 255:
		l.count.hops.Add(1)
		return m, false
	case pkt.From.Port() != Port:
		l.count.port.Add(1)
		return m, false
	case !pkt.From.Addr().IsValid() || pkt.From.Addr().IsMulticast() || pkt.From.Addr().IsUnspecified():
		l.count.malformed.Add(1)
		return m, false
	}
	m, err := parse(b, l.instance)
	if err != nil {
		l.count.malformed.Add(1)
		return m, false
	}
	if m.cut {
		l.count.parts.Add(1)
	}
	return m, m.asks || m.known || m.disowned || len(m.found) > 0
}
