package control

import "time"

// Throttled tells a node that the relay drops some of its frames because the
// node sends more than the relay allows.
type Throttled struct {
	Dropped          uint64 `cbor:"1,keyasint,omitempty"` // frames of this link dropped so far
	BytesPerSecond   uint64 `cbor:"2,keyasint,omitempty"` // what is allowed; 0: no limit on bytes
	PacketsPerSecond uint64 `cbor:"3,keyasint,omitempty"` // what is allowed; 0: no limit on packets
}

func (*Throttled) kind() Kind   { return KindThrottled }
func (*Throttled) check() error { return nil }

// GoingAway tells a node that the relay is about to stop: it should use
// another one. The relay forwards until GraceMillis milliseconds have passed
// or all nodes have left.
type GoingAway struct {
	GraceMillis uint64 `cbor:"1,keyasint,omitempty"` // 0: unknown
}

// maxGrace is the longest grace that Grace returns, a day.
const maxGrace = 24 * time.Hour

// Grace returns GraceMillis as a duration, at most a day.
func (m *GoingAway) Grace() time.Duration {
	return time.Duration(min(m.GraceMillis, uint64(maxGrace/time.Millisecond))) * time.Millisecond
}

func (*GoingAway) kind() Kind   { return KindGoingAway }
func (*GoingAway) check() error { return nil }
