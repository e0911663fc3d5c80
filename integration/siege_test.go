//go:build linux

package integration

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// besieged starts a relay of the command's, which limits says how the shell is to
// restrict.
func (l *lab) besieged(limits string, vars ...string) (p *process, addr string) {
	l.t.Helper()
	binary, err := buildWeft()
	if err != nil {
		l.t.Fatalf("building the command: %v", err)
	}
	addrFile := filepath.Join(l.t.TempDir(), "addr")
	cmd := exec.Command("sh", "-c", limits+` exec "$0" "$@"`, binary, "relay", "--listen", "127.0.0.1:0", "--addr-file", addrFile, "--grace", "1s")
	cmd.Env = l.environ(vars...)
	p = l.start("relay under siege", cmd)
	addr = l.awaitFile(addrFile)
	l.relays = []string{addr}
	return p, addr
}

// besiege opens n conns from some loopback addresses, sends how each begins, and
// keeps them.
func (l *lab) besiege(addr string, n int, beginnings ...string) (lift func()) {
	l.t.Helper()
	const addresses = 8
	var conns []net.Conn
	for i := range n {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%addresses))}}
		c, err := from.DialContext(l.ctx, "tcp", addr)
		if err != nil {
			l.t.Fatal(err)
		}
		conns = append(conns, c)
		_, _ = c.Write([]byte(beginnings[i/addresses%len(beginnings)]))
	}
	return func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// A relay that may have few files open has as many conns as that. Its nodes notice
// nothing, and when the conns are gone, others get in again.
func TestARelayWithoutFilesLeftServesItsNodes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p, addr := l.besieged("ulimit -n 64;")
	server := l.server()
	c := l.dial(l.joined(), server.addr(portEcho))
	l.speak(c)
	lift := l.besiege(addr, 200, "")
	if err := eventually(l.ctx, func() bool {
		l.speak(c)
		return strings.Contains(p.log.String(), "too many open files")
	}); err != nil {
		t.Errorf("the relay has files left: %v", err)
	}
	l.speak(c)
	lift()
	l.speak(l.dial(l.joined(), server.addr(portEcho)))
	l.speak(c)
}

// siegeMemory is what a relay may keep in memory, in bytes, with a thousand strangers
// of eight addresses in all phases of all protocols, if GOMEMLIMIT is 64 MiB.
const siegeMemory = 128 << 20

func TestARelayWithLittleMemoryServesItsNodes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p, _ := l.besieged("", "GOMEMLIMIT=64MiB")
	server := l.server()
	relay := l.relays[0]
	tap := newTap(t, relay)
	l.relays = []string{tap.addr()}
	c := l.dial(l.joined(), server.addr(portEcho))
	l.speak(c)
	hello, _ := tap.recorded()
	hello = hello[:len("WEFT")+18] // how a member begins
	long := string(hello) + "\x10\x10\xff\xff" + strings.Repeat("x", 30_000)
	lift := l.besiege(relay, 1000, "", "WEFT", string(hello), long,
		"GET / HTTP/1.1\r\nX: "+strings.Repeat("y", 15_000),
		"GET /link HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	defer lift()
	for range 20 {
		l.speak(c)
	}
	if got := anonymous(t, p.cmd.Process.Pid); got > siegeMemory {
		t.Errorf("the relay keeps %d bytes in memory, more than %d", got, siegeMemory)
	} else {
		t.Logf("the relay keeps %d KiB in memory", got>>10)
	}
	l.speak(l.dial(l.joined(), server.addr(portEcho)))
}

// anonymous returns how much memory of its own a process has, in bytes.
func anonymous(t *testing.T, pid int) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(rest, "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Skip("this kernel does not tell")
	return 0
}
