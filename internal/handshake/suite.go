package handshake

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// A suite is what a TLS 1.3 cipher suite says about packet protection.
type suite struct {
	hash   func() hash.Hash
	keyLen int // bytes
	aead   func(key []byte) (cipher.AEAD, error)
}

// suiteByID returns one of the three suites that crypto/tls negotiates (RFC
// 8446 appendix B.4). All have nonces of 12 bytes and tags of Overhead bytes.
func suiteByID(id uint16) (suite, error) {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return suite{sha256.New, 16, newGCM}, nil
	case tls.TLS_AES_256_GCM_SHA384:
		return suite{sha512.New384, 32, newGCM}, nil
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		return suite{sha256.New, chacha20poly1305.KeySize, chacha20poly1305.New}, nil
	}
	return suite{}, fmt.Errorf("TLS negotiated cipher suite %#04x, which is unknown here", id)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// keys derives the packet protection keys from a secret (RFC 9001 section 5.1).
func (s suite) keys(secret []byte) *Keys {
	k := &Keys{aead: must(s.aead(s.expand(secret, "quic key", s.keyLen)))}
	copy(k.iv[:], s.expand(secret, "quic iv", nonceLen))
	return k
}

// update derives the secret of the next key phase (RFC 9001 section 6.1).
func (s suite) update(secret []byte) []byte {
	return s.expand(secret, "quic ku", len(secret))
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
func (s suite) expand(secret []byte, label string, length int) []byte {
	label = "tls13 " + label
	info := []byte{byte(length >> 8), byte(length), byte(len(label))}
	info = append(info, label...)
	info = append(info, 0)
	return must(hkdf.Expand(s.hash, secret, string(info), length))
}

// must is for derivations whose lengths are all fixed above, so that no input
// can make them fail.
func must[T any](v T, err error) T {
	if err != nil {
		//nolint:forbidigo // not for input: only a build of Go that forbids the cipher comes here
		panic("handshake: the Go runtime refuses a cipher of TLS 1.3 (is GODEBUG=fips140=only set?): " + err.Error())
	}
	return v
}
