package handshake

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
)

// Overhead is how many bytes Seal adds to a plaintext.
const Overhead = 16

const nonceLen = 12

// Keys protect packets in one direction with one AEAD key (RFC 9001 section
// 5.3). They belong to one goroutine. Seal and Open do not allocate if dst has
// room.
type Keys struct {
	aead  cipher.AEAD
	iv    [nonceLen]byte
	nonce [nonceLen]byte // scratch: a local one would escape to the heap
	next  uint64         // the lowest packet number that Seal takes
}

// Seal encrypts plaintext, authenticates it together with header, appends the
// result to dst and returns the extended slice. dst may be plaintext[:0] to
// encrypt in place, and must not overlap it otherwise.
//
// Packet numbers must increase from call to call. Seal panics if they do not:
// one number for two packets would reveal the key that authenticates all.
func (k *Keys) Seal(dst, header, plaintext []byte, pn uint64) []byte {
	if pn < k.next {
		//nolint:forbidigo // a bug of the caller, and going on would give the key away
		panic("handshake: a packet number was used twice")
	}
	k.next = pn + 1
	return k.aead.Seal(dst, k.nonceFor(pn), plaintext, header)
}

// Open verifies and decrypts what Seal made, appends the plaintext to dst and
// returns the extended slice. dst may be ciphertext[:0] to decrypt in place,
// which destroys the ciphertext also when it fails. The error is
// [ErrAuthentication].
func (k *Keys) Open(dst, header, ciphertext []byte, pn uint64) ([]byte, error) {
	out, err := k.aead.Open(dst, k.nonceFor(pn), ciphertext, header)
	if err != nil {
		return nil, ErrAuthentication
	}
	return out, nil
}

// nonceFor combines the IV with a packet number.
func (k *Keys) nonceFor(pn uint64) []byte {
	k.nonce = k.iv
	tail := k.nonce[nonceLen-8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^pn)
	return k.nonce[:]
}

// InitialKeys returns the keys for [wire.SpaceInitial], before there is any
// secret (RFC 9001 section 5.2): they depend on the network and on the session
// ID dcid that the client chose for its first packet. Whoever sees the packet
// and knows the network's ID can derive them; they keep packets of other
// networks and versions apart and stop accidents, not attackers. The salt is
// weft's own, so that nothing that speaks QUIC mistakes these packets for its
// own either.
func InitialKeys(networkID [32]byte, dcid uint64, server bool) (read, write *Keys) {
	salt := sha256.Sum256(append([]byte("weft/1 initial salt\x00"), networkID[:]...))
	return initialKeys(salt[:], binary.BigEndian.AppendUint64(nil, dcid), server)
}

// initialKeys derives the initial keys from a salt and the client's first
// destination connection ID.
func initialKeys(salt, dcid []byte, server bool) (read, write *Keys) {
	s := must(suiteByID(tls.TLS_AES_128_GCM_SHA256)) // for all versions, says section 5.2
	secret := must(hkdf.Extract(s.hash, dcid, salt))
	fromClient := s.keys(s.expand(secret, "client in", sha256.Size))
	fromServer := s.keys(s.expand(secret, "server in", sha256.Size))
	if server {
		return fromClient, fromServer
	}
	return fromServer, fromClient
}
