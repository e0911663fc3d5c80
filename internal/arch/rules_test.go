package arch

// module is the path of the module whose shape is tested.
const module = "github.com/weftnet/weft"

// A layer is one row of the layer table: packages that stand at one height.
type layer struct {
	folders []string // relative to the module; a folder covers those below it that no row names itself
	why     string   // what the row is for; part of every complaint about it
}

// layers lists the module's folders from the top down. A package may import
// rows below its own, and nothing of its own row or above. Packages that
// import nothing else of this module are helpers: anybody may import them, and
// they need no row.
var layers = []layer{
	{[]string{"cmd", "examples"}, "programs"},
	{[]string{"overlaytest"}, "the lab in which users test their own programs"},
	{[]string{"metrics"}, "what nodes and relays count, for Prometheus; neither of them knows of it"},
	{[]string{"overlay", "relay"}, "the two things a program starts: a node, and the relay that nodes meet at; neither needs the other"},
	{[]string{"portmap"}, "a node's port at the gateway; programs hand it to overlay, which knows it as an interface"},
	{[]string{"listener", "gossip"}, "ports on top of streams; what relays tell each other"},
	{[]string{"internal/relayhost"}, "what a node opens to the relay.Server that runs on it"},
	{[]string{"internal/uplink"}, "how a node finds relays and stays attached to them"},
	{[]string{"internal/control"}, "the protocol between a node and its relay, spoken on a session"},
	{[]string{"internal/layertest"}, "pairs of layers on sessions of every kind, for the suite's own test and for integration/matrix"},
	{[]string{"stream/streamtest"}, "the conformance suite that every reliability layer passes"},
	{[]string{"stream/native", "stream/yamux", "stream/sctp"}, "the reliability layers, which know a session only by the interface in stream"},
	{[]string{"stream"}, "the seam between sessions and reliability layers"},
	{[]string{"internal/session"}, "the secure transport between two nodes"},
	{[]string{"internal/handshake", "internal/recovery"}, "parts of a session"},
	{[]string{"internal/wire"}, "the bytes that sessions exchange"},
	{[]string{"internal/switchboard"}, "delivers, forwards and refuses frames by node ID"},
	{[]string{"internal/simnet/natnet"}, "hosts behind NATs, for tests of direct paths; it takes what links do to packets from simnet"},
	{[]string{"internal/simnet"}, "simulated links, for tests"},
	{[]string{"internal/link/linkdial"}, "how to get a link to an address of any kind"},
	{[]string{"internal/link/wslink"}, "links in WebSockets"},
	{[]string{"internal/link"}, "pipes for frames between neighbours"},
	{[]string{"internal/lan/lantest"}, "a simulated LAN, for tests"},
	{[]string{"internal/lan"}, "who else is on the LAN; it knows of nodes nothing but IDs and addresses"},
	{[]string{"internal/direct"}, "candidates and punching; it knows of paths nothing but addresses"},
	{[]string{"internal/udp"}, "frames in datagrams; sessions know a flow only by their Path, and a simulated network takes the kernel's place"},
	{[]string{"internal/frame"}, "what links carry"},
	{[]string{"internal/record"}, "what a node signs for the relays' directory; the node makes it, gossip checks it"},
	{[]string{"internal/identity"}, "who a node is"},
}

// reserved names folders that belong to one user: nobody else may import them.
var reserved = []struct {
	folder string
	users  []string
	why    string
}{
	{"internal/handshake", []string{"internal/session"}, "it is a part of the session, whose goroutine owns its state"},
	{"internal/recovery", []string{"internal/session"}, "it is a part of the session, whose goroutine owns its state"},
	{"internal/wire", []string{"internal/session", "internal/recovery", "internal/handshake"}, "only the ends of a session read what it seals"},
	{"internal/simnet", []string{"overlaytest", "internal/layertest"}, "programs run on real networks"},
	{"internal/lan/lantest", []string{"overlaytest"}, "programs run on real networks"},
}

// owners says which folder may import a third-party module. A module that can
// be replaced by editing one folder stays replaceable.
var owners = []struct {
	prefix string
	folder string
	why    string
}{
	{"github.com/weaveworks/mesh", "gossip", "mesh has hazards that gossip alone knows how to hide"},
	{"github.com/hashicorp/yamux", "stream/yamux", "its streams are conns only through that adapter"},
	{"github.com/pion/sctp", "stream/sctp", "its streams are conns only through that adapter"},
	{"github.com/pion/datachannel", "stream/sctp", "its channels are conns only through that adapter"},
	{"github.com/coder/websocket", "internal/link/wslink", "its messages are links only through that adapter"},
	{"github.com/pion/stun", "relay", "nodes need no STUN library, and it brings several others"},
	{"github.com/huin/goupnp", "portmap", "overlay's users need no port mapping, and its search asks everybody"},
	{"github.com/jackpal/go-nat-pmp", "portmap", "overlay's users need no port mapping"},
	{"github.com/pires/go-proxyproto", "cmd/weft", "overlay's users need no PROXY headers: their conns know the peer"},
	{"github.com/prometheus/client_golang", "metrics", "who runs a node or a relay need not have a metrics stack; programs hand metrics.Handler to theirs"},
	{"github.com/spf13/cobra", "cmd/weft", "libraries take a Config, only the command has flags"},
	{"github.com/schollz/progressbar", "cmd/weft", "libraries draw nothing"},
	{"golang.org/x/term", "cmd/weft", "libraries know nothing of terminals"},
	{"go.yaml.in/yaml", "cmd/weft", "libraries take a Config, only the command reads files with settings"},
}

// importable lists the modules that importing overlay may bring into a user's
// program, with the reason. The standard library is always allowed.
var importable = map[string]string{
	module:                         "this module",
	"github.com/sirupsen/logrus":   "Config.Logger",
	"github.com/coder/websocket":   "links through firewalls and web servers; it needs nothing but the standard library, and golang.org/x/net/websocket itself points to it",
	"github.com/fxamacker/cbor/v2": "records and control messages",
	"github.com/x448/float16":      "needed by cbor",
	"golang.org/x/crypto":          "Argon2id for network secrets, ChaCha20",
	"golang.org/x/net":             "HTTP/2, socket options, DNS messages on the LAN, and which proxy the environment asks for",
	"golang.org/x/sys":             "socket options, netlink",
	"golang.org/x/text":            "needed by x/net",
	"golang.org/x/time":            "rate limits",
}
