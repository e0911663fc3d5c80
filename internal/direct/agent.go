package direct

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/weftnet/weft/internal/times"
)

// When what is sent. The pause lets the entries expire that unanswered probes
// have made in a NAT (30 s in Linux), which else keep the next round from
// working too.
var (
	// schedule is when, after a round has begun, each address gets a probe.
	schedule = [...]time.Duration{
		0, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond,
		400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond,
	}
	// pauses are those after rounds that failed; the last one repeats.
	pauses = [...]time.Duration{
		35 * time.Second, 35 * time.Second, 70 * time.Second, 140 * time.Second,
		280 * time.Second, 560 * time.Second, 600 * time.Second,
	}
)

const (
	// answerTime is how long after the last probe a round may still succeed.
	answerTime = time.Second
	// announceEvery is how often a side tells its candidates at most.
	announceEvery = time.Second
	// lateLeader is how much longer the side waits whose turn it is not.
	lateLeader = 5 * time.Second
	// unstableTime is how long a direct path must have worked for its end to be
	// followed by a new round at once; after a shorter life the wait doubles.
	unstableTime = time.Minute
	// followBurst and followEvery bound the rounds that a peer may make this side
	// take part in.
	followBurst = 4
	followEvery = 10 * time.Second
	// probeBurst and probeEvery bound the probes, whatever the peer does: two whole
	// rounds at once, and a whole one in each pause.
	probeBurst = 2 * MaxCandidates * len(schedule)
	probeEvery = 250 * time.Millisecond
	// maxDelay bounds how much later than the first the other side begins,
	// whatever the relay's round trip.
	maxDelay = 2 * time.Second
	// maxDials is to how many of the peer's addresses a round may lead that it
	// accepts links at.
	maxDials = 4
	// lateDial is how much later the server dials if each side could dial the
	// other, so that they do not make two links.
	lateDial = 5 * time.Second
	// hardPause is the pause of those who cannot get together as far as is known.
	hardPause = 10 * time.Minute
)

// A Config says what an agent calls and who it is. Its functions are called from
// within the agent's methods and must not call those.
type Config struct {
	// Client is true on exactly one of the two sides.
	Client bool
	// RTT returns the round trip over the relay. Required.
	RTT func() time.Duration
	// Announce sends the encoded message to the peer, in place of earlier ones
	// that it has not got yet. Required.
	Announce func(b []byte)
	// Probe sends one path challenge to addr, whose answer makes a path. Required.
	Probe func(addr netip.AddrPort)
	// Dial begins to make a link to one of the peer's addresses, at most 4, after
	// a round that has found no path. Nil: there are no links.
	Dial func(addrs []netip.AddrPort)
	// Rand is for the jitter of pauses. Nil: the runtime's.
	Rand *rand.Rand
}

// Local is what a node tells of itself.
type Local struct {
	Candidates []Candidate // the most promising first
	Mapping    Mapping
	// Loopback says that the peer may be on this host, so that its loopback
	// addresses are worth a probe.
	Loopback bool
}

// An Agent finds direct paths to one peer. It is not safe for concurrent use.
type Agent struct {
	cfg    Config
	local  Local
	remote Message
	known  bool // remote is what the peer has told

	round    uint32    // the latest that either side has begun
	start    time.Time // when the probes of the round begin; zero: it is over
	sent     int       // how many of its schedule are sent
	leadAt   time.Time // when this side begins a round; zero: it has no reason
	tellAt   time.Time // when the candidates are told; zero: they are
	toldAt   time.Time // when they were last
	failures int       // rounds that failed, since the network changed last

	connected   bool
	connectedAt time.Time
	unstable    int // direct paths in a row that lived for a short time

	linked   bool      // there is a link to the peer
	linkedAt time.Time // since when
	dialAt   time.Time // when this side dials the peer; zero: it has no reason

	follows   int // rounds that the peer may begin
	followsAt time.Time
	ignored   uint64 // rounds of the peer in which this side took no part

	probes   int // that may be sent
	probesAt time.Time
	withheld uint64 // probes beyond that
}

