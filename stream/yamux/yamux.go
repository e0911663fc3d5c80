// Package yamux is the reliability layer that multiplexes with
// hashicorp/yamux over one stream of the session: for networks whose nodes
// speak it already, and to compare with. A loss stalls all conns of the session
// until it is repaired, and there are windows for each stream but none for the
// whole, so that a peer may make a node hold [Layer.Window] bytes for each of
// [MaxStreams] streams. The native layer has neither limit.
//
// yamux streams are not conns yet. They have no refusal, no half-close that
// outlasts a timer, no reset with a code; the end of a session looks like
// io.EOF; and while the path is congested, neither deadlines nor Close
// interrupt a call. This package keeps yamux to what it is good at, numbered
// streams of bytes with windows:
//
//   - The first yamux stream carries control messages about all others: open,
//     accept, fin, stop and reset (see control.go). Being apart from the data,
//     they reach a peer whose application does not read. The other streams
//     carry the application's bytes and nothing else.
//   - The [carrier] between yamux and the session's stream gives yamux whole
//     frames only and takes what it writes without blocking. Writers wait for
//     room before they call yamux, where a deadline can reach them.
//
// yamux keeps timers in a package-level pool: never run it inside a
// testing/synctest bubble.
package yamux

import (
	"time"

	hyamux "github.com/hashicorp/yamux"
	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/stream"
)

// MaxStreams is how many streams both nodes together may have open. Both ends
// must agree on it.
const MaxStreams = 4096

const (
	defaultWindow = 4 << 20
	minWindow     = 256 << 10 // where every yamux stream starts

	// never is for timers of yamux that the session makes superfluous: it
	// knows better when a peer is gone.
	never = 1000 * time.Hour
)

// Layer is the yamux layer. The zero value has the defaults.
type Layer struct {
	// Window is how many bytes of one conn may be unread, and the bound of
	// its throughput: a window each round trip. If zero, 4 MiB; at least
	// 256 KiB and at most 1 GiB.
	Window int
}

var _ stream.Layer = Layer{}

// Name returns "yamux".
func (Layer) Name() string { return "yamux" }

// Start implements [stream.Layer].
func (l Layer) Start(s stream.Session, log logrus.FieldLogger) (stream.Mux, error) {
	m := newMux(s, l.config(log))
	m.wg.Go(m.run)
	return m, nil
}

// config turns off what the session or this package does itself: keep-alive,
// timeouts, and the printing to stderr.
func (l Layer) config(log logrus.FieldLogger) *hyamux.Config {
	window := l.Window
	if window == 0 {
		window = defaultWindow
	}
	return &hyamux.Config{
		// Room for every stream that a peer may have open, so that yamux
		// itself never refuses one; Open sees to it.
		AcceptBacklog:          2 * MaxStreams,
		EnableKeepAlive:        false,
		KeepAliveInterval:      never,
		ConnectionWriteTimeout: never,
		MaxStreamWindowSize:    uint32(min(max(window, minWindow), 1<<30)),
		StreamOpenTimeout:      0, // none
		StreamCloseTimeout:     0, // none: it would cut half-closed conns off
		Logger:                 debugLogger{log},
	}
}

// debugLogger takes all that yamux has to say at debug level: what matters
// comes back as an error, too.
type debugLogger struct{ log logrus.FieldLogger }

func (l debugLogger) Print(v ...any)                 { l.log.Debug(v...) }
func (l debugLogger) Printf(format string, v ...any) { l.log.Debugf(format, v...) }
func (l debugLogger) Println(v ...any)               { l.log.Debugln(v...) }
