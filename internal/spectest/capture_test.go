package spectest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
)

// A tap is the way between two endpoints, with a copy of all that passes.
type tap struct {
	mu     sync.Mutex
	frames [][]byte
}

// A tappedPath is one direction of the way.
type tappedPath struct {
	tap  *tap
	self identity.NodeID
	to   func(*frame.Frame)
}

func (p *tappedPath) Ready(session.Waker) bool { return true }
func (p *tappedPath) MaxPacket() int           { return 9000 }
func (p *tappedPath) ID() identity.NodeID      { return 0 }
func (p *tappedPath) String() string           { return "tapped" }
func (p *tappedPath) Send(f *frame.Frame) error {
	f.SetSrc(p.self)
	p.tap.mu.Lock()
	p.tap.frames = append(p.tap.frames, bytes.Clone(f.Bytes()))
	p.tap.mu.Unlock()
	p.to(f)
	return nil
}

// lockedBuffer is a key log.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// capture runs a session that sends data both ways on one stream, and returns
// what went over the wire and the key log.
func capture(t *testing.T, there, back []byte) (frames [][]byte, keyLog string) {
	t.Helper()
	network, err := identity.OpenNetwork(identity.NetworkConfig{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	wire, keys := &tap{}, &lockedBuffer{}
	accepted := make(chan *session.Session, 1)
	var ends [2]*session.Endpoint
	var ids [2]identity.NodeID
	var paths [2]*tappedPath
	for i := range ends {
		key, err := identity.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		credentials, err := identity.NewCredentials(key, network, []string{"end-" + string(rune('a'+i))})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = key.ID()
		paths[i] = &tappedPath{tap: wire, self: ids[i]}
		cfg := session.Config{Credentials: credentials, Layer: "native", Route: func(identity.NodeID) session.Path { return paths[i] }}
		if i == 0 {
			cfg.KeyLog = keys
		} else {
			cfg.OnSession = func(s *session.Session) { accepted <- s }
		}
		if ends[i], err = session.NewEndpoint(cfg); err != nil {
			t.Fatal(err)
		}
	}
	for i := range paths {
		paths[i].to = func(f *frame.Frame) { ends[1-i].Receive(f, paths[1-i]) }
	}
	defer ends[1].Close()
	defer ends[0].Close()
	talk(t, ends[0], ids[1], accepted, there, back)
	wire.mu.Lock()
	defer wire.mu.Unlock()
	return wire.frames, keys.b.String()
}

// talk sends there from an end to its peer, and back the other way.
func talk(t *testing.T, end *session.Endpoint, peer identity.NodeID, accepted <-chan *session.Session, there, back []byte) {
	t.Helper()
	ctx := t.Context()
	s, err := end.Dial(ctx, identity.Target{ID: peer})
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.OpenStream(ctx, 80)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serve(ctx, <-accepted, there, back) }()
	if _, err := st.Write(there); err != nil {
		t.Fatal(err)
	}
	if err := st.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(st)
	if err != nil || !bytes.Equal(got, back) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	_ = st.Close()
}

// serve accepts one stream.
func serve(ctx context.Context, s *session.Session, there, back []byte) error {
	st, err := s.AcceptStream(ctx)
	if err != nil {
		return err
	}
	if err := st.Accept(); err != nil {
		return err
	}
	got, err := io.ReadAll(st)
	if err != nil || !bytes.Equal(got, there) {
		return fmt.Errorf("read %d bytes, %w", len(got), err)
	}
	if _, err := st.Write(back); err != nil {
		return err
	}
	return st.Close()
}

// A decoder reads a captured session by its key log.
type decoder struct {
	t       *testing.T
	log     string
	open    [32]byte // network ID
	client  uint64   // node that dialled
	keys    map[string]protection
	crypto  map[string]*bytes.Buffer // by space and side
	kinds   map[uint64]uint64        // of streams
	data    map[string]*bytes.Buffer // by stream and side
	fins    int
	packets int
}

func side(fromClient bool) string {
	if fromClient {
		return "CLIENT"
	}
	return "SERVER"
}

// secret returns a secret of the key log for the client random.
func (d *decoder) secret(label string) []byte {
	random := hex.EncodeToString(d.crypto["initial CLIENT"].Bytes()[6:38]) // RFC 8446 section 4.1.2
	for line := range strings.Lines(d.log) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == label && f[1] == random {
			b, err := hex.DecodeString(f[2])
			if err != nil {
				d.t.Fatal(err)
			}
			return b
		}
	}
	d.t.Fatalf("the key log has no %s for client random %s", label, random)
	return nil
}

// protection returns the keys for a packet.
func (d *decoder) protection(p sealedPacket, fromClient bool) protection {
	name := fmt.Sprintf("%x %s", p.kind, side(fromClient))
	if k, ok := d.keys[name]; ok {
		return k
	}
	var k protection
	switch p.kind {
	case kindInitial:
		_, _, client, server := initialSecrets(d.open, p.dst) // the client's first
		d.keys[fmt.Sprintf("%x CLIENT", kindInitial)] = suites[0x1301].protection(client)
		d.keys[fmt.Sprintf("%x SERVER", kindInitial)] = suites[0x1301].protection(server)
		return d.keys[name]
	case kindHandshake:
		k = d.suiteOf().protection(d.secret(side(fromClient) + "_HANDSHAKE_TRAFFIC_SECRET"))
	case kindShort:
		k = d.suiteOf().protection(d.secret(side(fromClient) + "_TRAFFIC_SECRET_0"))
	}
	d.keys[name] = k
	return k
}

