package record

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/weftnet/weft/internal/identity"
)

func TestRecordIsSignedWhole(t *testing.T) {
	k, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	r := Record{
		Network: [32]byte{1}, Key: k.Public(), Relay: 7, Names: []string{"kv-1", "kv"},
		Candidates: []string{"192.0.2.7:4000"}, Epoch: 5, Seq: 6,
	}
	sig := r.Sign(k)
	if !r.Verify(sig) {
		t.Fatal("the signature does not verify")
	}
	changes := map[string]func(*Record){
		"network":        func(r *Record) { r.Network[31]++ },
		"key":            func(r *Record) { r.Key[0]++ },
		"relay":          func(r *Record) { r.Relay++ },
		"epoch":          func(r *Record) { r.Epoch++ },
		"sequence":       func(r *Record) { r.Seq++ },
		"a name less":    func(r *Record) { r.Names = r.Names[:1] },
		"names joined":   func(r *Record) { r.Names = []string{"kv-1kv"} },
		"names moved":    func(r *Record) { r.Names, r.Candidates = r.Names[:1], append([]string{"kv"}, r.Candidates...) },
		"names in order": func(r *Record) { r.Names = []string{"kv", "kv-1"} },
		"candidates":     func(r *Record) { r.Candidates = nil },
	}
	for name, change := range changes {
		c := r
		change(&c)
		if c.Verify(sig) {
			t.Errorf("%s changed, and the signature still verifies", name)
		}
	}
}

func TestSignedBytesAreAsDocumented(t *testing.T) {
	r := Record{Network: [32]byte{1}, Key: identity.PublicKey{2}, Relay: 3, Epoch: 4, Seq: 5, Names: []string{"kv"}}
	zeros := strings.Repeat("00", 31)
	want, err := hex.DecodeString("01" + zeros + "02" + zeros +
		"0000000000000003" + "0000000000000004" + "0000000000000005" +
		"00000001" + "00000002" + "6b76" + "00000000")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.message(); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}
