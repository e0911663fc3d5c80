// Package sctp is the reliability layer that runs pion/sctp (RFC 9260) with
// WebRTC data channels (RFC 8831, 8832) over the session's unreliable
// datagrams: one association for each session, one reliable and ordered data
// channel for each conn. Losses are repaired by SCTP, for each conn apart: one
// that waits for a lost packet does not hold up the others.
//
// Choose it where the wire has to be SCTP, or to compare. The native layer is
// the better default: SCTP costs more CPU time for each byte; its packets keep
// for life the size that was right when the association began, 8192 bytes at
// most; and repairs that need its retransmission timer wait for a second.
// There are up to [MaxStreams] conns from each side, but each packet that
// arrives costs time for each conn that is open. An idle association and an
// idle conn cost no timer and no packet.
//
// Channels are not conns yet: they have messages instead of bytes, no limit to
// what a writer may queue, one buffer for all conns that a single reader who
// does not read would fill, no refusal, no half-close and no reset with a code.
// This package adds these:
//
//   - Binary messages carry the bytes of a conn, string messages what is to be
//     said about it (see message.go): accept, fin, stop, reset, and how much
//     the peer may send. What arrives is taken from the association at once,
//     whether somebody reads the conn or not, so that no conn can block
//     another and messages always get through.
//   - The handshake of the association, both INIT chunks, travels in that of
//     the session, and so costs no round trip.
//   - The [carrier] below the association makes a full session block and not
//     lose, splits packets that have become too long for the path, and sees to
//     it that channel numbers are only used again when both directions have
//     been reset (see reset.go).
package sctp

import (
	"errors"
	"fmt"
	"time"

	"github.com/pion/logging"
	psctp "github.com/pion/sctp"
	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/stream"
)

// MaxStreams is how many conns each side may have open or closing: stream
// numbers of SCTP have 16 bits, of which one says who opened it, and 65535 is
// reserved (RFC 8832 section 5.1).
const MaxStreams = 1<<15 - 1

const (
	// startWindow is how many bytes of a conn may be sent before the reader
	// allows more. Both ends must agree on it.
	startWindow   = 256 << 10
	defaultWindow = 4 << 20

	// maxPacket is pion's receive buffer; no packet of SCTP may be longer.
	maxPacket = 8192
	// minPacket is the smallest MTU of the association: what fits a datagram
	// on any path.
	minPacket = 1024

	// receiveBuffer is how much the association may have received and not
	// passed on, and so the bound of what all conns together have in flight: 1
	// Gbit/s with 64 ms of round trip.
	receiveBuffer = 8 << 20
	// minCongestionWindow is small beside what a path takes in the second that
	// SCTP's retransmission timer waits. Below it the session, which has
	// congestion control of its own, decides how fast to send.
	minCongestionWindow = 64 << 10
	// maxTimeout bounds the retransmission timer, which doubles at each
	// timeout. While the path is out, the session blocks the association.
	maxTimeout = 3 * time.Second
	// probeDelay is what a probe for a lost last packet allows for the
	// acknowledgement to be delayed: carrier asks for all at once.
	probeDelay = 20 * time.Millisecond
)

// Layer is the SCTP layer. The zero value has the defaults.
type Layer struct {
	// Window is how many bytes of one conn may be unread, and the bound of its
	// throughput: a window each round trip. A conn begins with 256 KiB and gets
	// there if its reader is quick. If zero, 4 MiB; at least 256 KiB and at most
	// 1 GiB.
	Window int
}

var _ stream.Greeter = Layer{}

// Name returns "sctp".
func (Layer) Name() string { return "sctp" }

// Greeting implements [stream.Greeter]: the INIT chunk of a new association.
func (Layer) Greeting() ([]byte, error) {
	token, err := psctp.GenerateOutOfBandToken(handshakeOptions()...)
	if err != nil {
		return nil, fmt.Errorf("sctp: INIT of a new association: %w", err)
	}
	return token, nil
}

// handshakeOptions are those that the INIT chunk tells.
func handshakeOptions() []psctp.ClientOption {
	return []psctp.ClientOption{
		psctp.WithMaxReceiveBufferSize(receiveBuffer),
		psctp.WithEnableInterleaving(true),
		psctp.WithEnableZeroChecksum(true), // the session authenticates packets
	}
}

var errNoGreeting = errors.New("sctp: the peer's node did not send an INIT chunk in the handshake; both nodes must run compatible releases")

// Start implements [stream.Layer].
func (l Layer) Start(s stream.Session, log logrus.FieldLogger) (stream.Mux, error) {
	own, peers := s.Greetings()
	if len(own) == 0 || len(peers) == 0 {
		return nil, errNoGreeting
	}
	m := newMux(s, min(max(l.Window, startWindow), 1<<30), log)
	if l.Window == 0 {
		m.window = defaultWindow
	}
	assoc, err := psctp.ClientWithOptions(append(handshakeOptions(),
		psctp.WithSNAP(own, peers),
		psctp.WithNetConn(m.carrier),
		psctp.WithName(s.PeerID().String()),
		psctp.WithLoggerFactory(m.log),
		psctp.WithMTU(packetSize(s.MaxDatagram())),
		psctp.WithMaxMessageSize(maxMessage),
		psctp.WithInterleavingOptions(psctp.WithInterleavingRoundRobinScheduler()),
		psctp.WithMinCwnd(minCongestionWindow),
		psctp.WithRTOMax(float64(maxTimeout/time.Millisecond)),
		psctp.WithRACKOptions(psctp.WithRackWCDelAck(probeDelay)),
	)...)
	if err != nil {
		return nil, fmt.Errorf("sctp: the association cannot start: %w", err)
	}
	m.assoc, m.room.association = assoc, assoc
	m.room.update()
	close(m.ready)
	m.wg.Go(m.run)
	m.wg.Go(m.watch)
	return m, nil
}

// packetSize is the size of SCTP's packets on a path with datagrams of up to n
// bytes.
func packetSize(n int) uint32 {
	return uint32(min(max(n-wholeHeader, minPacket), maxPacket))
}

// A logger takes all that pion has to say, at debug level: what matters comes
// back as an error, too. What it says for each packet is at trace level.
type logger struct{ log logrus.FieldLogger }

var (
	_ logging.LoggerFactory = logger{}
	_ logging.LeveledLogger = logger{}
)

func (l logger) NewLogger(string) logging.LeveledLogger { return l }

// tracing reports whether anybody wants to know of each packet.
func (l logger) tracing() bool {
	switch log := l.log.(type) {
	case *logrus.Entry:
		return log.Logger.IsLevelEnabled(logrus.TraceLevel)
	case *logrus.Logger:
		return log.IsLevelEnabled(logrus.TraceLevel)
	}
	return false
}

func (l logger) Trace(msg string) { l.Tracef("%s", msg) }
func (l logger) Tracef(format string, args ...any) {
	if l.tracing() {
		l.log.Debugf(format, args...)
	}
}
func (l logger) Debug(msg string)                  { l.Trace(msg) }
func (l logger) Debugf(format string, args ...any) { l.Tracef(format, args...) }
func (l logger) Info(msg string)                   { l.log.Debug(msg) }
func (l logger) Infof(format string, args ...any)  { l.log.Debugf(format, args...) }
func (l logger) Warn(msg string)                   { l.log.Debug(msg) }
func (l logger) Warnf(format string, args ...any)  { l.log.Debugf(format, args...) }
func (l logger) Error(msg string)                  { l.log.Debug(msg) }
func (l logger) Errorf(format string, args ...any) { l.log.Debugf(format, args...) }
