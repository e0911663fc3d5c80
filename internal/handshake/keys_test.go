package handshake

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
)

var allSuites = map[string]uint16{
	"AES-128-GCM":       tls.TLS_AES_128_GCM_SHA256,
	"AES-256-GCM":       tls.TLS_AES_256_GCM_SHA384,
	"ChaCha20-Poly1305": tls.TLS_CHACHA20_POLY1305_SHA256,
}

// eachSuite runs a test for each suite, with a secret of the right length.
func eachSuite(t *testing.T, f func(t *testing.T, s suite, secret []byte)) {
	for name, id := range allSuites {
		t.Run(name, func(t *testing.T) {
			s, err := suiteByID(id)
			if err != nil {
				t.Fatal(err)
			}
			f(t, s, randomBytes(s.hash().Size()))
		})
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors of RFC 9001 appendix A.1, with the salt of section 5.2, and the
// server's Initial packet of A.3 before header protection.
func TestInitialKeysMatchRFC9001(t *testing.T) {
	salt := unhex(t, "38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
	fromClient, fromServer := initialKeys(salt, unhex(t, "8394c8f03e515708"), true)
	if got, want := fromClient.iv[:], unhex(t, "fa044b2f42a3fd3b46fb255c"); !bytes.Equal(got, want) {
		t.Errorf("client IV %x, want %x", got, want)
	}
	if got, want := fromServer.iv[:], unhex(t, "0ac1493ca1905853b0bba03e"); !bytes.Equal(got, want) {
		t.Errorf("server IV %x, want %x", got, want)
	}
	header := unhex(t, "c1000000010008f067a5502a4262b50040750001")
	payload := unhex(t, "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cf"+
		"c79825df566dc5430b9a045a1200130100002e00330024001d00209d3c940d89690b84d08a60993c144eca"+
		"684d1081287c834d5311bcf32bb9da1a002b00020304")
	want := unhex(t, "5a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec249"+
		"3a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795"+
		"d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee")
	if got := fromServer.Seal(nil, header, payload, 1); !bytes.Equal(got, want) {
		t.Errorf("server Initial packet:\n got %x\nwant %x", got, want)
	}
}

// The vectors of RFC 9001 appendix A.5.
func TestChaCha20KeysMatchRFC9001(t *testing.T) {
	s, err := suiteByID(tls.TLS_CHACHA20_POLY1305_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	secret := unhex(t, "9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")
	k := s.keys(secret)
	if got, want := s.expand(secret, "quic key", 32), unhex(t, "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8"); !bytes.Equal(got, want) {
		t.Errorf("key %x, want %x", got, want)
	}
	if got, want := k.iv[:], unhex(t, "e0459b3474bdd0e44a41c144"); !bytes.Equal(got, want) {
		t.Errorf("IV %x, want %x", got, want)
	}
	if got, want := s.update(secret), unhex(t, "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9"); !bytes.Equal(got, want) {
		t.Errorf("updated secret %x, want %x", got, want)
	}
	if got, want := k.Seal(nil, unhex(t, "4200bff4"), []byte{1}, 654360564), unhex(t, "655e5cd55c41f69080575d7999c25a5bfb"); !bytes.Equal(got, want) {
		t.Errorf("packet %x, want %x", got, want)
	}
}

func TestUnknownSuiteIsAnError(t *testing.T) {
	if _, err := suiteByID(0x1304); err == nil {
		t.Error("no error")
	}
}

func TestKeysOpenWhatTheySealInPlaceAndAppended(t *testing.T) {
	eachSuite(t, func(t *testing.T, s suite, secret []byte) {
		seal, open := s.keys(secret), s.keys(secret)
		header, plain := []byte("header"), []byte("some plaintext")
		for pn, size := range []int{0, 1, 14, 1200, 64 << 10} {
			plain = append(plain[:0], randomBytes(size)...)
			packet := slices.Concat(header, plain, make([]byte, Overhead))
			body := packet[len(header) : len(header)+size]
			sealed := seal.Seal(packet[:len(header)], header, body, uint64(pn))
			if len(sealed) != len(packet) || &sealed[0] != &packet[0] {
				t.Fatalf("sealing %d bytes in place gave %d bytes elsewhere", size, len(sealed)-len(header))
			}
			body = sealed[len(header):]
			got, err := open.Open(body[:0], header, body, uint64(pn))
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes: opened %d bytes, %v", size, len(got), err)
			}
		}
	})
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	eachSuite(t, func(t *testing.T, s suite, secret []byte) {
		k := s.keys(secret)
		header, plain := []byte("header"), []byte("plaintext")
		packet := k.Seal(slices.Clone(header), header, plain, 7)
		for i := range len(packet) * 8 {
			bad := slices.Clone(packet)
			bad[i/8] ^= 1 << (i % 8)
			if _, err := k.Open(nil, bad[:len(header)], bad[len(header):], 7); !errors.Is(err, ErrAuthentication) {
				t.Fatalf("bit %d flipped: %v, want ErrAuthentication", i, err)
			}
		}
		body := packet[len(header):]
		for n := range len(body) {
			if _, err := k.Open(nil, header, body[:n], 7); !errors.Is(err, ErrAuthentication) {
				t.Fatalf("cut to %d bytes: %v, want ErrAuthentication", n, err)
			}
		}
		if _, err := k.Open(nil, header, body, 8); !errors.Is(err, ErrAuthentication) {
			t.Errorf("another packet number: %v, want ErrAuthentication", err)
		}
	})
}

func TestSealRefusesToUseAPacketNumberTwice(t *testing.T) {
	_, k := InitialKeys([32]byte{1}, 1, false)
	k.Seal(nil, nil, nil, 5)
	for _, pn := range []uint64{5, 4, 0} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("sealed packet %d after packet 5", pn)
				}
			}()
			k.Seal(nil, nil, nil, pn)
		}()
	}
}

