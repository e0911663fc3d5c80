package overlay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/link/linkdial"
	"github.com/weftnet/weft/internal/uplink"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
)

// A Config says which network a node belongs to, who it is there and what its
// limits are. Zero values are the defaults; a negative duration or limit is an
// error unless the field says otherwise. A Config must not be modified after
// New has it. Its functions are called in the node's goroutines: one that panics
// ends the program, since nothing is recovered.
type Config struct {
	// Network is the name of the network: 1 to 32 of a to z, 0 to 9 and dash.
	// Nodes of networks with different names never meet. Empty: "weft", or what
	// the Invite or a rotated Secret says.
	Network string
	// Secret makes whoever knows it a member of the network: at least 16
	// characters, best made by [NewSecret] or, to replace another, by
	// [RotateSecret]. Exactly one of Secret, Invite and Open is required.
	Secret string
	// Invite is a token that [NewInvite] or `weft invite` has made: with it the
	// node is a member until the invite expires, and never learns the secret.
	// The node has the invite's roles, and may have its names; a day before it
	// expires, and when it has, the node says so in the log, to OnEvent and in
	// [Status].
	Invite string
	// AlsoAccept is what makes others members of the same network while its secret
	// is being replaced: the new secret while Secret is the old one, then the old
	// one while Secret is the new one. In place of a secret it can be an invite, or
	// the name of a CA as `weft network` shows it, for nodes that are not to know
	// the secret. At most 4; each secret takes tens of milliseconds. Another
	// network's is an error. Empty: only Secret or Invite makes members.
	AlsoAccept []string
	// Open makes the network one that everybody may join who knows its name.
	// Conns are still sealed and IDs and keys still proven; names are not.
	Open bool

	// Key is the node's private key. At most one of Key and StateDir is set.
	// Neither: a new key, and so a new node ID, each time.
	Key *PrivateKey
	// StateDir is the directory that holds the node's key, or will: see
	// [LoadKey]. The node also keeps there, in relays.json, which relays others
	// told it of, for the day on which none of Relays is there any more; and in
	// revocations, what it knows to be revoked.
	StateDir string
	// Name is a name by which others can dial the node: a DNS name such as
	// "kv-1", without a ".weft" behind it. Empty: the node has only its ID and
	// key. Several nodes may have one name, but can then not be dialled by it.
	Name string
	// Roles are words in the node's certificate that a [Rule] can ask for, such
	// as "backup": at most 8, of a to z, 0 to 9 and dash. Nobody but who knows the
	// secret, or gives invites, decides who has which; in an open network they
	// prove nothing. The role "relay" is relay.Server's to take. Empty: those
	// of the invite, if there is one.
	Roles []string

	// Relays are the relays that the node begins with: "host:port" or
	// "tcp://host:port"; or "wss://host[:port][/path]" for one behind a web
	// server, which looks like any HTTPS from outside; or the same with ws, for
	// no TLS. Ports 443 and 80 and the path /link may be left out. A host name
	// may stand for several addresses, all of which are tried. The node uses
	// two relays at a time, its home and a spare, of these and of those that
	// they tell it of. Nil: those that the invite names. Empty: none ever, for a
	// node that is a relay itself and needs no other.
	Relays []string
	// DialLink makes the connections to relays and proxies, of network "tcp",
	// for tests. Nil: a net.Dialer.
	DialLink func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolver looks up the host names in relays' addresses. Nil:
	// net.DefaultResolver; but DialLink and proxies, where there are any, get
	// the names as they are.
	Resolver Resolver
	// LinkTLS is for wss relays, and proxies with TLS. The relays are proven to
	// be of the network without it; it is there to pass for HTTPS. Nil: the
	// defaults, with the system's certificate authorities.
	LinkTLS *tls.Config
	// Proxy returns the HTTP proxy through which a relay is reached, nil for
	// none; it is asked with "https://host:port" for relays of all schemes. The
	// proxy's user and password, if it needs them, are in its URL. Nil: what
	// HTTPS_PROXY and NO_PROXY in the environment say, never for loopback
	// addresses; but no proxy if DialLink is set.
	Proxy func(*url.URL) (*url.URL, error)

	// NoDirect turns off direct paths: all packets go over relays, and the node
	// opens no UDP socket and makes no links with peers. False: sessions begin on a relay and move to a direct
	// path as soon as there is one.
	NoDirect bool
	// NoLAN turns off that nodes of the network on one LAN find each other
	// without a relay, by multicast DNS. Who is on the LAN and not of the network
	// sees that a node is there, not which. False: they do, unless NoDirect is
	// set; if UDPAddr names one address, on its interface alone.
	NoLAN bool
	// UDPAddr is where the node's UDP socket listens, as "host:port" with an IP
	// address or nothing for the host. A fixed port is for those who open it in
	// a firewall. Empty: ":0", all addresses and any port; then a system that
	// gives no socket is no error, and the node uses relays and links only.
	UDPAddr string
	// STUNServers are further servers, as "host:port", that tell the node its
	// address outside of its NAT (RFC 8489). The relays in use are asked in any
	// case, on the UDP port of the same number. At most 8 in all are asked.
	STUNServers []string
	// PortMapper opens the node's UDP port at the gateway, once a server outside
	// has seen that there is a NAT. Package portmap has one. Nil: none.
	PortMapper PortMapper
	// ListenUDP opens the node's UDP socket at UDPAddr, for tests. A conn with a
	// method LocalAddrs() []netip.Addr says by it which addresses the host has;
	// they are asked for every two seconds. Nobody is looked for on a LAN then.
	// Nil: the system's sockets; but no direct paths if DialLink is set.
	ListenUDP func(ctx context.Context, address string) (net.PacketConn, error)

	// LinkAddr is where the node accepts links over TCP from peers, as
	// "host:port" with an IP address or nothing for the host: a direct path for
	// those whose UDP is blocked. Peers that are told of it over a relay dial it; nobody
	// else gets further than to prove who he is. Whoever runs a relay
	// needs none: its own port is enough. Empty: the node accepts none, and only dials
	// those of others.
	LinkAddr string
	// ListenLink opens the listener at LinkAddr, for tests. A conn of it that is
	// one of a simulation, as those of DialLink, is used as it is. Nil: the system's.
	ListenLink func(ctx context.Context, address string) (net.Listener, error)

	// Reliability is the layer that makes conns out of sessions; nodes that
	// talk to each other need the same: [native.Layer], or one of packages
	// stream/yamux and stream/sctp. Nil: native.
	Reliability stream.Layer
	// Allow decides which peers may open conns and send packets to this node,
	// before the rules of its listeners. Nil: all members of the network.
	Allow *Rule
	// Logger is told what happens to the node. Nil: silence.
	Logger logrus.FieldLogger
	// OnEvent is told what happens between the node and its relays and peers, one event
	// after the other in one goroutine. The node does not wait for it: when 128
	// events are waiting, further ones are dropped and counted. It must not
	// call Close or Shutdown of the node, which wait for it. Nil: nobody is
	// told.
	OnEvent func(Event)

	// KeyLogWriter gets the secrets of all sessions in NSS key log format, so
	// that captured packets can be read: SPEC.md section 5.2 says how. Whoever
	// has them reads everything; it is for finding faults, never for
	// production. Writes come from several goroutines, one at a time. Nil: none.
	KeyLogWriter io.Writer

	// HandshakeTimeout is how long a new session with a peer may take. Zero:
	// 10 s.
	HandshakeTimeout time.Duration
	// PeerTimeout is how long a peer may leave something unanswered before it
	// counts as lost and its conns fail. Zero: 60 s.
	PeerTimeout time.Duration
	// KeepAlive is the silence after which a peer with open conns is asked for
	// a sign of life. Zero: 10 s.
	KeepAlive time.Duration
	// IdleTimeout is how long a session without conns is kept for the next
	// one. Zero: 5 min.
	IdleTimeout time.Duration
	// LinkKeepAlive is the silence of a relay after which it is pinged. Zero:
	// 10 s, or two thirds of LinkDeadAfter if that is less.
	LinkKeepAlive time.Duration
	// LinkDeadAfter is the silence after which a link to a relay is given up
	// and made anew. Zero: 15 s.
	LinkDeadAfter time.Duration

	// MaxHandshakes is how many handshakes that others have begun may be
	// unfinished at a time; who comes when there are more is not answered, and
	// tries again. Everybody behind the node's relays may begin one, and each
	// takes memory until it is done or HandshakeTimeout has passed; as many may be
	// begun each second, since each takes some processor time, a millisecond or so.
	// The same holds for the two limits below. Zero: 1024.
	MaxHandshakes int
	// MaxHandshakesPerNode is how many of them may be in the name of one node. A
	// node needs one, and a few more if it restarts or its packets are lost; who
	// sends in another's name fills that one's share and no more. Zero: 8.
	MaxHandshakesPerNode int
	// MaxHandshakesPerAddress is how many of them may come from one IPv4 address
	// or one IPv6 /64 network, over direct paths or, to a relay, over the links of
	// nodes, so that one attacker does not take all of MaxHandshakes. It is as
	// large as relay.Server.MaxLinksPerAddress, so that all nodes of a company
	// behind one address may come back in the same moment: who is not answered
	// tries again after a second or more. It does not hold for what comes over
	// relays, nor for relays with a negative MaxLinksPerAddress, whose links count
	// one by one. Zero: 256.
	MaxHandshakesPerAddress int
	// Backlog is how many conns may wait to be accepted at each listener;
	// further ones are refused. Zero: 128.
	Backlog int
	// MaxStreams is how many conns a peer may have open to this node. Zero:
	// 16384.
	MaxStreams int
	// StreamWindow is how many bytes a peer may send ahead on a new conn.
	// Zero: 256 KiB.
	StreamWindow int
	// MaxStreamWindow is to what the window grows on a fast and long path,
	// never less than StreamWindow. A session keeps at most 64 StreamWindow and
	// twice this, whatever its streams: of what has come and was not read, and of
	// what was sent and not acknowledged. Zero: 16 MiB.
	MaxStreamWindow int
}

