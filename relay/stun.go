package relay

import (
	"hash/maphash"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v3"
	"golang.org/x/time/rate"
)

// What STUN (RFC 8489) may cost. The sender of a request can be forged, so an
// answer is no longer than the request, with one exception: what every client
// must get, its address alone or which attributes are not understood. Clients
// ask with as little as 20 bytes, for 32 or, over IPv6, 44: at most 2.2 times as
// much, where RFC 9000 section 8.1 has 3 for a client's first packets.
const (
	// stunWindow is the time in which Server.STUNPerAddress requests are answered.
	stunWindow = 10 * time.Second
	// stunPerSecond bounds all answers, stunBurst those at once.
	stunPerSecond = 5000
	stunBurst     = 1000
	// stunBuckets is the size of the table in which addresses are counted, by
	// hash: who shares a bucket shares the limit.
	stunBuckets = 1 << 14
	// maxSTUN is the longest request that is read, in bytes.
	maxSTUN = 1280
)

type stunCounters struct{ answered, malformed, limited atomic.Uint64 }

// ServePacket answers STUN binding requests on pc, which it closes, until the
// end of Shutdown or until Close; the error then is [ErrServerClosed]. Nodes ask
// for the address that they have outside of their NAT. pc is best a UDP socket
// with the port of the listener that Serve has.
func (s *Server) ServePacket(pc net.PacketConn) error { return s.serveSTUN(pc, nil) }

// ServePackets is ServePacket on two sockets with the same IP address and
// different ports. Each tells of the other (OTHER-ADDRESS of RFC 5780), and
// answers requests from there that want it (CHANGE-REQUEST), so that nodes find
// out how their NAT filters and maps. Nodes know the address of pc; alternate
// may have any port. It returns when pc fails, and has closed both then.
func (s *Server) ServePackets(pc, alternate net.PacketConn) error {
	var ended sync.WaitGroup
	ended.Go(func() { _ = s.serveSTUN(alternate, pc) })
	err := s.serveSTUN(pc, alternate)
	_ = alternate.Close() // one alone would tell of what is not there
	ended.Wait()
	return err
}

// serveSTUN answers on pc, and on other, which may be nil, whom wants it.
func (s *Server) serveSTUN(pc, other net.PacketConn) error {
	r := s.relay()
	if !s.track(pc) {
		_ = pc.Close()
		return ErrServerClosed
	}
	defer s.untrack(pc)
	var pause acceptPause
	responder := newStunResponder(pc, other, r.stunPerAddress)
	b := make([]byte, maxSTUN)
	for {
		n, from, err := pc.ReadFrom(b)
		switch {
		case err == nil:
			pause.reset()
			r.answerSTUN(responder, b[:n], from)
		case s.isClosed():
			return ErrServerClosed
		case !temporary(err):
			return err
		default:
			r.stats.acceptErrors.Add(1)
			if !pause.wait(r.ctx) {
				return ErrServerClosed
			}
		}
	}
}

func (r *relay) answerSTUN(responder *stunResponder, b []byte, from net.Addr) {
	udp, ok := from.(*net.UDPAddr)
	if !ok {
		r.stun.malformed.Add(1)
		return
	}
	answer, ok := responder.answer(b, udp)
	switch {
	case !ok:
		r.stun.malformed.Add(1)
	case !responder.allow(addressOf(from), time.Now()):
		r.stun.limited.Add(1)
	default:
		if _, err := responder.from.WriteTo(answer, from); err == nil {
			r.stun.answered.Add(1)
		}
	}
}

// A stunResponder answers the requests on one socket. One goroutine uses it.
type stunResponder struct {
	pc, other         net.PacketConn // other is nil if there is none
	from              net.PacketConn // of the latest answer: one of them
	request, response stun.Message
	seed              maphash.Seed
	all               *rate.Limiter
	began             time.Time
	perAddress        int // answers in a stunWindow; negative: no limit
	buckets           []stunBucket
}

// A stunBucket counts the answers in the window of that number.
type stunBucket struct{ window, count uint32 }

func newStunResponder(pc, other net.PacketConn, perAddress int) *stunResponder {
	return &stunResponder{
		pc:         pc,
		other:      other,
		perAddress: perAddress,
		seed:       maphash.MakeSeed(),
		all:        rate.NewLimiter(stunPerSecond, stunBurst),
		began:      time.Now(),
		buckets:    make([]stunBucket, stunBuckets),
	}
}