// suiteOf reads the cipher suite out of the ServerHello (RFC 8446 section 4.1.3).
func (d *decoder) suiteOf() suite {
	hello := d.crypto["initial SERVER"].Bytes()
	at := 4 + 2 + 32
	at += 1 + int(hello[at])
	return suites[binary.BigEndian.Uint16(hello[at:])]
}

func (d *decoder) linkFrame(b []byte) {
	f, err := readLinkFrame(b)
	if err != nil {
		d.t.Fatal(err)
	}
	if f.kind != 0 || f.hops != 16 {
		d.t.Fatalf("link frame of type %d with hop limit %d", f.kind, f.hops)
	}
	if d.client == 0 {
		d.client = f.src
	}
	for rest := f.packet; len(rest) > 0; {
		var p sealedPacket
		if p, rest, err = readPacket(rest); err != nil {
			d.t.Fatal(err)
		}
		fromClient := f.src == d.client
		plain, err := d.protection(p, fromClient).open(p)
		if err != nil {
			d.t.Fatalf("packet %d of kind %#x from %s does not open: %v", p.number, p.kind, side(fromClient), err)
		}
		d.packets++
		d.frames(p.kind, plain, fromClient)
	}
}

func (d *decoder) frames(kind byte, plain []byte, fromClient bool) {
	for len(plain) > 0 {
		var f sessionFrame
		var err error
		if f, plain, err = readFrame(plain); err != nil {
			d.t.Fatal(err)
		}
		switch f.kind {
		case 0x06:
			space := map[byte]string{kindInitial: "initial", kindHandshake: "handshake"}[kind]
			d.append(d.crypto, space+" "+side(fromClient), f)
		case 0x08:
			d.append(d.data, fmt.Sprintf("%d %s", f.stream, side(fromClient)), f)
			if f.fin {
				d.fins++
			}
		case 0x32:
			d.kinds[f.values[0]] = f.values[1]
		}
	}
}

// append puts what a frame carries behind what came before; nothing gets lost on
// the way, but things may be repeated.
func (d *decoder) append(to map[string]*bytes.Buffer, name string, f sessionFrame) {
	if to[name] == nil {
		to[name] = &bytes.Buffer{}
	}
	have := uint64(to[name].Len())
	if f.off > have {
		d.t.Fatalf("%s: data at %d, have %d bytes", name, f.off, have)
	}
	if skip := have - f.off; skip < uint64(len(f.data)) {
		to[name].Write(f.data[skip:])
	}
}

// certificate takes the leaf out of a Certificate message (RFC 8446 section 4.4.2).
func (d *decoder) certificate(name string) *x509.Certificate {
	b := d.crypto["handshake "+name].Bytes()
	for len(b) >= 4 {
		n := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		body := b[4 : 4+n]
		if b[0] == 11 {
			at := 1 + int(body[0]) + 3 // request context, list length
			size := int(body[at])<<16 | int(body[at+1])<<8 | int(body[at+2])
			cert, err := x509.ParseCertificate(body[at+3 : at+3+size])
			if err != nil {
				d.t.Fatal(err)
			}
			return cert
		}
		b = b[4+n:]
	}
	d.t.Fatalf("%s sent no certificate", name)
	return nil
}

func TestASecondReaderReadsCapturedSessions(t *testing.T) {
	t.Parallel()
	there, back := make([]byte, 300_000), make([]byte, 200_000)
	_, _ = rand.Read(there)
	_, _ = rand.Read(back)
	frames, keyLog := capture(t, there, back)
	d := &decoder{
		t: t, log: keyLog, open: networkID("weft", []byte("open")),
		keys: map[string]protection{}, crypto: map[string]*bytes.Buffer{}, kinds: map[uint64]uint64{}, data: map[string]*bytes.Buffer{},
	}
	for _, f := range frames {
		d.linkFrame(f)
	}
	if d.kinds[0] != 80 {
		t.Errorf("stream 0 has kind %d, want port 80", d.kinds[0])
	}
	if !bytes.Equal(d.data["0 CLIENT"].Bytes(), there) || !bytes.Equal(d.data["0 SERVER"].Bytes(), back) {
		t.Error("the stream's data are not what was sent")
	}
	if d.fins < 2 {
		t.Errorf("%d FINs, want one in each direction", d.fins)
	}
	cert := d.certificate("CLIENT")
	id := sha256.Sum256(cert.PublicKey.(ed25519.PublicKey))
	if binary.BigEndian.Uint64(id[:]) != d.client || cert.DNSNames[0] != "end-a" {
		t.Errorf("the client %016x shows a certificate of %x, %v", d.client, id[:8], cert.DNSNames)
	}
	t.Logf("%d link frames with %d packets", len(frames), d.packets)
}

func TestNothingIsReadableWithoutTheKeyLog(t *testing.T) {
	t.Parallel()
	there := bytes.Repeat([]byte("the quick brown fox jumps "), 4000)
	frames, _ := capture(t, there, there)
	for _, f := range frames {
		if bytes.Contains(f, []byte("quick brown")) || bytes.Contains(f, []byte("end-a")) {
			t.Fatal("a captured frame shows data or names in clear")
		}
	}
}
