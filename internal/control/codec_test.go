package control

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/weftnet/weft/internal/identity"
)

var testKey = identity.PublicKey{1, 2, 3, 31: 4}

// samples holds one message of each kind, with every field set.
var samples = []Message{
	&Register{Names: []string{"kv-1", "kv"}, Candidates: []string{"192.0.2.7:4000"}, Epoch: math.MaxUint64, Seq: 3,
		Signature: make([]byte, identity.SignatureSize), Certificate: []byte{0x30}},
	&Registered{ObservedAddr: "192.0.2.7:4000", RelayName: "relay-1", RelayVersion: "v0.1.0"},
	&Lookup{ID: 7},
	&Lookup{Key: Key(testKey)},
	&Lookup{Name: "kv-1"},
	&Found{Records: []Record{{ID: testKey.ID(), Key: Key(testKey), Names: []string{"kv-1"}}}},
	&NotFound{},
	&Observe{},
	&Observed{Addr: "[2001:db8::1]:4000"},
	&Failed{Code: FailureStale, Reason: "a newer one is known", Epoch: 9},
	&Throttled{Dropped: 12, BytesPerSecond: 1 << 20, PacketsPerSecond: 1000},
	&GoingAway{GraceMillis: 5000},
	&Relays{Relays: []Relay{{ID: 7, Addrs: []string{"192.0.2.7:9999", "relay.example.org:9999"}}}},
	&Relays{},
	&Revoke{Revocations: [][]byte{{1, 2, 3}, {4}}},
	&Revoked{},
	&Revocations{Revocations: [][]byte{{5, 6}}},
}

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, m := range samples {
		b, err := encode(42, m)
		if err != nil {
			t.Fatalf("encode %T: %v", m, err)
		}
		e, err := read(iotest.OneByteReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("read %T: %v", m, err)
		}
		if e.request != 42 || e.kind != m.kind() || !reflect.DeepEqual(e.message, m) {
			t.Errorf("%T came back as %+v", m, e)
		}
	}
}

func TestRegisterHasTheDocumentedLayout(t *testing.T) {
	b, err := encode(0x01020304, &Register{Names: []string{"kv"}, Epoch: 5})
	if err != nil {
		t.Fatal(err)
	}
	// length 7, kind 1, request; map of 2: 1 -> ["kv"], 3 -> 5
	const want = "0008" + "0001" + "01020304" + "a2" + "0181626b76" + "0305"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// bodyOf frames a hex body for a kind.
func bodyOf(t testing.TB, k Kind, body string) []byte {
	raw, err := hex.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, headerLen)
	binary.BigEndian.PutUint16(b, uint16(len(raw)))
	binary.BigEndian.PutUint16(b[2:], uint16(k))
	binary.BigEndian.PutUint32(b[4:], 1)
	return append(b, raw...)
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	many := strings.Repeat("6161", MaxNames+1) // "a", 17 times
	tests := []struct {
		name string
		kind Kind
		body string
	}{
		{"empty body", KindObserve, ""},
		{"null instead of a map", KindObserve, "f6"},
		{"array instead of a map", KindRegister, "80"},
		{"bytes after the map", KindObserve, "a000"},
		{"cut short", KindRegister, "a201"},
		{"repeated key", KindRegister, "a203010302"},
		{"indefinite length", KindRegister, "bf0301ff"},
		{"negative epoch", KindRegister, "a10320"},
		{"text for a number", KindRegister, "a1036161"},
		{"tag", KindRegister, "a103c201"},
		{"deep nesting", KindObserve, "a1188081818181818100"},
		{"huge claimed array", KindRegister, "a1019affffffff"},
		{"huge claimed text", KindLookup, "a1037b7fffffffffffffff"},
		{"invalid UTF-8", KindLookup, "a10361ff"},
		{"too many names", KindRegister, "a10191" + many},
		{"lookup of nothing", KindLookup, "a0"},
		{"lookup of two things", KindLookup, "a20101036161"},
		{"short key", KindLookup, "a1024101"},
		{"long key", KindLookup, "a1025821" + strings.Repeat("00", 33)},
		{"no records", KindFound, "a0"},
		{"short signature", KindRegister, "a1054101"},
		{"relay without an ID", KindRelays, "a10181a1028161" + "61"},
		{"relay without an address", KindRelays, "a10181a10107"},
		{"relay with too many addresses", KindRelays, "a10181a201070285" + strings.Repeat("6161", MaxRelayAddrs+1)},
		{"record whose ID is not its key's", KindFound, "a10181a20101025820" + strings.Repeat("01", 32)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := read(bytes.NewReader(bodyOf(t, tt.kind, tt.body)))
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v, want ErrMalformed", err)
			}
		})
	}
}

