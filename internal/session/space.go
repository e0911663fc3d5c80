package session

import (
	"time"

	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// maxAckDelay is how long an acknowledgement may wait for company
	// (RFC 9000 section 13.2.1).
	maxAckDelay = 25 * time.Millisecond
	// ackEvery is the number of ack-eliciting packets after which an
	// acknowledgement is sent at once. A sender whose window is full asks for
	// one sooner with IMMEDIATE_ACK.
	ackEvery = 8
	// ackEveryEarly and earlyPackets make a young session acknowledge more
	// often, so that its peer's window opens quickly.
	ackEveryEarly = 2
	earlyPackets  = 64
	// maxRecvSpans bounds the memory of what was received. Packets below the
	// lowest span kept are taken for duplicates.
	maxRecvSpans = 128
	// maxSentRanges bounds the ranges in an ACK frame that is sent.
	maxSentRanges = 32
)

// A space is the state of one packet number space.
type space struct {
	read, write *handshake.Keys // not for the 1-RTT keys
	next        uint64          // next packet number to send
	recv        spans           // packet numbers received: the replay window
	floor       uint64          // numbers below count as received
	largestAt   time.Time       // when the largest number came
	count       uint64          // ack-eliciting packets received
	pending     int             // ack-eliciting packets not acknowledged yet
	ackNow      bool
	ackAt       time.Time // when a delayed acknowledgement is due
	out         sendBuf   // CRYPTO to send
	in          recvBuf   // CRYPTO received
	dropped     bool
	ranges      []wire.AckRange // scratch
}

// largest is the largest packet number received; 0 if none.
func (sp *space) largest() uint64 {
	if len(sp.recv) == 0 {
		return 0
	}
	return sp.recv[len(sp.recv)-1].hi - 1
}

// duplicate reports whether packet pn was received before, or may have been.
func (sp *space) duplicate(pn uint64) bool { return pn < sp.floor || sp.recv.contains(pn) }

// received records packet pn.
func (sp *space) received(now time.Time, pn uint64, eliciting, prompt bool) {
	inOrder := len(sp.recv) == 0 || pn == sp.largest()+1
	if len(sp.recv) == 0 || pn > sp.largest() {
		sp.largestAt = now
	}
	sp.recv.add(pn, pn+1)
	if n := len(sp.recv) - maxRecvSpans; n > 0 {
		sp.forget(n)
	}
	if !eliciting {
		return
	}
	sp.count++
	sp.pending++
	every := ackEvery
	if sp.count < earlyPackets {
		every = ackEveryEarly
	}
	if prompt || !inOrder || sp.pending >= every {
		sp.ackNow = true
	} else if sp.ackAt.IsZero() {
		sp.ackAt = now.Add(maxAckDelay)
	}
}

// forget drops the n lowest spans.
func (sp *space) forget(n int) {
	sp.floor = max(sp.floor, sp.recv[n-1].hi)
	sp.recv = append(sp.recv[:0], sp.recv[n:]...)
}

// ackAcked drops what the peer knows that we have received: everything below
// the largest number of an ACK that it has acknowledged (RFC 9000 section
// 13.2.4).
func (sp *space) ackAcked(largest uint64) {
	n := 0
	for n < len(sp.recv)-1 && sp.recv[n].hi <= largest {
		n++
	}
	if n > 0 {
		sp.forget(n)
	}
}

// ackDue reports whether an acknowledgement must be sent even without data.
func (sp *space) ackDue(now time.Time) bool {
	return sp.ackNow || !sp.ackAt.IsZero() && !now.Before(sp.ackAt)
}

// appendAck appends an ACK frame of everything received.
func (sp *space) appendAck(b []byte, now time.Time) []byte {
	sp.ranges = sp.ranges[:0]
	for i := len(sp.recv) - 1; i >= 0 && len(sp.ranges) < maxSentRanges; i-- {
		sp.ranges = append(sp.ranges, wire.AckRange{Low: sp.recv[i].lo, High: sp.recv[i].hi - 1})
	}
	sp.pending, sp.ackNow, sp.ackAt = 0, false, time.Time{}
	return wire.AppendAck(b, sp.ranges, now.Sub(sp.largestAt))
}

// drop forgets a space whose keys are discarded.
func (sp *space) drop() {
	sp.out.free()
	sp.in.free()
	*sp = space{dropped: true, next: sp.next}
}
