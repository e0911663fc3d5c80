package session

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

// A Direct is a path to one address, such as a udp.Flow. A session keeps it
// while it knows the path, and uses it once the peer has proven to be there.
type Direct interface {
	Path
	Addr() netip.AddrPort
	// Validated says that the peer has proven to receive there.
	Validated()
	// SetMaxPacket changes MaxPacket to what was found to get through.
	SetMaxPacket(n int)
	// Bind says who has proven to be there.
	Bind(id identity.NodeID)
	// Keep makes what comes from the address come on this very path until
	// Forget was called as often. It reports false if there is no room.
	Keep() bool
	Forget()
	// Bytes returns how many bytes came from the address and were sent there.
	Bytes() (in, out uint64)
}

// A PathState is how a direct path stands.
type PathState uint8

// The states of a direct path. A route is always PathValidated: what it leads
// to, the packets themselves prove.
//
//	probing --> validated <--> suspect
//	   \__> failed <______________/
const (
	PathProbing   PathState = iota // has not answered yet
	PathValidated                  // has answered with packets that are large enough for use
	PathSuspect                    // does not answer any more; asked again
	PathFailed                     // given up, unless something comes from there
)

func (s PathState) String() string {
	switch s {
	case PathProbing:
		return "probing"
	case PathValidated:
		return "validated"
	case PathSuspect:
		return "suspect"
	case PathFailed:
		return "failed"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// A PathStatus describes one path of a session.
type PathStatus struct {
	Path        Path
	Addr        netip.AddrPort // of a direct path
	Active      bool           // data are sent here
	State       PathState
	RTT, MinRTT time.Duration // zero: not measured
	Sent, Lost  uint64        // packets in need of an acknowledgement
	In, Out     uint64        // bytes; of a direct path those of all sessions to its address
	MaxPacket   int           // bytes
	Since       time.Time     // when State began
	Reason      string        // why it is not in use; "" if it is
}

// A PathEventKind says what happened to a path.
type PathEventKind uint8

// What may happen to a path.
const (
	PathUp    PathEventKind = iota // a direct path was validated, again perhaps
	PathMoved                      // data are sent on another path from now on
	PathDied                       // a direct path that was validated has failed
)

func (k PathEventKind) String() string {
	switch k {
	case PathUp:
		return "validated"
	case PathMoved:
		return "moved"
	case PathDied:
		return "died"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// A PathEvent tells of a path of a session.
type PathEvent struct {
	Kind     PathEventKind
	Path     Direct // PathUp, PathDied
	From, To Path   // PathMoved; From may be gone
	Reason   string // PathMoved, PathDied: why
}

// Challenge asks the peer once for an answer on p. One that comes within 10 s
// makes p a path that the session may use. It does nothing on a session that is
// not established or has ended, or if it knows 16 validated paths already.
func (s *Session) Challenge(p Direct) {
	s.do(func(now time.Time) {
		if s.state != established || s.closing != nil {
			return
		}
		if d := s.paths.find(p); d != nil {
			s.askAgain(now, d)
		} else if d := s.addPath(now, p); d != nil {
			s.ask(now, d, 0)
		}
	})
}

// DropPath makes the session forget p, whose local end is gone.
func (s *Session) DropPath(p Direct) {
	s.do(func(now time.Time) {
		if d := s.paths.find(p); d != nil {
			s.removePath(now, d, "it was dropped")
		}
	})
}

// Recheck tells that the local network has changed: no direct path is trusted
// before it answers anew, and all are asked now.
func (s *Session) Recheck() { s.do(s.recheck) }

// Paths describes the paths of the session: the route first, then the direct
// ones. A session that has ended has none.
func (s *Session) Paths() []PathStatus {
	answer := make(chan []PathStatus, 1)
	s.do(func(now time.Time) { answer <- s.pathStatus(now) })
	select {
	case all := <-answer:
		return all
	case <-s.done:
		return nil
	}
}

func (s *Session) pathStatus(now time.Time) []PathStatus {
	t := &s.paths
	route := PathStatus{
		Path: t.route, Active: t.active == nil, State: PathValidated, MaxPacket: t.route.MaxPacket(),
		In: t.routeIn, Out: t.routeOut, Since: s.started,
	}
	switch {
	case t.active == nil:
	case t.route.Ready(s):
		route.Reason = "a direct path is in use"
	default:
		route.Reason = "there is no way to a relay, or its queue is full"
	}
	if r := t.routeRec; r != nil {
		c := r.Counts()
		route.RTT, route.MinRTT, route.Sent, route.Lost = r.SmoothedRTT(), r.MinRTT(), c.Sent, c.Lost
	}
	all := append(make([]PathStatus, 0, 1+len(t.list)), route)
	for _, d := range t.list {
		all = append(all, d.status(now, t))
	}
	return all
}

func (d *pathEntry) status(now time.Time, t *pathTable) PathStatus {
	st := PathStatus{
		Path: d.via, Addr: d.via.Addr(), Active: d == t.active, State: d.state,
		RTT: d.latest, MinRTT: d.rtt(), MaxPacket: max(d.mtu.good, d.via.MaxPacket()), Since: d.since,
	}
	st.In, st.Out = d.via.Bytes()
	if d.rec != nil {
		c := d.rec.Counts()
		st.Sent, st.Lost = c.Sent, c.Lost
		if d.rec.HasRTT() && st.Active {
			st.RTT, st.MinRTT = d.rec.SmoothedRTT(), min(d.rec.MinRTT(), d.rtt())
		}
	}
	switch {
	case st.Active && d.state == PathValidated:
	case d.reason != "":
		st.Reason = d.reason
	case d.state == PathProbing:
		st.Reason = "it has not answered yet"
	case now.Before(d.held):
		st.Reason = "it failed lately, and is given time to prove itself"
	case t.active == nil:
		st.Reason = fmt.Sprintf("its round trip of %v is much longer than the route's", d.rtt())
	default:
		st.Reason = fmt.Sprintf("%v is in use and not much slower", t.active.via)
	}
	return st
}