// New returns an agent that knows no addresses.
func New(cfg Config) *Agent { return &Agent{cfg: cfg, follows: followBurst, probes: probeBurst} }

// SetLocal says what the node's addresses are now. The peer is told within
// announceEvery, and a new round begins.
func (a *Agent) SetLocal(now time.Time, l Local) {
	l.Candidates = slices.Clone(l.Candidates[:min(len(l.Candidates), MaxCandidates)])
	if !a.toldAt.IsZero() && slices.Equal(l.Candidates, a.local.Candidates) && l.Mapping == a.local.Mapping && l.Loopback == a.local.Loopback {
		return
	}
	a.local = l
	a.tellAt = times.Earliest(a.tellAt, times.Later(now, a.toldAt.Add(announceEvery)))
	a.failures = 0
	if a.known && !a.connected {
		a.leadAt = a.tellAt
	}
}

// Receive takes what the peer has told. An error says that it was not
// understood, and changes nothing.
func (a *Agent) Receive(now time.Time, b []byte) error {
	m, err := Parse(b)
	if err != nil {
		return err
	}
	first := !a.known
	changed := !slices.Equal(m.Candidates, a.remote.Candidates)
	a.remote, a.known = m, true
	switch {
	case m.Round > a.round:
		a.round = m.Round
		a.leadAt = time.Time{}
		a.follow(now)
	case first && a.cfg.Client && !a.connected:
		a.leadAt = now
	case changed && !a.connected && a.start.IsZero():
		a.leadAt = times.Earliest(a.leadAt, now.Add(lateLeader)) // the peer should, and sooner
	}
	return nil
}

// follow takes part in a round that the peer has begun.
func (a *Agent) follow(now time.Time) {
	refill(&a.follows, &a.followsAt, now, followBurst, followEvery)
	if a.follows == 0 {
		a.ignored++
		a.fail(now)
		return
	}
	a.follows--
	var delay time.Duration
	if !together(a.round) {
		delay = 2 * a.cfg.RTT()
	}
	a.begin(now.Add(min(delay, maxDelay)))
}

// refill adds to what may be done one for each interval that has passed.
func refill(n *int, at *time.Time, now time.Time, burst int, every time.Duration) {
	if *n == burst {
		*at = now
		return
	}
	more := int(now.Sub(*at) / every)
	*n = min(*n+more, burst)
	*at = at.Add(time.Duration(more) * every)
}

// lead begins a round and tells the peer.
func (a *Agent) lead(now time.Time) {
	a.leadAt = time.Time{}
	if a.round == math.MaxUint32 || len(a.targets()) == 0 && !a.linkable() {
		a.fail(now)
		return
	}
	a.round++
	a.tell(now)
	var delay time.Duration
	if together(a.round) {
		delay = a.cfg.RTT() / 2 // when the peer hears of it
	}
	a.begin(now.Add(min(delay, maxDelay)))
}

// begin schedules the probes of a round, in place of those of an earlier one.
func (a *Agent) begin(at time.Time) { a.start, a.sent = at, 0 }

// together reports whether both sides of a round begin at once. In the two
// rounds after that, one begins two round trips before the other.
func together(round uint32) bool { return round%3 == 1 }

// leads reports whether it is this side's turn to begin a round.
func (a *Agent) leads(round uint32) bool { return a.cfg.Client == (round%3 != 2) }

// Connected says whether packets to the peer take a direct path now.
func (a *Agent) Connected(now time.Time, connected bool) {
	if connected == a.connected {
		return
	}
	a.connected = connected
	if connected {
		a.connectedAt = now
		a.leadAt, a.dialAt = time.Time{}, time.Time{}
		return
	}
	a.broken(now, a.connectedAt)
}

// Linked says whether there is a link to the peer now. Rounds go on meanwhile,
// for a path that is better.
func (a *Agent) Linked(now time.Time, linked bool) {
	if linked == a.linked {
		return
	}
	a.linked, a.dialAt = linked, time.Time{}
	switch {
	case linked:
		a.linkedAt = now
	case !a.connected:
		a.broken(now, a.linkedAt)
	}
}

