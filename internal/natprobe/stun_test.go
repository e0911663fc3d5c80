package natprobe

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

// message is a response with attributes.
func message(kind uint16, id txID, attrs ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, magicCookie)
	b = append(b, id[:]...)
	for _, a := range attrs {
		b = append(b, a...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-headerLen))
	return b
}

func attr(kind uint16, value []byte) []byte {
	b := appendAttr(nil, kind, value)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// plainAddress is the value of MAPPED-ADDRESS and OTHER-ADDRESS.
func plainAddress(a netip.AddrPort) []byte {
	family := byte(1)
	if a.Addr().Is6() {
		family = 2
	}
	b := binary.BigEndian.AppendUint16([]byte{0, family}, a.Port())
	return append(b, a.Addr().AsSlice()...)
}

func xorAddress(a netip.AddrPort, id txID) []byte {
	b := plainAddress(a)
	mask := binary.BigEndian.AppendUint32(nil, magicCookie)
	mask = append(mask, id[:]...)
	for i := range 2 {
		b[2+i] ^= mask[i]
	}
	for i := range b[4:] {
		b[4+i] ^= mask[i]
	}
	return b
}

func withFingerprint(b []byte) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-headerLen+8))
	return appendAttr(b, attrFingerprint, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)^fingerprintXOR))
}

// The responses of RFC 5769 sections 2.2 and 2.3, which have fingerprints.
const (
	rfc5769v4 = `0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643
		000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96`
	rfc5769v6 = `010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
		00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c`
)

func vector(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A relay's answer is no longer than the request: three attributes with addresses
// and a fingerprint have room in it.
func TestRequestsAreAsLongAsAnswers(t *testing.T) {
	a6 := plainAddress(netip.MustParseAddrPort("[2001:db8::1]:1"))
	answer := withFingerprint(message(bindingSuccess, txID{}, attr(attrXORMapped, a6), attr(attrOtherAddress, a6), attr(0x802b, a6)))
	if got := len(appendRequest(nil, txID{}, 0)); got != len(answer) || len(software) > 128 {
		t.Errorf("a request has %d bytes, the longest answer %d", got, len(answer))
	}
}

func TestDecode(t *testing.T) {
	id := txID{1, 2, 3}
	a4, a6 := netip.MustParseAddrPort("192.0.2.1:32853"), netip.MustParseAddrPort("[2001:db8:1234:5678:11:2233:4455:6677]:32853")
	mapped := attr(attrXORMapped, xorAddress(a4, id))
	broken := withFingerprint(message(bindingSuccess, id, mapped))
	broken[len(broken)-1]++
	behind := append(withFingerprint(message(bindingSuccess, id)), mapped...)
	binary.BigEndian.PutUint16(behind[2:], uint16(len(behind)-headerLen))
	for _, tt := range []struct {
		name   string
		in     []byte
		want   netip.AddrPort
		failed bool
		err    error
	}{
		{"with integrity, which is not understood", vector(t, rfc5769v4), netip.AddrPort{}, false, errMalformed},
		{"IPv4", message(bindingSuccess, id, mapped), a4, false, nil},
		{"IPv6", message(bindingSuccess, id, attr(attrXORMapped, xorAddress(a6, id))), a6, false, nil},
		{"fingerprint", withFingerprint(message(bindingSuccess, id, mapped)), a4, false, nil},
		{"RFC 3489", message(bindingSuccess, id, attr(attrMapped, plainAddress(a4))), a4, false, nil},
		{"XOR comes before plain", message(bindingSuccess, id, attr(attrMapped, plainAddress(a6)), mapped), a4, false, nil},
		{"the first counts", message(bindingSuccess, id, mapped, attr(attrXORMapped, xorAddress(a6, id))), a4, false, nil},
		{"optional", message(bindingSuccess, id, attr(0x8022, []byte("server")), mapped), a4, false, nil},
		{"error", message(bindingError, id, attr(0x0009, []byte{0, 0, 4, 20})), netip.AddrPort{}, true, nil},
		{"nothing", nil, netip.AddrPort{}, false, errNotSTUN},
		{"request", appendRequest(nil, id, 0), netip.AddrPort{}, false, errNotSTUN},
		{"no address", message(bindingSuccess, id), netip.AddrPort{}, false, errMalformed},
		{"must be understood", message(bindingSuccess, id, mapped, attr(0x0015, []byte("nonce"))), netip.AddrPort{}, false, errMalformed},
		{"trailing", append(message(bindingSuccess, id, mapped), 0, 0, 0, 0), netip.AddrPort{}, false, errMalformed},
		{"cut", message(bindingSuccess, id, mapped)[:28], netip.AddrPort{}, false, errMalformed},
		{"attribute too long", message(bindingSuccess, id, attr(attrXORMapped, xorAddress(a4, id))[:8]), netip.AddrPort{}, false, errMalformed},
		{"family", message(bindingSuccess, id, attr(attrXORMapped, []byte{0, 3, 0, 0, 0, 0, 0, 0})), netip.AddrPort{}, false, errMalformed},
		{"IPv6 in IPv4's length", message(bindingSuccess, id, attr(attrXORMapped, []byte{0, 2, 0, 0, 0, 0, 0, 0})), netip.AddrPort{}, false, errMalformed},
		{"broken fingerprint", broken, netip.AddrPort{}, false, errMalformed},
		{"something behind the fingerprint", behind, netip.AddrPort{}, false, errMalformed},
		{"too long", message(bindingSuccess, id, mapped, attr(0x8022, make([]byte, maxResponse))), netip.AddrPort{}, false, errNotSTUN},
	} {
		r, err := decode(tt.in)
		if err != tt.err {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
		if err == nil && (r.mapped != tt.want || r.failed != tt.failed || r.id != id) {
			t.Errorf("%s: %+v, want %v", tt.name, r, tt.want)
		}
	}
}

// The addresses of RFC 5769's responses, without the integrity, for which the
// password would be needed.
func TestVectorsOfRFC5769(t *testing.T) {
	for in, want := range map[string]string{rfc5769v4: "192.0.2.1:32853", rfc5769v6: "[2001:db8:1234:5678:11:2233:4455:6677]:32853"} {
		b := vector(t, in)
		last := len(b) - 8
		if !fingerprintOK(b, last, b[last+4:]) {
			t.Errorf("%s: fingerprint", want)
		}
		b = b[:last-24]
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)-headerLen))
		r, err := decode(b)
		if err != nil || r.mapped.String() != want {
			t.Errorf("%v, %v, want %s", r.mapped, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	id := txID{7}
	a4, a6 := netip.MustParseAddrPort("192.0.2.1:32853"), netip.MustParseAddrPort("[2001:db8::1]:1")
	f.Add(vector(f, rfc5769v4))
	f.Add(vector(f, rfc5769v6))
	f.Add(withFingerprint(message(bindingSuccess, id, attr(attrXORMapped, xorAddress(a6, id)), attr(attrOtherAddress, plainAddress(a4)))))
	f.Add(message(bindingError, id))
	f.Add([]byte{})
	p := &Prober{asked: ledger{ids: map[txID]netip.AddrPort{}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err == nil && r.failed == r.mapped.IsValid() && !r.failed {
			t.Errorf("%x has no address: %+v", b, r)
		}
		if err == nil && (string(r.id[:]) != string(b[8:20]) || r.mapped.Addr().Is4In6()) {
			t.Errorf("%x is %+v", b, r)
		}
		if p.Handle(a4, b) {
			t.Errorf("%x answers something, and nothing was asked", b)
		}
	})
}
