package session

import (
	"math/rand/v2"
	"time"

	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/wire"
)

const (
	// maxResponses bounds the PATH_RESPONSEs that wait to be sent.
	maxResponses = 16
	// maxAsked is how many unanswered challenges of a path are remembered, and
	// answerWithin for how long.
	maxAsked     = 8
	answerWithin = 10 * time.Second
	// idleAfter is how long the path in use may be silent before it is asked,
	// which also keeps NATs from forgetting it; the others are asked every
	// spareAfter.
	idleAfter  = 10 * time.Second
	spareAfter = 25 * time.Second
	// idleTries challenges, idleWait apart, go unanswered before a silent path
	// is left: it is noticed within 15 s that it is dead.
	idleTries = 3
	idleWait  = time.Second
	// A suspect path is asked suspectTries times, first after suspectWait, then
	// with twice the wait, at most suspectSlow.
	suspectTries = 4
	suspectWait  = 500 * time.Millisecond
	suspectSlow  = 5 * time.Second
)

// asked is a challenge that is not answered yet.
type asked struct {
	data uint64
	at   time.Time
	size int // of the packet; 0: as short as it gets
}

// A checkKind says why a path is challenged.
type checkKind uint8

const (
	checkNone    checkKind = iota
	checkProbe             // is the peer there at all?
	checkIdle              // nothing came for long
	checkDoubt             // what was sent there is not acknowledged, or the peer has left it
	checkSuspect           // it was left
)

// A check is a series of challenges until one is answered.
type check struct {
	kind  checkKind
	tries int // left
	wait  time.Duration
	next  time.Time
}

// A response is a PATH_RESPONSE that is owed, on the path of the challenge.
type response struct {
	data uint64
	via  Path
}

// sendResponses sends the PATH_RESPONSEs that are owed.
func (s *Session) sendResponses(now time.Time) {
	for _, r := range s.responses {
		if r.via != nil && s.closing == nil {
			s.sendProbe(now, r.via, wire.TypePathResponse, r.data, 0)
		}
	}
	clear(s.responses)
	s.responses = s.responses[:0]
}

// sendProbe sends a packet with one path frame, padded to size bytes, on a path
// that need not be the one in use. It is in no flight, and nobody acknowledges
// it.
func (s *Session) sendProbe(now time.Time, via Path, kind uint8, data uint64, size int) {
	p := &s.plan
	p.reset()
	p.probing = true
	p.ctrl = wire.AppendPath(p.ctrl, kind, data)
	if pad := size - wire.ShortHeaderLen - handshake.Overhead - len(p.ctrl); pad > 0 {
		p.ctrl = append(p.ctrl, make([]byte, pad)...)
	}
	s.transmit(s.sealApp(now), via)
	if size > maxPlan {
		p.ctrl = nil // not worth keeping
	}
	p.reset()
}

// maxPlan is how many bytes of a plan are kept for the next one.
const maxPlan = 16 << 10

// ask sends a challenge in a packet of size bytes.
func (s *Session) ask(now time.Time, d *pathEntry, size int) {
	c := asked{data: rand.Uint64(), at: now, size: size}
	d.asked[d.next%maxAsked] = c
	d.next++
	d.tried = now
	if d == s.paths.active && s.awaiting.IsZero() {
		s.awaiting = now
	}
	s.sendProbe(now, d.via, wire.TypePathChallenge, c.data, size)
}

// askAgain challenges a path that is known, because somebody thinks that it
// may work.
func (s *Session) askAgain(now time.Time, d *pathEntry) {
	if d.state == PathFailed {
		d.set(now, PathProbing, "")
	}
	s.ask(now, d, d.askSize())
}

// askSize is the size of a challenge that counts: an address that has proven
// nothing is sent little, others must show that they take what every path does.
func (d *pathEntry) askSize() int {
	if d.proven {
		return wire.MinPacket
	}
	return 0
}

// startCheck begins a series of challenges, the first one now.
func (s *Session) startCheck(now time.Time, d *pathEntry, c check) {
	c.next = now
	d.check = c
	s.stepCheck(now, d)
}

// stepCheck sends the next challenge of a check, or draws the conclusion.
func (s *Session) stepCheck(now time.Time, d *pathEntry) {
	c := &d.check
	if c.tries == 0 {
		s.unanswered(now, d)
		return
	}
	c.tries--
	c.next = now.Add(c.wait)
	switch c.kind {
	case checkProbe:
		c.wait *= 2
		s.ask(now, d, d.askSize())
	case checkIdle:
		s.ask(now, d, 0)
	case checkDoubt:
		s.ask(now, d, wire.MinPacket)
	case checkSuspect:
		c.wait = min(2*c.wait, suspectSlow)
		s.ask(now, d, wire.MinPacket)
	}
}

