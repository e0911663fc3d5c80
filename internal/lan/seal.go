package lan

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/weftnet/weft/internal/identity"
)

// Sizes of what is sealed, in bytes.
const (
	// sealVersion begins what is sealed. Others are not understood.
	sealVersion = 1
	// sealBlock is what the length is padded to, so that it does not tell the
	// number of names and addresses from outside.
	sealBlock  = 64
	sealHead   = 1 + 8 + 2 + 1 + 1
	addrLen    = 16
	nameTagLen = 8
	// maxSealed is the most that is looked at: nonce and tag around the blocks
	// that hold eight addresses and sixteen names.
	maxSealed = 28 + (sealHead+MaxAddrs*addrLen+identity.MaxNames*nameTagLen+sealBlock-1)/sealBlock*sealBlock
)

var errSealed = errors.New("lan: what a node says of itself does not open or is not understood")

// A nameTag is the hash of a name, by which members recognize one that they
// know.
type nameTag [nameTagLen]byte

// A claim is what a node says of itself.
type claim struct {
	id    identity.NodeID
	port  uint16
	addrs []netip.Addr // no zones
	names []nameTag
}

// A sealer seals and opens claims.
type sealer struct {
	aead cipher.AEAD
	tags []byte // key of the names' hashes
}

func newSealer(key [32]byte) (*sealer, error) {
	block, err := aes.NewCipher(digest(key[:], "seal"))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, tags: digest(key[:], "names")}, nil
}

// digest is HMAC-SHA256.
func digest(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(text))
	return mac.Sum(nil)
}

func (s *sealer) nameTag(name string) nameTag { return nameTag(digest(s.tags, name)) }

// seal returns the nonce and the sealed claim, bound to the instance's name:
// version, ID, port, number of addresses and of names, these, zeros.
func (s *sealer) seal(c claim, instance string) []byte {
	b := make([]byte, 0, maxSealed)
	b = append(b, sealVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(c.id))
	b = binary.BigEndian.AppendUint16(b, c.port)
	addrs := c.addrs[:min(len(c.addrs), MaxAddrs)]
	names := c.names[:min(len(c.names), identity.MaxNames)]
	b = append(b, byte(len(addrs)), byte(len(names)))
	for _, a := range addrs {
		b16 := a.As16()
		b = append(b, b16[:]...)
	}
	for _, t := range names {
		b = append(b, t[:]...)
	}
	for len(b)%sealBlock != 0 {
		b = append(b, 0)
	}
	return s.aead.Seal(nil, nil, b, []byte(instance))
}

// open is the inverse of seal.
func (s *sealer) open(b []byte, instance string) (claim, error) {
	if len(b) > maxSealed {
		return claim{}, errSealed
	}
	b, err := s.aead.Open(nil, nil, b, []byte(instance))
	if err != nil || len(b) < sealHead || b[0] != sealVersion {
		return claim{}, errSealed
	}
	c := claim{id: identity.NodeID(binary.BigEndian.Uint64(b[1:])), port: binary.BigEndian.Uint16(b[9:])}
	addrs, names := int(b[11]), int(b[12])
	b = b[sealHead:]
	if c.id == 0 || c.port == 0 || addrs > MaxAddrs || names > identity.MaxNames || len(b) < addrs*addrLen+names*nameTagLen {
		return claim{}, errSealed
	}
	for range addrs {
		c.addrs = append(c.addrs, netip.AddrFrom16([addrLen]byte(b)).Unmap())
		b = b[addrLen:]
	}
	for range names {
		c.names = append(c.names, nameTag(b))
		b = b[nameTagLen:]
	}
	return c, nil
}
