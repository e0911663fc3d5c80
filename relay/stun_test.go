package relay

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// padding makes a request as long as the whole answer of a relay with two ports.
func padding() stun.Setter {
	return stun.NewSoftware(strings.Repeat("x", 68))
}

// binding is a binding request with more in it.
func binding(t *testing.T, more ...stun.Setter) []byte {
	t.Helper()
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func TestSTUNSaysWhereARequestComesFrom(t *testing.T) {
	for _, addr := range []string{"192.0.2.7:4321", "[2001:db8::7]:65535", "[::ffff:192.0.2.7]:1"} {
		from, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		for name, request := range map[string][]byte{
			"bare":        binding(t),
			"fingerprint": binding(t, stun.NewSoftware("x"), stun.Fingerprint),
		} {
			b, ok := newStunResponder(nil, nil, DefaultSTUNPerAddress).answer(request, from)
			if !ok {
				t.Fatalf("%s, %s: no answer", addr, name)
			}
			answer := &stun.Message{Raw: b}
			var mapped stun.XORMappedAddress
			if err := answer.Decode(); err != nil || mapped.GetFrom(answer) != nil || answer.Type != stun.BindingSuccess {
				t.Fatalf("%s, %s: %v, %v", addr, name, answer, err)
			}
			if !mapped.IP.Equal(from.IP) || mapped.Port != from.Port || string(answer.TransactionID[:]) != string(request[8:20]) {
				t.Errorf("%s, %s: %v", addr, name, mapped)
			}
			if name == "fingerprint" && stun.Fingerprint.Check(answer) != nil {
				t.Errorf("%s: the answer has no fingerprint", addr)
			}
		}
	}
}

// What the relay sends is no longer than what it got, but for the address, which
// clients that send 20 bytes get, too.
func TestSTUNAnswersAreNoLongerThanRequests(t *testing.T) {
	for _, tt := range []struct {
		name, from    string
		request       []byte
		length        int
		other, origin bool
	}{
		{"bare", "192.0.2.7:1", binding(t), 32, false, false},
		{"bare", "[2001:db8::7]:1", binding(t), 44, false, false},
		{"fingerprint", "192.0.2.7:1", binding(t, stun.Fingerprint), 40, false, false},
		{"fingerprint", "[2001:db8::7]:1", binding(t, stun.Fingerprint), 52, false, false},
		{"room for one", "192.0.2.7:1", binding(t, stun.NewSoftware(strings.Repeat("x", 20))), 44, true, false},
		{"almost enough", "192.0.2.7:1", binding(t, stun.NewSoftware(strings.Repeat("x", 28))), 44, true, false},
		{"enough", "192.0.2.7:1", binding(t, stun.NewSoftware(strings.Repeat("x", 32))), 56, true, true},
		{"padded", "192.0.2.7:1", binding(t, padding(), stun.Fingerprint), 64, true, true},
		{"padded", "[2001:db8::7]:1", binding(t, padding(), stun.Fingerprint), 100, true, true},
		{"not understood", "192.0.2.7:1", binding(t, stun.RawAttribute{Type: 5}), 36, false, false},
		{"much not understood", "192.0.2.7:1", binding(t, slices.Repeat([]stun.Setter{stun.RawAttribute{Type: 5}}, 50)...), 132, false, false},
	} {
		from, err := net.ResolveUDPAddr("udp", tt.from)
		if err != nil {
			t.Fatal(err)
		}
		s := newStunResponder(addrConn{port: 1}, addrConn{port: 2}, DefaultSTUNPerAddress)
		b, ok := s.answer(tt.request, from)
		if !ok || len(b) != tt.length || len(b) > stunBound(len(tt.request)) {
			t.Errorf("%s from %s: %d bytes for %d, want %d", tt.name, tt.from, len(b), len(tt.request), tt.length)
		}
		answer := &stun.Message{Raw: b}
		if err := answer.Decode(); err != nil || answer.Contains(stun.AttrOtherAddress) != tt.other || answer.Contains(stun.AttrResponseOrigin) != tt.origin {
			t.Errorf("%s from %s: %v, %v", tt.name, tt.from, answer, err)
		}
	}
}

// stunBound is how long an answer may be: as long as the request, or else what
// every client gets, with a fingerprint 52 bytes.
func stunBound(request int) int { return max(request, min(52, request*22/10)) }

// An addrConn has a port.
type addrConn struct {
	net.PacketConn
	port int
}

func (c addrConn) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv6unspecified, Port: c.port} }

func TestSTUNSaysWhatItDoesNotKnow(t *testing.T) {
	request := binding(t, stun.RawAttribute{Type: 0x0003, Value: []byte{0, 0, 0, 6}}) // CHANGE-REQUEST of RFC 5780
	b, ok := newStunResponder(nil, nil, DefaultSTUNPerAddress).answer(request, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1})
	answer := &stun.Message{Raw: b}
	var code stun.ErrorCodeAttribute
	var unknown stun.UnknownAttributes
	if !ok || answer.Decode() != nil || code.GetFrom(answer) != nil || unknown.GetFrom(answer) != nil {
		t.Fatalf("%v: %v", ok, answer)
	}
	if answer.Type != stun.BindingError || code.Code != stun.CodeUnknownAttribute || !slices.Equal(unknown, stun.UnknownAttributes{3}) || len(b) != 36 {
		t.Errorf("%v: %v %v", answer, code, unknown)
	}
}

