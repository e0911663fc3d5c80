package spectest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// A suite is a TLS 1.3 cipher suite (RFC 8446 appendix B.4).
type suite struct {
	hash   func() hash.Hash
	keyLen int
	aead   func(key []byte) (cipher.AEAD, error)
}

func gcm(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

var suites = map[uint16]suite{
	0x1301: {sha256.New, 16, gcm},
	0x1302: {sha512.New384, 32, gcm},
	0x1303: {sha256.New, 32, chacha20poly1305.New},
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
func (s suite) expandLabel(secret []byte, label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(6+len(label)))
	info = append(info, "tls13 "+label...)
	info = append(info, 0)
	out, err := hkdf.Expand(s.hash, secret, string(info), n)
	if err != nil {
		panic(err)
	}
	return out
}

// A protection is section 5.2: one key of one direction.
type protection struct {
	key, iv []byte
	aead    cipher.AEAD
}

func (s suite) protection(secret []byte) (p protection) {
	var err error
	p.key, p.iv = s.expandLabel(secret, "quic key", s.keyLen), s.expandLabel(secret, "quic iv", 12)
	if p.aead, err = s.aead(p.key); err != nil {
		panic(err)
	}
	return p
}

func (p protection) nonce(number uint64) []byte {
	n := append([]byte(nil), p.iv...)
	for i := range 8 {
		n[4+i] ^= byte(number >> (56 - 8*i))
	}
	return n
}

func (p protection) open(sp sealedPacket) ([]byte, error) {
	return p.aead.Open(nil, p.nonce(uint64(sp.number)), sp.payload, sp.header)
}

// initialSecrets are those of section 5.2.
func initialSecrets(networkID [32]byte, dcid uint64) (salt, initial, client, server []byte) {
	sum := sha256.Sum256(append([]byte("weft/1 initial salt\x00"), networkID[:]...))
	initial, err := hkdf.Extract(sha256.New, binary.BigEndian.AppendUint64(nil, dcid), sum[:])
	if err != nil {
		panic(err)
	}
	s := suites[0x1301]
	return sum[:], initial, s.expandLabel(initial, "client in", 32), s.expandLabel(initial, "server in", 32)
}

// networkID is section 2.2. authority is the CA's public key, or "open".
func networkID(name string, authority []byte) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "weft network\x00%s\x00%s", name, authority))
}
