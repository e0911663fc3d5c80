package identity

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// Derive returns 32 bytes that all who know the network's secret derive from the
// label alike, and that reveal nothing about it (HKDF-SHA-256, RFC 5869). In an
// open network everybody can derive them. The label, a constant of the caller,
// must not contain a zero byte.
func (n *Network) Derive(label string) [32]byte {
	material := n.id[:]
	if n.ca != nil {
		material = n.ca.key.Seed()
	}
	out, err := hkdf.Key(sha256.New, material, n.id[:], "weft network derive\x00"+label, sha256.Size)
	if err != nil {
		//nolint:forbidigo // not for input: the only error is a length above 255 hashes
		panic("identity: " + err.Error())
	}
	return [32]byte(out)
}
