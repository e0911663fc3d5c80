package recovery

import "time"

import "github.com/weftnet/weft/internal/wire"

// A Packet is a sent packet that was neither acknowledged nor declared lost.
type Packet struct {
	Number       uint64
	Space        wire.Space
	Size         int // bytes on the wire
	Sent         time.Time
	AckEliciting bool
	InFlight     bool
	Frames       []wire.SentFrame
}
