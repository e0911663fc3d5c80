package identity

import (
	"bytes"
	"testing"
)

func TestSignaturesHoldForOneKeyLabelAndMessage(t *testing.T) {
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("where I am")
	sig := k.Sign("test", message)
	if !k.Public().Verify("test", message, sig) {
		t.Fatal("the signature does not verify")
	}
	for name, ok := range map[string]bool{
		"another key":     other.Public().Verify("test", message, sig),
		"another label":   k.Public().Verify("tes", append([]byte("t\x00"), message...), sig),
		"another message": k.Public().Verify("test", []byte("where I was"), sig),
		"a changed bit":   k.Public().Verify("test", message, append([]byte{sig[0] ^ 1}, sig[1:]...)),
		"too short":       k.Public().Verify("test", message, sig[:SignatureSize-1]),
		"none":            k.Public().Verify("test", message, nil),
		"no key":          PublicKey{}.Verify("test", message, sig),
	} {
		if ok {
			t.Errorf("%s: the signature verifies", name)
		}
	}
	if !bytes.Equal(sig, k.Sign("test", message)) {
		t.Error("a second signature differs; Ed25519 is deterministic")
	}
}