// relaysFile is the file in StateDir that holds the learned relays.
const relaysFile = "relays.json"

// defaultHandshakeTimeout is Config.HandshakeTimeout if that is zero.
const defaultHandshakeTimeout = 10 * time.Second

// defaultBacklog is Config.Backlog if that is zero.
const defaultBacklog = 128

// check returns c with its defaults, or a sentence about what is wrong.
func (c Config) check() (Config, error) {
	if err := c.checkNumbers(); err != nil {
		return c, err
	}
	if c.Key != nil && c.StateDir != "" {
		return c, errors.New("overlay: Config.Key and Config.StateDir are both set; the key comes from one of them")
	}
	if c.Name != "" {
		name, err := parseName(c.Name)
		if err != nil {
			return c, fmt.Errorf("overlay: Config.Name: %w", err)
		}
		c.Name = name
	}
	if err := c.checkInvite(); err != nil {
		return c, err
	}
	for i, addr := range c.Relays {
		if _, err := link.ParseAddr(addr); err != nil {
			return c, fmt.Errorf("overlay: Config.Relays[%d]: %w", i, err)
		}
	}
	c.Relays, c.AlsoAccept = slices.Clone(c.Relays), slices.Clone(c.AlsoAccept)
	if err := c.checkDirect(); err != nil {
		return c, err
	}
	if c.DialLink != nil && c.ListenUDP == nil {
		c.NoDirect = true
	}
	if c.NoDirect && c.LinkAddr != "" {
		return c, errors.New("overlay: Config.LinkAddr is set, but there are no direct paths (Config.NoDirect, or DialLink without ListenUDP); leave one of them empty")
	}
	if c.DialLink == nil && c.Proxy == nil {
		c.Proxy = linkdial.ProxyFromEnvironment()
	}
	c.LinkTLS = c.LinkTLS.Clone()
	if c.Reliability == nil {
		c.Reliability = native.Layer{}
	}
	if c.Logger == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		silent.SetLevel(logrus.PanicLevel)
		c.Logger = silent
	}
	if c.Backlog == 0 {
		c.Backlog = defaultBacklog
	}
	return c, nil
}

