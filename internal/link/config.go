package link

import (
	"cmp"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
)

// Config configures a [Link]. Zero values are the defaults.
type Config struct {
	// OnFrame takes each frame that arrives, pings excepted, and owns it. It
	// is called from the link's reader, so it must neither block nor call
	// Close or Drain. Required.
	OnFrame func(l *Link, f *frame.Frame)
	// OnDown is called once, after the last OnFrame, when the link has ended
	// with err. It must not call Close or Drain. May be nil.
	OnDown func(l *Link, err error)

	// QueueBytes and QueueFrames bound the send queue: the memory that frames
	// waiting or being written hold. Zero: 4 MiB and 4096. At least one frame
	// is always taken. The sources of the frames share the queue and the link
	// fairly.
	QueueBytes  int
	QueueFrames int

	// Self is the source of the frames that wait for Ready. Zero: Ready does not
	// look at who has what share of the queue.
	Self identity.NodeID

	// KeepAlive is the silence of the other end after which it is pinged. It
	// must leave room for ProbeTimeout before DeadAfter. Zero: 10 s, or two
	// thirds of DeadAfter if that is less.
	KeepAlive time.Duration
	// DeadAfter ends the link when nothing was received, or one write has not
	// ended, for this long. Zero: 15 s.
	DeadAfter time.Duration
	// ProbeAfter pings the other end when a frame was sent and nothing
	// received since for this long. Zero: 2 s.
	ProbeAfter time.Duration
	// ProbeTimeout ends the link when a frame was sent and nothing received
	// since for this long, unless the transport knows that the other end
	// still acknowledges. Zero: 4 s.
	ProbeTimeout time.Duration
}

// The defaults of [Config].
const (
	DefaultQueueBytes   = 4 << 20
	DefaultQueueFrames  = 4096
	DefaultKeepAlive    = 10 * time.Second
	DefaultDeadAfter    = 15 * time.Second
	DefaultProbeAfter   = 2 * time.Second
	DefaultProbeTimeout = 4 * time.Second
)

func (c Config) withDefaults() Config {
	c.QueueBytes = cmp.Or(c.QueueBytes, DefaultQueueBytes)
	c.QueueFrames = cmp.Or(c.QueueFrames, DefaultQueueFrames)
	c.DeadAfter = cmp.Or(c.DeadAfter, DefaultDeadAfter)
	c.KeepAlive = cmp.Or(c.KeepAlive, min(DefaultKeepAlive, 2*c.DeadAfter/3))
	c.ProbeAfter = cmp.Or(c.ProbeAfter, DefaultProbeAfter)
	c.ProbeTimeout = cmp.Or(c.ProbeTimeout, DefaultProbeTimeout)
	return c
}