// unanswered ends a check to which no answer came.
func (s *Session) unanswered(now time.Time, d *pathEntry) {
	kind := d.check.kind
	d.check = check{}
	switch {
	case kind == checkIdle:
		s.suspect(now, d, "it has been silent")
	case kind == checkDoubt:
		s.suspect(now, d, "it does not answer")
	case d == s.paths.active: // there is no other
		d.check = check{kind: checkSuspect, tries: 1, wait: suspectSlow, next: now.Add(suspectSlow)}
		s.ask(now, d, wire.MinPacket)
	default:
		s.failPath(now, d)
	}
}

func (s *Session) failPath(now time.Time, d *pathEntry) {
	died := d.state == PathSuspect
	if d.reason == "" {
		d.reason = "it does not answer"
	}
	d.set(now, PathFailed, d.reason)
	if died {
		s.tell(PathEvent{Kind: PathDied, Path: d.via, Reason: d.reason})
	}
}

// answered handles a PATH_RESPONSE. Only one on the path of the challenge
// counts: it shows that both directions work.
func (s *Session) answered(now time.Time, data uint64, via Path) {
	if d := s.paths.find(via); d != nil {
		for i := range d.asked {
			if c := d.asked[i]; !c.at.IsZero() && c.data == data && now.Sub(c.at) <= answerWithin {
				d.asked[i] = asked{}
				s.answer(now, d, c)
				return
			}
		}
	}
	if !s.validated(now, data) {
		s.count.AnswersIgnored++
	}
}

// answer draws the conclusions from an answer to challenge c on d.
func (s *Session) answer(now time.Time, d *pathEntry, c asked) {
	if c.size <= wire.MinPacket {
		d.sample(now.Sub(c.at))
	}
	if !d.proven {
		d.proven = true
		d.via.Validated()
	}
	if d == s.paths.active {
		s.det.Alive(now)
	}
	if c.size > wire.MinPacket {
		s.mtuAnswered(now, d, c.size)
	}
	switch {
	case d.state == PathValidated:
		d.check = check{}
	case c.size >= wire.MinPacket:
		d.check = check{}
		s.up(now, d)
	case d.state == PathProbing:
		// The peer is there. Does the path take what every path must?
		s.startCheck(now, d, check{kind: checkProbe, tries: validationTries, wait: s.answerTime(d)})
	}
}

// answerTime is how long an answer on d may take.
func (s *Session) answerTime(d *pathEntry) time.Duration {
	return min(max(d.rtt()*3/2+50*time.Millisecond, 100*time.Millisecond), time.Second)
}

// up makes a path one that may be used.
func (s *Session) up(now time.Time, d *pathEntry) {
	d.set(now, PathValidated, "")
	d.via.Bind(s.peerID)
	d.heard = now
	s.tell(PathEvent{Kind: PathUp, Path: d.via})
}

// checkPaths does what is due on direct paths.
func (s *Session) checkPaths(now time.Time) {
	t := &s.paths
	for i := 0; i < len(t.list); i++ {
		d := t.list[i]
		if at := s.pathDue(d); at.IsZero() || now.Before(at) {
			continue
		}
		switch {
		case d.check.kind != checkNone:
			s.stepCheck(now, d)
		case d.state == PathFailed:
			s.removePath(now, d, "")
			i--
		case d.state == PathProbing:
			s.failPath(now, d)
		case d == t.active && !s.doubtAt(d).IsZero() && !now.Before(s.doubtAt(d)):
			s.doubt(now, d)
		default:
			s.startCheck(now, d, check{kind: checkIdle, tries: idleTries, wait: idleWait})
		}
	}
}

// pathDue is when something must be done about a path.
func (s *Session) pathDue(d *pathEntry) time.Time {
	switch {
	case d.check.kind != checkNone:
		return d.check.next
	case d.state == PathFailed:
		return d.since.Add(pathKept)
	case d.state == PathProbing:
		return d.tried.Add(answerWithin)
	case s.paths.active == nil: // the round trip that made it worse may have been that of a queue
		return d.tried.Add(idleAfter)
	case d != s.paths.active:
		// Whatever comes from there: its round trip may be another by now.
		return d.tried.Add(spareAfter)
	}
	due := d.heard.Add(idleAfter)
	if at := s.doubtAt(d); !at.IsZero() && at.Before(due) {
		due = at
	}
	return due
}