func TestWhatIsNoSTUNRequestIsNotAnswered(t *testing.T) {
	broken := binding(t, stun.Fingerprint)
	broken[len(broken)-1] ^= 1
	long := append(binding(t), 0, 0, 0, 0)
	short := binding(t)
	binary.BigEndian.PutUint16(short[2:], 8)
	response := binding(t)
	binary.BigEndian.PutUint16(response, 0x0101)
	indication := binding(t)
	binary.BigEndian.PutUint16(indication, 0x0011)
	cookie := binding(t)
	cookie[4]++
	for name, b := range map[string][]byte{
		"nothing": {}, "text": []byte("hello, is anybody there?"), "broken fingerprint": broken, "trailing bytes": long,
		"length": short, "response": response, "indication": indication, "cookie": cookie, "half": binding(t)[:19],
	} {
		if answer, ok := newStunResponder(nil, nil, DefaultSTUNPerAddress).answer(b, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 7)}); ok {
			t.Errorf("%s: answered with %x", name, answer)
		}
	}
}

func TestSTUNAnswersAreLimited(t *testing.T) {
	const perWindow = 20
	s := newStunResponder(nil, nil, perWindow)
	now := s.began
	allowed := func(addr string, n int) (allowed int) {
		for range n {
			if s.allow(addr, now) {
				allowed++
			}
		}
		return allowed
	}
	if got := allowed("192.0.2.7", 100); got != perWindow {
		t.Errorf("%d answers to one address at once", got)
	}
	now = now.Add(stunWindow)
	if got := allowed("192.0.2.7", 100); got != perWindow {
		t.Errorf("%d answers in the next window", got)
	}
	now = now.Add(stunWindow)
	all := 0
	for i := range 3000 {
		all += allowed(fmt.Sprint("198.51.100.", i), 1)
	}
	if all > stunBurst || all < stunBurst-10 {
		t.Errorf("%d answers to everybody at once", all)
	}
}

func TestServePacket(t *testing.T) {
	const perWindow = 20
	p := newPort(t, &Server{STUNPerAddress: perWindow})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.ServePacket(pc) }()
	conn, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, _ = conn.Write([]byte("nonsense"))
	for range perWindow + 5 {
		_, _ = conn.Write(binding(t))
	}
	b := make([]byte, 1500)
	for i := range perWindow {
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		answer := &stun.Message{Raw: b[:n]}
		var mapped stun.XORMappedAddress
		if err := answer.Decode(); err != nil || mapped.GetFrom(answer) != nil || mapped.String() != conn.LocalAddr().String() {
			t.Fatalf("%v, %v; want %v", mapped, err, conn.LocalAddr())
		}
	}
	if err := p.Server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != ErrServerClosed {
		t.Errorf("ServePacket: %v", err)
	}
	if s := p.Stats(); s.STUNAnswered != perWindow || s.STUNMalformed != 1 {
		t.Errorf("stats %+v", s)
	}
	if err := p.ServePacket(pc); err != ErrServerClosed {
		t.Errorf("ServePacket of a closed server: %v", err)
	}
}

// Two sockets tell of each other, and one answers for the other.
func TestServePackets(t *testing.T) {
	p := newPort(t, &Server{})
	var pcs [2]net.PacketConn
	for i := range pcs {
		var err error
		if pcs[i], err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- p.ServePackets(pcs[0], pcs[1]) }()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	change := func(flags byte) stun.Setter {
		return stun.RawAttribute{Type: stun.AttrChangeRequest, Value: []byte{0, 0, 0, flags}}
	}
	for _, tt := range []struct {
		asked, answers int
		request        []byte
		code           stun.ErrorCode
	}{
		{0, 0, binding(t, padding()), 0},
		{1, 1, binding(t, padding()), 0},
		{0, 1, binding(t, padding(), change(2)), 0},
		{1, 0, binding(t, padding(), change(2), stun.Fingerprint), 0},
		{0, 0, binding(t, padding(), change(0)), 0},
		{0, 0, binding(t, change(6)), stun.CodeUnknownAttribute},
		{0, 0, binding(t, change(2), stun.RawAttribute{Type: 5}), stun.CodeUnknownAttribute},
	} {
		if _, err := conn.WriteTo(tt.request, pcs[tt.asked].LocalAddr()); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1500)
		n, from, err := conn.ReadFrom(b)
		if err != nil || from.String() != pcs[tt.answers].LocalAddr().String() {
			t.Fatalf("%+v: answer from %v, %v", tt, from, err)
		}
		answer := &stun.Message{Raw: b[:n]}
		if err := answer.Decode(); err != nil {
			t.Fatal(err)
		}
		if tt.code != 0 {
			var code stun.ErrorCodeAttribute
			if _ = code.GetFrom(answer); code.Code != tt.code {
				t.Errorf("%+v: %v", tt, answer)
			}
			continue
		}
		var other stun.OtherAddress
		var origin stun.ResponseOrigin
		if other.GetFrom(answer) != nil || origin.GetFrom(answer) != nil ||
			other.String() != pcs[1-tt.answers].LocalAddr().String() && tt.asked == tt.answers || origin.String() != from.String() {
			t.Errorf("%+v: other %v, origin %v", tt, other, origin)
		}
	}
	_ = p.Server.Close()
	if err := <-served; err != ErrServerClosed {
		t.Error(err)
	}
}

func FuzzSTUN(f *testing.F) {
	request, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewSoftware("x"), stun.Fingerprint)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request.Raw)
	f.Add(request.Raw[:20])
	f.Add([]byte{})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	defer pc.Close()
	s := newStunResponder(pc, pc, DefaultSTUNPerAddress)
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, ok := s.answer(b, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4})
		if ok && (len(answer) > stunBound(len(b)) || string(answer[8:20]) != string(b[8:20])) {
			t.Errorf("%x is answered with %x", b, answer)
		}
	})
}
