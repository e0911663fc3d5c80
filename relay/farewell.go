package relay

import (
	"time"

	"github.com/weftnet/weft/internal/session"
	"github.com/weftnet/weft/internal/switchboard"
)

// farewell is how long a node that is not served has its link, which is bound to
// nobody, so that it can be told why.
const farewell = time.Second

// notServed are the reasons for which nodes are not served that have proven who
// they are, and are told so.
var notServed = []error{errNotAllowed, errNoRole, errMeshFull}

// dismiss ends a link soon, at the latest.
func (r *relay) dismiss(port *switchboard.Port, why error) {
	t := time.NewTimer(farewell)
	defer t.Stop()
	select {
	case <-t.C:
	case <-port.Done():
	case <-r.ctx.Done():
	}
	port.CloseWithError(why)
}

// refuse ends a new session if it came over a link whose node is not served, such
// that the node knows why, and leaves it to the node to end the link. It reports
// whether it does. r.mu is held.
func (r *relay) refuse(s *session.Session) bool {
	port, ok := s.Path().(*switchboard.Port)
	if !ok {
		return false
	}
	m := r.members[port]
	if m == nil || m.refused == nil {
		return false
	}
	why := m.refused
	r.wg.Go(func() { _ = s.CloseWithError(session.CodeRefused, why.Error()) })
	return true
}
