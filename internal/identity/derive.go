package identity

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
)

// Derive returns 32 bytes that the network's members derive from the label
// alike, and that reveal nothing about its secret (HKDF-SHA-256, RFC 5869).
// Whoever knows the secret or had an invite once can derive them, in an open
// network everybody. The label, a constant of the caller, must not contain a
// zero byte.
func (n *Network) Derive(label string) [32]byte {
	return derive(n.shared[:], n.id, "weft network derive\x00"+label)
}

// sharedOf returns what Derive derives from, the members' key, which invites tell.
func sharedOf(ca ed25519.PrivateKey, id [32]byte) [32]byte {
	return derive(ca.Seed(), id, "weft network shared")
}

func derive(material []byte, id [32]byte, info string) [32]byte {
	out, err := hkdf.Key(sha256.New, material, id[:], info, sha256.Size)
	if err != nil {
		//nolint:forbidigo // not for input: the only error is a length above 255 hashes
		panic("identity: " + err.Error())
	}
	return [32]byte(out)
}
