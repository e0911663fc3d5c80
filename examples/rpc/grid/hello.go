package grid

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/weftnet/weft/overlay"
)

// How a conn begins: who has dialled says hello, the other answers. On conns of large frames it does not: the
// session says already that both agree.

const (
	version   = 1
	patience  = 5 * time.Second // for a hello and its answer
	readAhead = MaxMessage + headRoom + 4
)

// What a conn is for, in the n of a hello; with an answer, what became of it.
const (
	roleSession uint32 = iota
	roleBig
	welcome
	crossed // there is a session already, or this side is dialling and its conn is the one that stays
	refused
)

// A hello is what both sides say of themselves.
type hello struct {
	from     overlay.Peer
	role     uint32
	number   uint64 // of the session, random
	instance string // of the process
	lost     uint64 // number of the last session with the other side that has ended
	max      int    // bytes of a payload that it takes
}

var errCrossed = errors.New("the peer is dialling, too")

func (g *Grid) helloFrame(role uint32, number, lost uint64) *frame {
	b := binary.BigEndian.AppendUint64([]byte{version}, uint64(g.cfg.ID))
	return &frame{kind: kindHello, id: number, n: role, token: []byte(g.instance), payload: binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, lost), uint64(g.cfg.MaxPayload))}
}

// readHello reads a hello, and makes sure that it is from whom it says.
func (g *Grid) readHello(conn net.Conn, in *bufio.Reader) (h hello, err error) {
	var f frame
	if err = f.readFrame(in, 1<<10); err != nil {
		return h, err
	}
	switch {
	case f.kind != kindHello || len(f.payload) == 0:
		return h, errMalformed
	case f.n == refused:
		return h, fmt.Errorf("the peer refuses: %.200q", f.payload)
	case f.payload[0] != version || len(f.payload) < 25:
		return h, fmt.Errorf("the peer speaks version %d of this protocol, this side %d", f.payload[0], version)
	}
	id := overlay.NodeID(binary.BigEndian.Uint64(f.payload[1:]))
	h = hello{role: f.n, number: f.id, instance: string(f.token), lost: binary.BigEndian.Uint64(f.payload[9:])}
	h.max = int(min(binary.BigEndian.Uint64(f.payload[17:]), uint64(g.cfg.MaxPayload)))
	var proven bool
	if h.from, proven = overlay.PeerOf(conn); !proven && g.cfg.Insecure {
		h.from.ID, proven = id, true
	}
	if !proven || h.from.ID != id || id == g.cfg.ID {
		return h, fmt.Errorf("%v says that it is %v", h.from.ID, id)
	}
	return h, nil
}

// welcome answers who dials, and serves the conn until it ends.
func (g *Grid) welcome(conn net.Conn) error {
	if !g.track(conn) {
		return errClosed
	}
	defer g.untrack(conn)
	_ = conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReaderSize(conn, readAhead)
	h, err := g.readHello(conn, in)
	if err != nil {
		return err
	}
	if h.role == roleBig {
		_ = conn.SetDeadline(time.Time{})
		if s := g.session(h.from.ID); s != nil && s.number == h.number {
			return s.readBig(conn, in)
		}
		return errors.New("it is for a session that is over")
	}
	s, err := g.offered(h, conn, in)
	if err != nil {
		f := g.helloFrame(refused, h.number, 0)
		f.payload = []byte(err.Error())
		_, _ = conn.Write(appendFrame(nil, f))
		return err
	}
	if s == nil {
		_, err = conn.Write(appendFrame(nil, g.helloFrame(crossed, h.number, 0)))
		return err
	}
	g.untrack(conn) // Close ends sessions
	_ = conn.SetDeadline(time.Time{})
	s.run()
	return nil
}

// greet says hello on a conn that was dialled.
func (g *Grid) greet(conn net.Conn, in *bufio.Reader, number, lost uint64) (h hello, err error) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err = conn.Write(appendFrame(nil, g.helloFrame(roleSession, number, lost))); err != nil {
		return h, err
	}
	if h, err = g.readHello(conn, in); err != nil {
		return h, err
	}
	if h.role != welcome {
		return h, errCrossed
	}
	return h, conn.SetDeadline(time.Time{})
}
