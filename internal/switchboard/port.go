package switchboard

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"golang.org/x/time/rate"
)

// A Port is one attached link. It is a path to the neighbour at the other end,
// and stays one before and after that is bound. All methods are safe for
// concurrent use.
type Port struct {
	s     *Switch
	cfg   PortConfig
	link  *link.Link
	name  string
	since time.Time

	id             atomic.Uint64 // the bound node, 0 for none
	trusted        atomic.Bool
	epoch          atomic.Uint64 // tells bindings apart
	correspondents atomic.Pointer[correspondents]

	bytes, packets *rate.Limiter // nil: no limit
	notices        *rate.Limiter
	throttled      atomic.Int64 // when the last NoticeThrottled was sent
	count          portCounters

	// recent holds, by a hash of the destination, the epochs of the ports that
	// frames from here went to lately, or the marks of nodes on other relays,
	// and so whose correspondents are noted already. Only the link's reader
	// touches it.
	recent [64]uint64
}

func newPort(s *Switch, fc link.FrameConn, cfg PortConfig) *Port {
	p := &Port{
		s:       s,
		cfg:     cfg,
		since:   time.Now(),
		notices: rate.NewLimiter(noticeRate, noticeBurst),
	}
	if fw := s.forwarding.Load(); fw != nil && !cfg.Uplink {
		p.bytes, p.packets = fw.Limits.bytes(), fw.Limits.packets()
	}
	lc := s.cfg.Link
	lc.Self = s.cfg.Self
	lc.OnFrame = func(_ *link.Link, f *frame.Frame) { s.receive(p, f) }
	lc.OnDown = func(_ *link.Link, err error) { s.remove(p, err) }
	p.link = link.New(fc, lc)
	p.name = portName(fc, cfg)
	return p
}

func portName(fc link.FrameConn, cfg PortConfig) string {
	addr := fc.RemoteAddr()
	name, kind := cfg.Name, "link"
	if addr != nil {
		kind = addr.Network()
		if name == "" {
			name = addr.String()
		}
	}
	if cfg.Uplink {
		kind = "relay"
	}
	return kind + " " + name
}

// ID returns the node that the port is bound to, 0 if none.
func (p *Port) ID() identity.NodeID { return identity.NodeID(p.id.Load()) }

// who is the bound or else the claimed node.
func (p *Port) who() identity.NodeID {
	if id := p.ID(); id != 0 {
		return id
	}
	return p.cfg.Claimed
}

// Claimed returns who the neighbour said it is when the link was attached.
func (p *Port) Claimed() identity.NodeID { return p.cfg.Claimed }

// Uplink reports whether the link leads to a relay.
func (p *Port) Uplink() bool { return p.cfg.Uplink }

// Backbone reports whether the link was dialled as one between two relays.
func (p *Port) Backbone() bool { return p.cfg.Backbone }

// Trust makes the port one to another relay, which has proven that it is one:
// frames from it may have any source, notices from it count, and the limits for
// nodes do not hold. That lasts as long as the port.
func (p *Port) Trust() {
	p.notices.SetLimit(trustedNoticeRate)
	p.notices.SetBurst(trustedNoticeBurst)
	p.trusted.Store(true)
}

// Trusted reports whether Trust was called.
func (p *Port) Trusted() bool { return p.trusted.Load() }

// relays reports whether the neighbour speaks for other nodes.
func (p *Port) relays() bool { return p.cfg.Uplink || p.trusted.Load() }

// Origin says who answers for the frames from the neighbour: ports with one
// origin share the limits for one address. It is empty for a relay, which speaks
// for many nodes.
func (p *Port) Origin() string {
	switch {
	case p.relays():
		return ""
	case p.cfg.Origin != "":
		return p.cfg.Origin
	}
	return p.name
}

// Since returns when the link was attached.
func (p *Port) Since() time.Time { return p.since }

// Link returns the link below.
func (p *Port) Link() *link.Link { return p.link }

// Done is closed when the link has ended; Err then says why.
func (p *Port) Done() <-chan struct{} { return p.link.Done() }

// Err says why the link ended, nil while it lives.
func (p *Port) Err() error { return p.link.Err() }

// Close ends the link at once and waits for it. It must not be called from a
// callback of the switch.
func (p *Port) Close() error { return p.link.Close() }

// CloseWithError ends the link at once with a reason and does not wait.
func (p *Port) CloseWithError(err error) { p.link.CloseWithError(err) }

// Drain sends what is queued, then ends the link; see [link.Link.Drain].
func (p *Port) Drain(ctx context.Context) error { return p.link.Drain(ctx) }

// Ready reports whether the link takes frames now; if not, w is woken once
// when it does or when it ends.
func (p *Port) Ready(w Waker) bool { return p.link.Ready(w) }

// Send takes ownership of f, sets its source and queues it for the neighbour.
func (p *Port) Send(f *frame.Frame) error {
	if len(f.Packet()) > p.link.MaxPacket() {
		p.s.count.tooBig.Add(1)
		f.Release()
		return ErrTooBig
	}
	f.SetSrc(p.s.cfg.Self)
	return p.link.Send(f)
}

// MaxPacket is the largest packet that the link carries.
func (p *Port) MaxPacket() int { return p.link.MaxPacket() }

// Neighbour reports true: the peer is at the other end of this very link.
func (p *Port) Neighbour() bool { return true }

// String names the link for people: "relay relay.example.org:9999" or
// "tcp 192.0.2.7:4000".
func (p *Port) String() string { return p.name }