func TestLengthIsCheckedBeforeAnythingIsRead(t *testing.T) {
	head := []byte{0xff, 0xff, 0, 1, 0, 0, 0, 1}
	if _, err := read(bytes.NewReader(head)); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}

func TestUnknownKeysAndKindsAreSkipped(t *testing.T) {
	e, err := read(bytes.NewReader(bodyOf(t, KindLookup, "a2036161186381f5"))) // 99: [true]
	if err != nil || !reflect.DeepEqual(e.message, &Lookup{Name: "a"}) {
		t.Errorf("unknown key: got %+v, %v", e.message, err)
	}
	e, err = read(bytes.NewReader(bodyOf(t, 999, "00")))
	if err != nil || e.message != nil || e.kind != 999 {
		t.Errorf("unknown kind: got %+v, %v", e, err)
	}
}

func TestStreamEndsAreToldApart(t *testing.T) {
	whole := bodyOf(t, KindObserve, "a0")
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"between messages", nil, io.EOF},
		{"inside the header", whole[:3], io.ErrUnexpectedEOF},
		{"before the body", whole[:headerLen], io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := read(bytes.NewReader(tt.in)); err != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestMessagesBeyondTheLimitsAreNotSent(t *testing.T) {
	long := strings.Repeat("x", MaxName+1)
	for _, m := range []Message{
		&Register{Names: []string{long}},
		&Register{Candidates: make([]string, MaxCandidates+1)},
		&Registered{RelayVersion: long},
		&Lookup{},
		&Found{},
		&Observed{Addr: long},
		&Failed{Reason: strings.Repeat("x", MaxReason+1)},
		&Register{Signature: []byte{1}},
		&Register{Certificate: make([]byte, MaxCertificate+1)},
		&Relays{Relays: make([]Relay, MaxRelays+1)},
		&Revoke{Revocations: make([][]byte, MaxRevocations+1)},
		&Revocations{Revocations: [][]byte{make([]byte, identity.MaxRevocation+1)}},
	} {
		if _, err := encode(1, m); !errors.Is(err, ErrMalformed) {
			t.Errorf("%T: got %v, want ErrMalformed", m, err)
		}
	}
}

func TestGraceIsAtMostADay(t *testing.T) {
	if got := (&GoingAway{GraceMillis: math.MaxUint64}).Grace(); got != 24*time.Hour {
		t.Errorf("got %v", got)
	}
	if got := (&GoingAway{GraceMillis: 1500}).Grace(); got != 1500*time.Millisecond {
		t.Errorf("got %v", got)
	}
}

func TestReasonsFit(t *testing.T) {
	got := reasonOf(errors.New(strings.Repeat("é", MaxReason) + "\xff"))
	if err := checkText("reason", got, MaxReason); err != nil || strings.ContainsRune(got, '\ufffd') {
		t.Errorf("got %q (%v)", got, err)
	}
}

func FuzzRead(f *testing.F) {
	for _, m := range samples {
		b, err := encode(1, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(bodyOf(f, KindRegister, "a2030103"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := read(bytes.NewReader(b))
		if err != nil || e.message == nil {
			return
		}
		again, err := encode(e.request, e.message)
		if err != nil {
			t.Fatalf("%+v was read but cannot be written: %v", e.message, err)
		}
		e2, err := read(bytes.NewReader(again))
		if err != nil {
			t.Fatalf("%+v cannot be read back: %v", e.message, err)
		}
		third, err := encode(e2.request, e2.message)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%x became %x (%v)", again, third, err)
		}
	})
}
