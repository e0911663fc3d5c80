package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/wire"
)

// maxCrypto is how many CRYPTO bytes a peer may send in all spaces together
// over the life of a session. A handshake of two nodes takes about 2 KiB.
const maxCrypto = 64 << 10

// Config configures one side of a handshake. It must not be modified after
// being passed to [Client] or [Server].
type Config struct {
	// Credentials say who this side is and verify the peer.
	Credentials *identity.Credentials
	// Params are this side's transport parameters, opaque here.
	Params []byte
	// Check, if not nil, says whether a verified peer is welcome; for a client,
	// whether it is whom it dialled. It runs inside Receive and must not block.
	Check func(identity.Peer) error
	// KeyLog, if not nil, gets the TLS secrets in NSS key log format, by which
	// whoever has captured the packets can read them.
	KeyLog io.Writer
}

// A Conn is one side of a handshake. It belongs to one goroutine. Nothing
// blocks but for computing.
type Conn struct {
	ctx      context.Context // crypto/tls has it too, but hides why it ended
	tls      *tls.QUICConn
	out      [wire.NumSpaces][]byte  // CRYPTO bytes to send
	level    tls.QUICEncryptionLevel // in which CRYPTO bytes are expected
	received int                     // CRYPTO bytes

	read, write       *Keys  // for SpaceHandshake
	appRead, appWrite []byte // secrets, until there are both
	app               *AppKeys
	params            []byte
	peer              identity.Peer
	done              bool
	err               error
}

// Client begins a handshake. Its first flight is ready to Take. The caller must
// Close the Conn, also when the handshake fails. If ctx ends before the
// handshake does, the next Receive fails with its cause.
func Client(ctx context.Context, cfg Config) (*Conn, error) {
	return start(ctx, cfg, tls.QUICClient)
}

// Server answers a handshake; see [Client].
func Server(ctx context.Context, cfg Config) (*Conn, error) {
	return start(ctx, cfg, tls.QUICServer)
}

