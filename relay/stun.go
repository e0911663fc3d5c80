package relay

import (
	"hash/maphash"
	"net"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v3"
	"golang.org/x/time/rate"
)

// What STUN (RFC 8489) may cost. An answer is never longer than three times
// the request, so that the relay is of little use to who forges senders.
const (
	// stunPerWindow is how many requests of one address are answered in a
	// stunWindow. A node asks once for each of its sockets, and now and then.
	stunPerWindow = 20
	stunWindow    = 10 * time.Second
	// stunPerSecond bounds all answers, stunBurst those at once.
	stunPerSecond = 5000
	stunBurst     = 1000
	// stunBuckets is the size of the table in which addresses are counted, by
	// hash: who shares a bucket shares the limit.
	stunBuckets = 1 << 14
	// maxSTUN is the longest request that is read, in bytes.
	maxSTUN = 1280
	// stunAmplification is how many times longer than the request an answer may
	// be.
	stunAmplification = 3
)

type stunCounters struct{ answered, malformed, limited atomic.Uint64 }

// ServePacket answers STUN binding requests on pc, which it closes, until the
// end of Shutdown or until Close; the error then is [ErrServerClosed]. Nodes ask
// for the address that they have outside of their NAT. pc is best a UDP socket
// with the port of the listener that Serve has.
func (s *Server) ServePacket(pc net.PacketConn) error {
	r := s.relay()
	if !s.track(pc) {
		_ = pc.Close()
		return ErrServerClosed
	}
	defer s.untrack(pc)
	var pause acceptPause
	responder := newStunResponder()
	b := make([]byte, maxSTUN)
	for {
		n, from, err := pc.ReadFrom(b)
		switch {
		case err == nil:
			pause.reset()
			r.answerSTUN(pc, responder, b[:n], from)
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

func (r *relay) answerSTUN(pc net.PacketConn, responder *stunResponder, b []byte, from net.Addr) {
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
		if _, err := pc.WriteTo(answer, from); err == nil {
			r.stun.answered.Add(1)
		}
	}
}

// A stunResponder answers the requests on one socket. One goroutine uses it.
type stunResponder struct {
	request, response stun.Message
	seed              maphash.Seed
	all               *rate.Limiter
	began             time.Time
	buckets           []stunBucket
}

// A stunBucket counts the answers in the window of that number.
type stunBucket struct{ window, count uint32 }

func newStunResponder() *stunResponder {
	return &stunResponder{
		seed:    maphash.MakeSeed(),
		all:     rate.NewLimiter(stunPerSecond, stunBurst),
		began:   time.Now(),
		buckets: make([]stunBucket, stunBuckets),
	}
}

// allow counts an answer to addr, false if it would be one too many.
func (s *stunResponder) allow(addr string, now time.Time) bool {
	bucket := &s.buckets[maphash.String(s.seed, addr)%stunBuckets]
	window := uint32(now.Sub(s.began)/stunWindow) + 1
	if bucket.window != window {
		*bucket = stunBucket{window: window}
	}
	if bucket.count >= stunPerWindow || !s.all.AllowN(now, 1) {
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
	setters := []stun.Setter{stun.NewTransactionIDSetter(s.request.TransactionID)}
	if unknown := s.unknown(); len(unknown) > 0 {
		setters = append(setters, stun.BindingError, stun.CodeUnknownAttribute, unknown)
	} else {
		setters = append(setters, stun.BindingSuccess, &stun.XORMappedAddress{IP: from.IP, Port: from.Port})
	}
	if fingerprinted {
		setters = append(setters, stun.Fingerprint)
	}
	s.response.Reset()
	if s.response.Build(setters...) != nil || len(s.response.Raw) > stunAmplification*len(b) {
		return nil, false
	}
	return s.response.Raw, true
}

// unknown returns the attributes of the request that must be understood and
// are not: all, as a request for the own address needs none.
func (s *stunResponder) unknown() (unknown stun.UnknownAttributes) {
	for _, a := range s.request.Attributes {
		if a.Type.Required() {
			unknown = append(unknown, a.Type)
		}
	}
	return unknown
}
