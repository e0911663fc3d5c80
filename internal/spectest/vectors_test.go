package spectest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/identity"
)

// vectors returns the lines "name = hex" of SPEC.md's appendix A.
func vectors(t *testing.T) map[string][]byte {
	t.Helper()
	spec, err := os.ReadFile("../../SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, appendix, ok := strings.Cut(string(spec), "\n## Appendix A")
	if !ok {
		t.Fatal("SPEC.md has no appendix A")
	}
	out := map[string][]byte{}
	name := ""
	for line := range strings.Lines(appendix) {
		line, indented := strings.CutPrefix(line, "    ")
		if !indented {
			name = ""
			continue
		}
		value := strings.TrimSpace(line)
		if n, v, ok := strings.Cut(line, "="); ok {
			name, value = strings.TrimSpace(n), strings.TrimSpace(v)
		}
		b, err := hex.DecodeString(value)
		if err != nil || name == "" {
			t.Fatalf("appendix A: line %q is not hexadecimal digits", line)
		}
		out[name] = append(out[name], b...)
	}
	return out
}

// A deriver computes the vectors from the text of SPEC.md alone.
type deriver struct {
	t     *testing.T
	named map[string][]byte
}

func (d *deriver) set(name string, v []byte) []byte {
	d.named[name] = v
	return v
}

// counting returns n bytes: first, first+1 and so on.
func counting(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

const vectorSecret = "correct horse battery staple"

func derive(t *testing.T) map[string][]byte {
	t.Helper()
	d := &deriver{t, map[string][]byte{}}
	d.identity()
	d.initial()
	d.oneRTT("aes128", 0x1301)
	d.oneRTT("aes256", 0x1302)
	d.oneRTT("chacha", 0x1303)
	return d.named
}

// identity is section 2 and section 5.14.
func (d *deriver) identity() {
	seed := d.set("node seed", counting(0, 32))
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	d.set("node key", public)
	id := sha256.Sum256(public)
	d.set("node ID", id[:8])
	salt := sha256.Sum256([]byte("weft network secret\x00weft"))
	caSeed := d.set("CA seed", argon2.IDKey([]byte(vectorSecret), salt[:], 2, 19456, 1, 32))
	ca := d.set("CA key", ed25519.NewKeyFromSeed(caSeed).Public().(ed25519.PublicKey))
	closed := networkID("weft", ca)
	d.set("closed network ID", closed[:])
	members := d.expand(caSeed, closed[:], "weft network shared")
	d.set("members' key", members)
	body := slices.Concat(closed[:], members, counting(0x60, 32), []byte("weft"))
	d.set("rotated body", body)
	sum := sha256.Sum256(body)
	secret := "weft-secret-2-" + base64.RawURLEncoding.EncodeToString(append(body, sum[:4]...))
	caSeed2 := argon2.IDKey([]byte(secret), salt[:], 2, 19456, 1, 32)
	d.set("rotated CA key", ed25519.NewKeyFromSeed(caSeed2).Public().(ed25519.PublicKey))
	open := networkID("weft", []byte("open"))
	d.set("open network ID", open[:])
	mac := hmac.New(sha256.New, d.expand(seed, nil, "weft derive\x00weft stateless reset\x00"))
	mac.Write(counting(0x10, 8))
	d.set("reset token", mac.Sum(nil)[:16])
	caKey := ed25519.NewKeyFromSeed(caSeed)
	d.set("node revocation", revocation(caKey, closed, 1, public, 0))
	d.set("invite revocation", revocation(caKey, closed, 2, counting(0x20, 8), 4102444800))
}

func (d *deriver) expand(key, salt []byte, info string) []byte {
	k, err := hkdf.Key(sha256.New, key, salt, info, 32)
	if err != nil {
		d.t.Fatal(err)
	}
	return k
}

// revocation is section 2.6.
func revocation(ca ed25519.PrivateKey, network [32]byte, kind byte, subject []byte, until uint64) []byte {
	b := binary.BigEndian.AppendUint64(append([]byte{kind}, subject...), until)
	return append(b, ed25519.Sign(ca, append([]byte("weft signature\x00revocation 1\x00"), append(network[:], b...)...))...)
}

// initial is a client's first packet of section 5.1, with a PING frame.
func (d *deriver) initial() {
	dcid := binary.BigEndian.Uint64(d.set("first destination", counting(0x80, 8)))
	salt, initial, client, server := initialSecrets([32]byte(d.named["closed network ID"]), dcid)
	d.set("initial salt", salt)
	d.set("initial secret", initial)
	d.set("client initial secret", client)
	d.set("server initial secret", server)
	p := suites[0x1301].protection(client)
	d.set("client initial key", p.key)
	d.set("client initial IV", p.iv)
	header := []byte{0xc0, 1}
	header = append(header, counting(0x80, 8)...)        // destination
	header = append(header, counting(0x90, 8)...)        // source
	header = binary.BigEndian.AppendUint16(header, 4+17) // number, PING and tag
	header = binary.BigEndian.AppendUint32(header, 2)
	d.set("initial packet", p.aead.Seal(bytes.Clone(header), p.nonce(2), []byte{1}, header))
}

// oneRTT is a packet of section 5.1 with a short header, in key phases 0 and 1.
func (d *deriver) oneRTT(name string, id uint16) {
	s := suites[id]
	secret := d.set(name+" secret", counting(0x40, s.hash().Size()))
	for phase := range byte(2) {
		p := s.protection(secret)
		label := fmt.Sprintf("%s phase %d ", name, phase)
		d.set(label+"key", p.key)
		d.set(label+"IV", p.iv)
		number := uint64(0x1_0000_0007) // more than the 32 bits in the header
		header := append([]byte{0x40 | phase<<2}, counting(0xa0, 8)...)
		header = binary.BigEndian.AppendUint32(header, uint32(number))
		frame := append([]byte{0x0a, 0x00, 0x05}, "hello"...) // STREAM 0 with length
		d.set(label+"packet", p.aead.Seal(bytes.Clone(header), p.nonce(number), frame, header))
		secret = s.expandLabel(secret, "quic ku", len(secret))
	}
}

func TestVectorsOfTheSpecification(t *testing.T) {
	t.Parallel()
	want, got := derive(t), vectors(t)
	for name, v := range want {
		if !bytes.Equal(got[name], v) {
			t.Errorf("appendix A: want\n    %s = %x\nit has %x", name, v, got[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("appendix A: nothing checks %q", name)
		}
	}
}

func TestIdentityKeepsToTheVectors(t *testing.T) {
	t.Parallel()
	v := vectors(t)
	if id := binary.BigEndian.AppendUint64(nil, uint64(identity.PublicKey(v["node key"]).ID())); !bytes.Equal(id, v["node ID"]) {
		t.Errorf("node ID %x, want %x", id, v["node ID"])
	}
	for name, cfg := range map[string]identity.NetworkConfig{
		"closed network ID": {Secret: vectorSecret},
		"open network ID":   {Open: true},
	} {
		n, err := identity.OpenNetwork(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if id := n.ID(); !bytes.Equal(id[:], v[name]) {
			t.Errorf("%s %x, want %x", name, id, v[name])
		}
	}
}

func TestReplacedSecretsKeepToTheVectors(t *testing.T) {
	t.Parallel()
	v := vectors(t)
	text := func(prefix string, body []byte) string {
		sum := sha256.Sum256(body)
		return prefix + base64.RawURLEncoding.EncodeToString(slices.Concat(body, sum[:4]))
	}
	secret := text("weft-secret-2-", v["rotated body"])
	n, err := identity.OpenNetwork(identity.NetworkConfig{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	if id := n.ID(); !bytes.Equal(id[:], v["closed network ID"]) {
		t.Errorf("the network ID is %x", id)
	}
	if want := text("weft-ca-1-", slices.Concat(v["closed network ID"], v["rotated CA key"], []byte("weft"))); n.CA() != want {
		t.Errorf("the CA is %s, want %s", n.CA(), want)
	}
	first, err := identity.OpenNetwork(identity.NetworkConfig{Secret: vectorSecret}, secret)
	if err != nil || first.Derive("x") != n.Derive("x") {
		t.Errorf("the first secret does not go with it: %v", err)
	}
}

func TestRevocationsKeepToTheVectors(t *testing.T) {
	t.Parallel()
	v := vectors(t)
	n, err := identity.OpenNetwork(identity.NetworkConfig{Secret: vectorSecret})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]identity.Revocation{
		"node revocation":   {Node: identity.PublicKey(v["node key"])},
		"invite revocation": {Invite: 0x2021222324252627, Until: time.Unix(4102444800, 0)},
	} {
		if b, err := n.Revoke(r); err != nil || !bytes.Equal(b, v[name]) {
			t.Errorf("%s %x, %v, want %x", name, b, err, v[name])
		}
	}
}

func TestInitialKeysKeepToTheVectors(t *testing.T) {
	t.Parallel()
	v := vectors(t)
	read, _ := handshake.InitialKeys([32]byte(v["closed network ID"]), binary.BigEndian.Uint64(v["first destination"]), true)
	p, _, err := readPacket(v["initial packet"])
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := read.Open(nil, p.header, p.payload, uint64(p.number)); err != nil || !bytes.Equal(plain, []byte{1}) {
		t.Fatalf("the vector opens as %x, %v; want a PING", plain, err)
	}
}

func TestPacketProtectionKeepsToTheVectors(t *testing.T) {
	t.Parallel()
	v := vectors(t)
	const number = 0x1_0000_0007
	for name, id := range map[string]uint16{
		"aes128": tls.TLS_AES_128_GCM_SHA256,
		"aes256": tls.TLS_AES_256_GCM_SHA384,
		"chacha": tls.TLS_CHACHA20_POLY1305_SHA256,
	} {
		keys, err := handshake.NewAppKeys(id, v[name+" secret"], v[name+" secret"])
		if err != nil {
			t.Fatal(err)
		}
		_ = keys.Seal(nil, nil, nil, 0) // only who has sent may be asked for a key update
		for phase := range 2 {
			p, _, err := readPacket(v[fmt.Sprintf("%s phase %d packet", name, phase)])
			if err != nil {
				t.Fatal(err)
			}
			plain, err := keys.Open(nil, p.header, p.payload, number, p.phase)
			if err != nil || !bytes.HasSuffix(plain, []byte("hello")) {
				t.Errorf("%s, phase %d: the vector opens as %q, %v", name, phase, plain, err)
			}
		}
	}
}