// broken chooses when the next round begins after the end of what had worked
// since a time.
func (a *Agent) broken(now, since time.Time) {
	if now.Sub(since) >= unstableTime {
		a.unstable, a.failures = 0, 0
	}
	wait := min(time.Duration(1<<min(a.unstable, 20))*time.Second, hardPause)
	if a.unstable == 0 {
		wait = 0
	}
	a.unstable++
	a.leadAt = now.Add(wait)
}

// Restart says that the network has changed, so that what failed may work now.
func (a *Agent) Restart(now time.Time) {
	a.failures, a.unstable = 0, 0
	if a.known && !a.connected {
		a.leadAt = times.Later(now, a.toldAt.Add(announceEvery))
	}
}

// Advance does what is due and returns when to call it next, zero if nothing
// will be due by itself.
func (a *Agent) Advance(now time.Time) time.Time {
	if due(a.leadAt, now) {
		a.lead(now)
	}
	if due(a.tellAt, now) {
		a.tell(now)
	}
	a.probe(now)
	if due(a.dialAt, now) {
		a.dialAt = time.Time{}
		a.cfg.Dial(a.links())
	}
	next := times.Earliest(times.Earliest(a.leadAt, a.tellAt), a.dialAt)
	if !a.start.IsZero() {
		next = times.Earliest(next, a.step())
	}
	return next
}

func (a *Agent) tell(now time.Time) {
	a.tellAt, a.toldAt = time.Time{}, now
	m := Message{Round: a.round, Mapping: a.local.Mapping, Candidates: a.local.Candidates}
	a.cfg.Announce(m.Append(nil))
}

// step is when the round goes on: with the next probes, or its end.
func (a *Agent) step() time.Time {
	if a.sent < len(schedule) {
		return a.start.Add(schedule[a.sent])
	}
	return a.start.Add(schedule[len(schedule)-1] + answerTime)
}

// probe sends the probes of the round that are due. Once there is a path, the
// peer's own challenges are answered by it, and no more probes are needed.
func (a *Agent) probe(now time.Time) {
	for !a.start.IsZero() && due(a.step(), now) {
		switch {
		case a.connected:
			a.start = time.Time{}
		case a.sent < len(schedule):
			a.sent++
			a.probeAll(now)
		default:
			a.start = time.Time{}
			a.planDial(now)
			a.fail(now)
		}
	}
}

// planDial chooses when this side dials the peer after a round without success.
func (a *Agent) planDial(now time.Time) {
	if a.linked || len(a.links()) == 0 {
		return
	}
	a.dialAt = now
	if !a.cfg.Client && a.accepts() {
		a.dialAt = now.Add(lateDial)
	}
}

// accepts reports whether this side accepts links.
func (a *Agent) accepts() bool {
	return slices.ContainsFunc(a.local.Candidates, func(c Candidate) bool { return c.Kind == TCP })
}

// linkable reports whether a round can lead to a link, of either side's making.
func (a *Agent) linkable() bool { return !a.linked && (len(a.links()) > 0 || a.accepts()) }

// links are the addresses at which the peer accepts links, as many as are
// dialled.
func (a *Agent) links() (out []netip.AddrPort) {
	if a.cfg.Dial == nil {
		return nil
	}
	for _, c := range a.remote.Candidates {
		own := slices.Contains(a.local.Candidates, c)
		if c.Kind == TCP && !own && (a.local.Loopback || !c.Addr.Addr().IsLoopback()) && len(out) < maxDials && !slices.Contains(out, c.Addr) {
			out = append(out, c.Addr)
		}
	}
	return out
}

func (a *Agent) probeAll(now time.Time) {
	refill(&a.probes, &a.probesAt, now, probeBurst, probeEvery)
	for _, addr := range a.targets() {
		if a.probes == 0 {
			a.withheld++
			continue
		}
		a.probes--
		a.cfg.Probe(addr)
	}
}