func TestInitialKeysOpenOnlyWithinANetworkAndSession(t *testing.T) {
	_, write := InitialKeys([32]byte{1}, 2, false)
	packet := write.Seal(nil, []byte("h"), []byte("hello"), 0)
	tests := []struct {
		name    string
		network byte
		dcid    uint64
		server  bool
		want    error
	}{
		{"the server", 1, 2, true, nil},
		{"the client itself", 1, 2, false, ErrAuthentication},
		{"another network", 2, 2, true, ErrAuthentication},
		{"another session", 1, 3, true, ErrAuthentication},
	}
	for _, tt := range tests {
		read, _ := InitialKeys([32]byte{tt.network}, tt.dcid, tt.server)
		if _, err := read.Open(nil, []byte("h"), packet, 0); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestSealAndOpenDoNotAllocate(t *testing.T) {
	eachSuite(t, func(t *testing.T, s suite, secret []byte) {
		seal, open := s.keys(secret), s.keys(secret)
		left, right := newAppKeys(s, secret, secret), newAppKeys(s, secret, secret)
		header, buf := make([]byte, 20), make([]byte, 1200+Overhead)
		forged := make([]byte, 1200)
		pn := uint64(0)
		if n := testing.AllocsPerRun(100, func() {
			pn++
			packet := seal.Seal(buf[:0], header, buf[:1200], pn)
			if _, err := open.Open(packet[:0], header, packet, pn); err != nil {
				t.Fatal(err)
			}
			packet = left.Seal(buf[:0], header, buf[:1200], pn)
			if _, err := right.Open(packet[:0], header, packet, pn, left.Phase()); err != nil {
				t.Fatal(err)
			}
			if _, err := right.Open(forged[:0], header, forged, pn, !left.Phase()); err == nil {
				t.Fatal("a forged packet opened")
			}
		}); n != 0 {
			t.Errorf("%v allocations a packet, want none", n)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for name, id := range allSuites {
		for size, sizeName := range map[int]string{1200: "1200", 64000: "64000"} {
			b.Run(name+"/"+sizeName, func(b *testing.B) {
				s, err := suiteByID(id)
				if err != nil {
					b.Fatal(err)
				}
				k := s.keys(randomBytes(s.hash().Size()))
				header, buf := make([]byte, 20), make([]byte, size+Overhead)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for pn := uint64(0); b.Loop(); pn++ {
					k.Seal(buf[:0], header, buf[:size], pn)
				}
			})
		}
	}
}
