//go:build unix

package integration

import (
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
)

// testTimeout bounds what a test waits for. It is not what anything should
// take, only what tells slow from never on a busy machine.
const testTimeout = 2 * time.Minute

// A lab is one network of processes.
type lab struct {
	t      *testing.T
	ctx    context.Context
	secret string   // empty: an open network
	relays []string // that nodes are given

	processes []*process
}

func newLab(t *testing.T) *lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	l := &lab{t: t, ctx: ctx, secret: overlay.NewSecret()}
	// This is the first clean-up and so the last to run: nodes of the test's
	// own leave while their relays are there.
	t.Cleanup(func() {
		cancel()
		for _, p := range slices.Backward(l.processes) {
			p.clear()
		}
	})
	return l
}

// environ is the environment of a member of the network, and nothing else of
// weft that the tests' own environment may hold.
func (l *lab) environ(vars ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WEFT_") })
	env = append(env, overlay.EnvSecret+"="+l.secret, overlay.EnvRelays+"="+strings.Join(l.relays, ","))
	env = append(env, overlay.EnvRelayOnly+"=1") // these tests are about relays
	if l.secret == "" {
		env = append(env, overlay.EnvOpen+"=1")
	}
	return append(env, vars...)
}

// play starts the test binary in a role.
func (l *lab) play(role string, args []string, vars ...string) *process {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = l.environ(append(vars, envRole+"="+role)...)
	return l.start(role, cmd)
}

// start starts a process that ends with the test at the latest.
func (l *lab) start(name string, cmd *exec.Cmd) *process {
	l.t.Helper()
	p := start(l.t, name, cmd)
	l.processes = append(l.processes, p)
	return p
}

// A relayProcess is a relay that listens on addr.
type relayProcess struct {
	*process
	addr string
}

// startRelay starts a relay on an address whose port may be 0. Grace is how
// long nodes have to leave when it is told to stop.
func (l *lab) startRelay(addr string, grace time.Duration, vars ...string) relayProcess {
	l.t.Helper()
	p := l.play("relay", []string{addr, grace.String()}, vars...)
	return relayProcess{p, p.expect(l.ctx, "listening")}
}

// relay starts a relay that all nodes made later know.
func (l *lab) relay(vars ...string) relayProcess {
	l.t.Helper()
	r := l.startRelay("127.0.0.1:0", time.Second, vars...)
	l.relays = append(l.relays, r.addr)
	return r
}

// A serverProcess is a node that listens on the ports of the role.
type serverProcess struct {
	*process
	id overlay.NodeID
}

// server starts a server. It has all its relays when it returns.
func (l *lab) server(vars ...string) serverProcess {
	l.t.Helper()
	p := l.play("server", nil, vars...)
	id, err := overlay.ParseNodeID(p.expect(l.ctx, "ready"))
	if err != nil {
		l.t.Fatal(err)
	}
	return serverProcess{p, id}
}

// addr is one of the server's addresses.
func (s serverProcess) addr(port int) string {
	return net.JoinHostPort(s.id.String(), strconv.Itoa(port))
}

// node makes a node of the test process's own in the lab's network, which knows
// the relays of now unless cfg says others.
func (l *lab) node(cfg overlay.Config) *overlay.Node {
	l.t.Helper()
	cfg.Secret, cfg.Open = l.secret, l.secret == ""
	cfg.NoDirect = true // these tests are about relays
	if cfg.Relays == nil {
		cfg.Relays = l.relays
	}
	log := new(logBuffer)
	logger := logrus.New()
	logger.SetOutput(log)
	logger.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: "15:04:05.000", DisableColors: true})
	logger.SetLevel(logrus.DebugLevel)
	cfg.Logger = logger
	node, err := overlay.New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = node.Close() // again, where the test has closed it
		if l.t.Failed() {
			l.t.Logf("node %s had logged:\n%s", node.ID(), log)
		}
	})
	return node
}

// joined is a node that is registered with all its relays.
func (l *lab) joined() *overlay.Node {
	l.t.Helper()
	node := l.node(overlay.Config{})
	if err := attached(l.ctx, node); err != nil {
		l.t.Fatal(err)
	}
	return node
}

// dial opens a conn that ends with the test.
func (l *lab) dial(node *overlay.Node, addr string) net.Conn {
	l.t.Helper()
	c, err := node.Dial(l.ctx, addr)
	if err != nil {
		l.t.Fatal(err)
	}
	// A call that still waits when time is up must come back.
	stop := context.AfterFunc(l.ctx, func() { _ = c.Close() })
	l.t.Cleanup(func() {
		stop()
		_ = c.Close()
	})
	return c
}

// speak checks that a conn to portEcho works in both directions.
func (l *lab) speak(c net.Conn) {
	l.t.Helper()
	const words = "is anybody there?"
	if _, err := c.Write([]byte(words)); err != nil {
		l.t.Fatal(err)
	}
	heard := make([]byte, len(words))
	for n := 0; n < len(heard); {
		m, err := c.Read(heard[n:])
		if err != nil {
			l.t.Fatal(err)
		}
		n += m
	}
	if string(heard) != words {
		l.t.Fatalf("heard %q", heard)
	}
}