// allow counts an answer to addr, false if it would be one too many.
func (s *stunResponder) allow(addr string, now time.Time) bool {
	bucket := &s.buckets[maphash.String(s.seed, addr)%stunBuckets]
	window := uint32(now.Sub(s.began)/stunWindow) + 1
	if bucket.window != window {
		*bucket = stunBucket{window: window}
	}
	if exceeds(int(bucket.count), s.perAddress) || !s.all.AllowN(now, 1) {
		return false
	}
	bucket.count++
	return true
}

// answer returns the answer to a request from an address, valid until the next
// call, and false for what is no well-formed binding request.
func (s *stunResponder) answer(b []byte, from *net.UDPAddr) ([]byte, bool) {
	if !stun.IsMessage(b) {
		return nil, false
	}
	s.request.Raw = append(s.request.Raw[:0], b...)
	if s.request.Decode() != nil || s.request.Type != stun.BindingRequest {
		return nil, false
	}
	if len(b) != int(s.request.Length)+20 { // trailing bytes: not of STUN's making
		return nil, false
	}
	fingerprinted := s.request.Contains(stun.AttrFingerprint)
	if fingerprinted && stun.Fingerprint.Check(&s.request) != nil {
		return nil, false
	}
	unknown, change := s.required()
	s.from = s.pc
	if change&stunChangePort != 0 {
		s.from = s.other
	}
	setters := []stun.Setter{stun.NewTransactionIDSetter(s.request.TransactionID)}
	ends := s.ends(from)
	if len(unknown) > 0 {
		ends, s.from = nil, s.pc
		setters = append(setters, stun.BindingError, stun.ErrorCodeAttribute{Code: stun.CodeUnknownAttribute}, unknown)
	} else {
		setters = append(setters, stun.BindingSuccess, &stun.XORMappedAddress{IP: from.IP, Port: from.Port})
	}
	if fingerprinted {
		setters = append(setters, stun.Fingerprint)
	}
	// What RFC 5780 adds is left out where it would make the answer longer than
	// the request.
	for ; ; ends = ends[:len(ends)-1] {
		s.response.Reset()
		if s.response.Build(slices.Insert(slices.Clone(setters), 2, ends...)...) != nil {
			return nil, false
		}
		if len(ends) == 0 || len(s.response.Raw) <= len(b) {
			return s.response.Raw, true
		}
	}
}

// stunChangePort is the flag of CHANGE-REQUEST that asks for an answer from the
// other port (RFC 5780 section 7.2). There is no other IP address.
const stunChangePort = 0x02

// required returns the attributes of the request that must be understood and
// are not, and the flags of CHANGE-REQUEST, the only one that is.
func (s *stunResponder) required() (unknown stun.UnknownAttributes, change byte) {
	for _, a := range s.request.Attributes {
		switch {
		case a.Type == stun.AttrChangeRequest && s.other != nil && len(a.Value) == 4 && a.Value[3]&^stunChangePort == 0:
			change = a.Value[3]
		case a.Type.Required():
			unknown = append(unknown, a.Type)
		}
	}
	return unknown, change
}

// ends returns OTHER-ADDRESS and RESPONSE-ORIGIN, if there is another socket.
// Their IP addresses are those that the sockets are bound to: the unspecified
// one means that whom the request was sent to.
func (s *stunResponder) ends(from *net.UDPAddr) []stun.Setter {
	if s.other == nil {
		return nil
	}
	other, ok := s.other.LocalAddr().(*net.UDPAddr)
	origin, ok2 := s.from.LocalAddr().(*net.UDPAddr)
	if !ok || !ok2 {
		return nil
	}
	ip := func(a *net.UDPAddr) net.IP {
		if !a.IP.IsUnspecified() {
			return a.IP
		}
		if from.IP.To4() != nil {
			return net.IPv4zero
		}
		return net.IPv6unspecified
	}
	return []stun.Setter{
		&stun.OtherAddress{IP: ip(other), Port: other.Port},
		&stun.ResponseOrigin{IP: ip(origin), Port: origin.Port},
	}
}