// checkNumbers refuses what is negative.
func (c Config) checkNumbers() error {
	for name, v := range map[string]int64{
		"HandshakeTimeout": int64(c.HandshakeTimeout),
		"PeerTimeout":      int64(c.PeerTimeout),
		"KeepAlive":        int64(c.KeepAlive),
		"IdleTimeout":      int64(c.IdleTimeout),
		"LinkKeepAlive":    int64(c.LinkKeepAlive),
		"LinkDeadAfter":    int64(c.LinkDeadAfter),
		"MaxHandshakes":    int64(c.MaxHandshakes),

		"MaxHandshakesPerNode":    int64(c.MaxHandshakesPerNode),
		"MaxHandshakesPerAddress": int64(c.MaxHandshakesPerAddress),

		"Backlog":         int64(c.Backlog),
		"MaxStreams":      int64(c.MaxStreams),
		"StreamWindow":    int64(c.StreamWindow),
		"MaxStreamWindow": int64(c.MaxStreamWindow),
	} {
		if v < 0 {
			return fmt.Errorf("overlay: Config.%s is negative; leave it zero for the default", name)
		}
	}
	return nil
}

// credentials makes the node who the config says it is.
func (c Config) credentials() (*identity.Credentials, error) {
	network, err := identity.OpenNetwork(identity.NetworkConfig{Name: c.Network, Secret: c.Secret, Invite: c.Invite, Open: c.Open}, c.AlsoAccept...)
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	key := c.Key
	switch {
	case key != nil:
	case c.StateDir != "":
		key, err = identity.LoadOrCreateKey(c.StateDir)
	default:
		key, err = identity.GenerateKey()
	}
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	var names []string
	if c.Name != "" {
		names = []string{c.Name}
	}
	credentials, err := identity.NewCredentials(key, network, names)
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	for _, role := range c.Roles {
		if err := credentials.TakeRole(role); err != nil {
			return nil, fmt.Errorf("overlay: Config.Roles: %w", err)
		}
	}
	return credentials, nil
}

// A Resolver looks up host names. A *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// linkLookup looks up the hosts of relays that are dialled without a proxy.
func (c Config) linkLookup() uplink.Lookup {
	resolver := c.Resolver
	switch {
	case resolver != nil:
	case c.DialLink != nil:
		return nil
	default:
		resolver = net.DefaultResolver
	}
	return func(ctx context.Context, a link.Addr) ([]netip.Addr, error) {
		if c.Proxy != nil {
			proxy, err := c.Proxy(&url.URL{Scheme: "https", Host: a.HostPort()})
			if proxy != nil || err != nil {
				return nil, err
			}
		}
		return resolver.LookupNetIP(ctx, "ip", a.Host)
	}
}

// relayMemory is where learned relays are kept.
func (c Config) relayMemory(network [32]byte) uplink.Memory {
	if c.StateDir == "" {
		return nil
	}
	return uplink.FileMemory(filepath.Join(c.StateDir, relaysFile), network)
}

// linkDialer dials relays.
func (c Config) linkDialer(hello link.Hello) link.Dial {
	d := &linkdial.Dialer{Connect: c.DialLink, TLS: c.LinkTLS, Proxy: c.Proxy, Hello: hello}
	return d.Dial
}