// start makes a Conn and lets crypto/tls begin.
func start(ctx context.Context, cfg Config, side func(*tls.QUICConfig) *tls.QUICConn) (*Conn, error) {
	c := &Conn{ctx: ctx}
	tlsConfig, err := c.tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.tls = side(&tls.QUICConfig{TLSConfig: tlsConfig})
	c.tls.SetTransportParameters(cfg.Params)
	if err := c.tls.Start(ctx); err != nil {
		c.Close()
		return nil, newError(err)
	}
	if err := c.drain(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// tlsConfig is the same for both sides but for what crypto/tls ignores on one.
func (c *Conn) tlsConfig(cfg Config) (*tls.Config, error) {
	cert, err := cfg.Credentials.Certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{*cert},
		NextProtos:   []string{cfg.Credentials.Network().ALPN()},
		// Both sides verify the other in VerifyPeerCertificate, by the rules of
		// the network. What these two fields turn off is the check against a
		// host name and the system's CAs, which have no say here.
		InsecureSkipVerify: true,
		ClientAuth:         tls.RequireAnyClientCert,
		VerifyPeerCertificate: func(rawCerts [][]byte, _ [][]*x509.Certificate) error {
			return c.verify(cfg, rawCerts)
		},
		// Sessions are long and resumption would skip VerifyPeerCertificate.
		SessionTicketsDisabled: true,
		KeyLogWriter:           cfg.KeyLog,
	}, nil
}

// verify runs in the goroutine of crypto/tls while the owner waits for it.
func (c *Conn) verify(cfg Config, rawCerts [][]byte) error {
	peer, err := cfg.Credentials.VerifyPeer(rawCerts)
	if err != nil {
		return err
	}
	if cfg.Check != nil {
		if err := cfg.Check(peer); err != nil {
			return err
		}
	}
	c.peer = peer
	return nil
}

// Receive takes CRYPTO bytes that arrived in a space, in order and without
// gaps, and does not keep data. Afterwards there may be bytes to Take, and keys.
// An error is a [*Error] and final; only Close is left to do.
func (c *Conn) Receive(space wire.Space, data []byte) error {
	if c.err != nil {
		return c.err
	}
	if len(data) == 0 {
		return nil
	}
	if space >= wire.NumSpaces || levels[space] != c.level {
		// RFC 9001 section 4.1.3.
		return c.fail(&Error{Code: codeProtocolViolation, Reason: fmt.Sprintf("handshake bytes in packet number space %v, where none belong now", space)})
	}
	if c.received += len(data); c.received > maxCrypto {
		return c.fail(&Error{Code: codeCryptoBufferExceeded, Reason: fmt.Sprintf("more than %d handshake bytes", maxCrypto)})
	}
	if err := c.tls.HandleData(c.level, data); err != nil {
		return c.fail(err)
	}
	return c.drain()
}

// drain handles what crypto/tls has to say.
func (c *Conn) drain() error {
	for {
		e := c.tls.NextEvent()
		if e.Kind == tls.QUICNoEvent {
			return nil
		}
		if err := c.handle(e); err != nil {
			return c.fail(err)
		}
	}
}

// handle handles one event. Its data is valid only until the next one.
func (c *Conn) handle(e tls.QUICEvent) error {
	switch e.Kind {
	case tls.QUICSetReadSecret:
		c.level = e.Level
		return c.setSecret(e, &c.read, &c.appRead)
	case tls.QUICSetWriteSecret:
		return c.setSecret(e, &c.write, &c.appWrite)
	case tls.QUICWriteData:
		if space := slices.Index(levels[:], e.Level); space >= 0 {
			c.out[space] = append(c.out[space], e.Data...)
		}
	case tls.QUICTransportParameters:
		c.params = append([]byte{}, e.Data...) // not nil, even if empty
	case tls.QUICHandshakeDone:
		c.done = true
	case tls.QUICErrorEvent:
		return e.Err
	}
	return nil
}

// setSecret makes the handshake keys of one direction, or keeps an application
// secret until both directions have theirs.
func (c *Conn) setSecret(e tls.QUICEvent, handshake **Keys, app *[]byte) error {
	s, err := suiteByID(e.Suite)
	if err != nil {
		return err
	}
	switch e.Level {
	case tls.QUICEncryptionLevelHandshake:
		*handshake = s.keys(e.Data)
	case tls.QUICEncryptionLevelApplication:
		*app = slices.Clone(e.Data)
		if c.appRead != nil && c.appWrite != nil {
			c.app = newAppKeys(s, c.appRead, c.appWrite)
			c.appRead, c.appWrite = nil, nil
		}
	}
	return nil
}

// fail remembers why the handshake ended.
func (c *Conn) fail(err error) error {
	if cause := context.Cause(c.ctx); cause != nil && !c.Done() {
		// crypto/tls would report this as an alert that it sent.
		err = fmt.Errorf("the handshake was given up: %w", cause)
	}
	c.err = newError(err)
	return c.err
}

// Take returns the CRYPTO bytes to send in a space since the last call, and nil
// if there are none. The caller owns them.
func (c *Conn) Take(space wire.Space) []byte {
	if space >= wire.NumSpaces {
		return nil
	}
	out := c.out[space]
	c.out[space] = nil
	return out
}

// ReadKeys returns the keys for packets that arrive in SpaceHandshake, and nil
// before they are known and for other spaces.
func (c *Conn) ReadKeys(space wire.Space) *Keys {
	if space != wire.SpaceHandshake {
		return nil
	}
	return c.read
}

// WriteKeys is ReadKeys for packets to send.
func (c *Conn) WriteKeys(space wire.Space) *Keys {
	if space != wire.SpaceHandshake {
		return nil
	}
	return c.write
}

// AppKeys returns the keys for [wire.SpaceApp], and nil until Done.
func (c *Conn) AppKeys() *AppKeys {
	if !c.Done() {
		return nil
	}
	return c.app
}

// CanSendApp reports whether packets can be sent in SpaceApp: once Done. A
// server could half a round trip earlier, but would not know to whom.
func (c *Conn) CanSendApp() bool { return c.Done() }

// CanReceiveApp reports whether packets can be opened in SpaceApp: once Done
// (RFC 9001 section 5.7). Those that come earlier may be kept until then.
func (c *Conn) CanReceiveApp() bool { return c.Done() }

// PeerParams returns the peer's transport parameters, and nil before they
// arrived. Until Done, anybody on the way may have written a client's.
func (c *Conn) PeerParams() []byte { return c.params }

// Done reports whether the handshake is complete (RFC 9001 section 4.1.1): the
// peer has proven that it has the key of Peer, and both sides saw the same
// bytes. A client does not know yet whether the server has accepted it: that is
// the confirmation of section 4.1.2, a matter of the session.
func (c *Conn) Done() bool { return c.done && c.app != nil }

// Peer returns who the peer is. It is the zero Peer until the certificate was
// verified, and only a claim until Done.
func (c *Conn) Peer() identity.Peer { return c.peer }

// Close ends an unfinished handshake, waits for the goroutine of crypto/tls and
// forgets what only the handshake needed, most of a Conn's memory. AppKeys and Peer
// stay, and so do other keys that were taken before. Receive fails from then on. Close
// may be called again.
func (c *Conn) Close() {
	if c.err == nil {
		c.err = newError(errClosed)
	}
	if c.tls == nil {
		return
	}
	_ = c.tls.Close() // returns why the handshake failed, which c.err has
	c.tls, c.read, c.write = nil, nil, nil
	c.out = [wire.NumSpaces][]byte{}
}

var errClosed = fmt.Errorf("the handshake is over: %w", net.ErrClosed)

// levels are the TLS names of the packet number spaces. There is no space for
// early data.
var levels = [wire.NumSpaces]tls.QUICEncryptionLevel{
	wire.SpaceInitial:   tls.QUICEncryptionLevelInitial,
	wire.SpaceHandshake: tls.QUICEncryptionLevelHandshake,
	wire.SpaceApp:       tls.QUICEncryptionLevelApplication,
}
