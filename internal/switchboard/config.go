package switchboard

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"golang.org/x/time/rate"
)

// Why frames are refused and ports close.
var (
	// ErrNoRoute means that neither the peer nor a relay is attached.
	ErrNoRoute = errors.New("switchboard: no link to the peer or to a relay")
	// ErrSelf means that the destination is this very node.
	ErrSelf = errors.New("switchboard: the destination is this node itself")
	// ErrTooBig means that the packet exceeds what the link carries.
	ErrTooBig = errors.New("switchboard: packet is too big for the link")
	// ErrReplaced closes a port whose node has attached again on another one.
	ErrReplaced = errors.New("switchboard: the node has attached again on a newer link")
	// ErrClosed closes the ports of a switch that was closed. It is
	// net.ErrClosed.
	ErrClosed = fmt.Errorf("switchboard: %w", net.ErrClosed)
)

// Limits of a switch that nobody needs to configure.
const (
	// maxCorrespondents bounds, for each bound node, the nodes that are told
	// when it goes away. The oldest is forgotten first.
	maxCorrespondents = 256
	// maxDeparted bounds the nodes that are remembered after they went away,
	// departedFor how long they are.
	maxDeparted = 8192
	departedFor = time.Minute
	// maxRemote bounds the nodes on other relays of which it is remembered who
	// talks to them. A random one is forgotten first.
	maxRemote = 8192
	// backboneHops is the most further switches that may forward a frame once
	// it goes to another relay: two suffice while the relays' tables agree, and
	// a few more while nodes move.
	backboneHops = 8
	// maxAwaited bounds the peers to which somebody waits for a route. Beyond
	// it, waiters are woken early and ask again.
	maxAwaited = 16384
	// noticeRate and noticeBurst bound the notices a port is sent each second:
	// the burst lets a busy node learn about all its correspondents at once.
	noticeRate  = 50
	noticeBurst = 2 * maxCorrespondents
	// trustedNoticeRate and trustedNoticeBurst are the same for a port to
	// another relay, which passes notices on to many nodes.
	trustedNoticeRate  = 100 * noticeRate
	trustedNoticeBurst = 16 * noticeBurst
	// throttledEvery is the least time between two NoticeThrottled to a port.
	throttledEvery = time.Second
	// minBurstBytes lets the largest frame pass any byte limit.
	minBurstBytes = 2 * (frame.HeaderLen + frame.MaxPacket)
)

// Limits bound what one port may have forwarded. Zero means no limit.
type Limits struct {
	BytesPerSecond   int // frames with their headers
	PacketsPerSecond int
	BurstBytes       int // zero: one second's worth, at least 128 KiB
	BurstPackets     int // zero: one second's worth
}

func (l Limits) bytes() *rate.Limiter {
	if l.BytesPerSecond <= 0 {
		return nil
	}
	burst := max(cmp.Or(l.BurstBytes, l.BytesPerSecond), minBurstBytes)
	return rate.NewLimiter(rate.Limit(l.BytesPerSecond), burst)
}

func (l Limits) packets() *rate.Limiter {
	if l.PacketsPerSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(l.PacketsPerSecond), cmp.Or(l.BurstPackets, l.PacketsPerSecond))
}

// Forwarding is what makes a switch that of a relay. Callbacks are called as
// those of [Config] are.
type Forwarding struct {
	// Limits apply to each port that leads to a node, not to a relay.
	Limits Limits
	// NextHop says where a node is that is not attached here: the port of the
	// relay that it is attached to, or true if Elsewhere takes frames for it.
	// via is where a frame came in, nil for one of this node. It is asked about
	// each frame for such a node. May be nil.
	NextHop func(dst identity.NodeID, via *Port) (out *Port, elsewhere bool)
	// Elsewhere takes ownership of a frame for another relay to which no port
	// leads and reports true, or reports false. May be nil if NextHop never
	// returns true.
	Elsewhere func(f *frame.Frame) bool
	// OnThrottled is told, at most once a second for each port, how many frames
	// of its node were dropped by Limits so far. May be nil.
	OnThrottled func(id identity.NodeID, dropped uint64)
}

// Config configures a [Switch]. Callbacks are called from the links' readers,
// without locks held; they must not block.
type Config struct {
	// Self is this node's ID. Required.
	Self identity.NodeID
	// Forwarding makes the switch forward frames of bound nodes: relays only.
	// See [Switch.SetForwarding]. Nil: it does not.
	Forwarding *Forwarding
	// Deliver takes ownership of a data frame for this node. Required.
	Deliver func(f *frame.Frame, via *Port)
	// Notice is told what a relay says about frames of this node. May be nil.
	Notice func(n frame.Notice, via *Port)
	// OnUnbind is told when a node's last port is gone; not when a newer port
	// replaced it. May be nil.
	OnUnbind func(id identity.NodeID, p *Port)

	// Link configures the links; its callbacks are the switch's own.
	Link link.Config
	// Logger may be nil: silence.
	Logger logrus.FieldLogger
}

// A PortConfig says what is known about a link when it is attached.
type PortConfig struct {
	// Uplink marks a link to a relay: frames from it may have any source, it
	// is a way to every peer once it is bound, and notices from it count.
	Uplink bool
	// Claimed is who the neighbour says it is, or whom this node dialled.
	// Until the port is bound, other sources are refused. Zero: not known,
	// frames to this node may have any source until the port is bound.
	Claimed identity.NodeID
	// Backbone marks a link that was dialled as one between two relays, with
	// [link.FlagMesh]: only such a one shall be trusted; see [Port.Trust].
	Backbone bool
	// Origin is what counts as one address of neighbours; see [Port.Origin].
	// Empty: the link counts for itself.
	Origin string
	// Name is what people call the other end, such as the address that was
	// dialled. Empty: the link's remote address.
	Name string
}
