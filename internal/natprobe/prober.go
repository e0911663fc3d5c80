package natprobe

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// DefaultKeepAlive is how often a mapping is used. RFC 4787 has it live for
	// two minutes at least, real ones live for 30 s.
	DefaultKeepAlive = 25 * time.Second
	// MinKeepAlive is what the interval falls to where mappings do not live
	// that long.
	MinKeepAlive = 10 * time.Second
	// MaxServers bounds the servers that are asked: more tell nothing new.
	MaxServers = 8
	// maxProbes bounds the unanswered requests: for each server one, one to its
	// second port or one that is to be answered from elsewhere, and one spare.
	maxProbes = 3 * MaxServers
)

// Config configures a [Prober].
type Config struct {
	// Send sends a datagram, of which it keeps nothing, from the socket. It is
	// called from one goroutine and must not wait long; an error is taken to
	// mean that the address cannot be reached. Required.
	Send func(b []byte, to netip.AddrPort) error
	// OnChange is told each result that differs from the last one. It is called
	// from one goroutine, which asks nobody meanwhile, and must not call Close.
	// May be nil.
	OnChange func(Result)
	// KeepAlive is how often a server is asked to keep the mapping. Zero:
	// DefaultKeepAlive. Negative: never; then changes go unnoticed until
	// Refresh.
	KeepAlive time.Duration
	// Logger is told what was found. Nil is silent.
	Logger logrus.FieldLogger
}

// Counters are what a prober did so far, in datagrams.
type Counters struct {
	Requests, Answers uint64
	SendErrors        uint64 // requests that Send refused
	Malformed         uint64 // given to Handle, and no answers at all
	Stray             uint64 // answers to nothing that was asked, or from elsewhere
}

// A Prober asks STUN servers. New makes one, and Close ends it. All methods are
// safe for concurrent use.
type Prober struct {
	cfg     Config
	answers chan response // its room is for every probe, so that Handle need not wait
	servers chan []netip.AddrPort
	refresh chan struct{}
	closing chan struct{}
	close   func()
	wg      sync.WaitGroup
	asked   ledger
	result  atomic.Pointer[Result]

	requests, answered, sendErrors, malformed, stray atomic.Uint64
}

// New returns a prober that has no servers yet.
func New(cfg Config) *Prober {
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = DefaultKeepAlive
	}
	p := &Prober{
		cfg:     cfg,
		answers: make(chan response, maxProbes),
		servers: make(chan []netip.AddrPort, 1),
		refresh: make(chan struct{}, 1),
		closing: make(chan struct{}),
		asked:   ledger{ids: make(map[txID]netip.AddrPort, maxProbes)},
	}
	p.close = sync.OnceFunc(func() { close(p.closing) })
	p.result.Store(&Result{})
	p.wg.Go(p.run)
	return p
}

// SetServers replaces the servers and asks those that are new. Addresses that
// cannot be servers are left out, as are those beyond MaxServers. Without
// servers nothing is asked and nothing known.
func (p *Prober) SetServers(servers []netip.AddrPort) {
	servers = usable(servers)
	for {
		select {
		case p.servers <- servers:
			return
		default:
		}
		select { // the latest wins
		case <-p.servers:
		default:
		}
	}
}

// usable returns the addresses that can be servers, once each.
func usable(servers []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range servers {
		s = netip.AddrPortFrom(s.Addr().Unmap(), s.Port())
		a := s.Addr()
		if s.Port() != 0 && a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !slices.Contains(out, s) && len(out) < MaxServers {
			out = append(out, s)
		}
	}
	return out
}

// Refresh asks all servers again, because the network may have changed.
func (p *Prober) Refresh() {
	select {
	case p.refresh <- struct{}{}:
	default: // one is due already
	}
}

// Handle takes a datagram that came to the socket, of which it keeps nothing.
// It never waits, and reports whether the datagram was an answer.
func (p *Prober) Handle(from netip.AddrPort, b []byte) bool {
	r, err := decode(b)
	if err != nil {
		p.malformed.Add(1)
		return false
	}
	if !p.asked.take(r.id, netip.AddrPortFrom(from.Addr().Unmap(), from.Port())) {
		p.stray.Add(1)
		return false
	}
	p.answered.Add(1)
	select {
	case p.answers <- r:
	default: // requests that were given up make room for more of them than there is; asked again
	}
	return true
}

// Result returns the latest result. Its slices must not be changed.
func (p *Prober) Result() Result { return *p.result.Load() }

// Counters returns a snapshot.
func (p *Prober) Counters() Counters {
	return Counters{
		Requests:   p.requests.Load(),
		Answers:    p.answered.Load(),
		SendErrors: p.sendErrors.Load(),
		Malformed:  p.malformed.Load(),
		Stray:      p.stray.Load(),
	}
}

// Close ends the prober; no callback runs when it returns.
func (p *Prober) Close() error {
	p.close()
	p.wg.Wait()
	return nil
}

// run owns the rounds: it hands them what happens, sends what they say, and
// tells of their results.
func (p *Prober) run() {
	r := newRounds(p.cfg.KeepAlive, &p.asked, newID)
	defer p.asked.clear()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		p.sendAll(r, now)
		p.publish(r.result(now))
		timer.Reset(r.next(now))
		select {
		case <-p.closing:
			return
		case servers := <-p.servers:
			r.setServers(time.Now(), servers)
		case <-p.refresh:
			r.refresh(time.Now())
		case a := <-p.answers:
			r.answer(time.Now(), a)
		case <-timer.C:
			r.fire(time.Now())
		}
	}
}

// sendAll sends the requests that are due.
func (p *Prober) sendAll(r *rounds, now time.Time) {
	for {
		b, to, ok := r.due(now)
		if !ok {
			return
		}
		p.requests.Add(1)
		if err := p.cfg.Send(b, to); err != nil {
			p.sendErrors.Add(1)
			r.unreachable(now, to)
		}
	}
}

func (p *Prober) publish(res Result) {
	if last := p.result.Load(); res.equal(last) {
		return
	}
	p.result.Store(&res)
	if log := p.cfg.Logger; log != nil {
		log.WithFields(logrus.Fields{"reflexive": res.Reflexive, "mapping": res.Mapping, "filtering": res.Filtering, "step": res.Step}).
			Debug("natprobe: addresses as servers see them")
	}
	if p.cfg.OnChange != nil {
		p.cfg.OnChange(res)
	}
}

func newID() (id txID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// A ledger is what has been asked and who is to answer. The reader looks
// answers up in it, so that forged ones cost nobody else anything.
type ledger struct {
	mu  sync.Mutex
	ids map[txID]netip.AddrPort
}

func (l *ledger) add(id txID, from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids[id] = from
}

func (l *ledger) drop(id txID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ids, id)
}

func (l *ledger) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.ids)
}

// take removes a request that was answered, and reports whether there was one
// that from was to answer.
func (l *ledger) take(id txID, from netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	want, ok := l.ids[id]
	if !ok || want != from {
		return false
	}
	delete(l.ids, id)
	return true
}