// fail chooses when the next round begins.
func (a *Agent) fail(now time.Time) {
	if a.connected {
		return
	}
	pause := pauses[min(a.failures, len(pauses)-1)]
	if a.hopeless() && !a.linkable() {
		pause = hardPause
	}
	a.failures++
	if !a.leads(a.round + 1) {
		pause += lateLeader
	}
	a.leadAt = now.Add(pause + a.jitter(pause/10))
}

func (a *Agent) jitter(d time.Duration) time.Duration {
	if a.cfg.Rand == nil {
		return rand.N(d)
	}
	return time.Duration(a.cfg.Rand.Int64N(int64(d)))
}

// targets are the peer's addresses that are worth a probe. Interfaces come first,
// so that what is behind one NAT does not meet outside of it; but before a NAT
// that gives each destination a port, what is outside: the first probe gets the
// port that is foretold first.
func (a *Agent) targets() []netip.AddrPort {
	var out []netip.AddrPort
	order := [][]Kind{{Host}, {Reflexive, Mapped}, {Predicted}}
	if a.local.Mapping.Hard() {
		order = [][]Kind{{Reflexive, Mapped}, {Predicted}, {Host}}
	}
	for _, kinds := range order {
		for _, c := range a.remote.Candidates {
			own := slices.ContainsFunc(a.local.Candidates, func(l Candidate) bool { return l.Kind == Host && l.Addr == c.Addr })
			if slices.Contains(kinds, c.Kind) && !own && (a.local.Loopback || !c.Addr.Addr().IsLoopback()) && !slices.Contains(out, c.Addr) {
				out = append(out, c.Addr)
			}
		}
	}
	return out
}

// hopeless reports whether both NATs show each other unpredictable addresses.
func (a *Agent) hopeless() bool {
	predictable := func(list []Candidate) bool {
		return slices.ContainsFunc(list, func(c Candidate) bool { return c.Kind == Predicted || c.Kind == Mapped })
	}
	return a.local.Mapping.Hard() && a.remote.Mapping.Hard() &&
		!predictable(a.local.Candidates) && !predictable(a.remote.Candidates)
}

// A Status says what an agent knows and does.
type Status struct {
	Remote  []Candidate // of the peer
	Mapping Mapping     // of the peer's NAT
	Round   uint32      // rounds that were begun, by either side
	Next    time.Time   // when this side begins one; zero: it has no reason to
	Ignored uint64      // rounds of the peer in which this side took no part, and probes that were too many
	Reason  string      // why there is no direct path; empty if there is one. A link does not count
}

// Status returns a snapshot.
func (a *Agent) Status() Status {
	return Status{
		Remote: slices.Clone(a.remote.Candidates), Mapping: a.remote.Mapping,
		Round: a.round, Next: a.leadAt, Ignored: a.ignored + a.withheld, Reason: a.reason(),
	}
}

func (a *Agent) reason() string {
	n := len(a.targets()) + len(a.links())
	switch {
	case a.connected:
		return ""
	case !a.known:
		return "the peer has told no addresses"
	case n == 0:
		return "the peer has no address that this node can reach"
	case !a.start.IsZero():
		return fmt.Sprintf("trying the peer's %s", count(n, "address"))
	case a.hopeless() && !a.linkable():
		return "both nodes are behind NATs that give each destination another port"
	case a.round == 0:
		return "waiting to begin"
	}
	return fmt.Sprintf("none of the peer's %s answered in %s%s", count(n, "address"), count(int(a.round), "attempt"), a.obstacle())
}

// obstacle is what is known to be in the way, a clause for the end of a reason;
// empty if nothing is.
func (a *Agent) obstacle() string {
	private := func(c Candidate) bool { return c.Kind == Host && c.Addr.Addr().IsPrivate() }
	switch {
	case a.local.Mapping.Hard():
		return "; this node's NAT gives each destination another port"
	case a.remote.Mapping.Hard():
		return "; the peer's NAT gives each destination another port"
	case !slices.ContainsFunc(a.remote.Candidates, func(c Candidate) bool { return !private(c) }):
		return "; the peer knows of no address outside of its own network"
	}
	return ""
}

// count is "1 attempt" or "2 addresses".
func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case what[len(what)-1] == 's':
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }
