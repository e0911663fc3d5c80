package lan_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/lan"
	"golang.org/x/sys/unix"
)

// roleEnv says which host of TestKernelSockets a process is.
const roleEnv = "WEFT_LAN_TEST_ROLE"

// TestKernelSockets runs nodes with the kernel's sockets on two hosts: processes
// in network namespaces of their own, with a cable between them. Nothing is sent
// outside of these.
func TestKernelSockets(t *testing.T) {
	switch os.Getenv(roleEnv) {
	case "a":
		hostA(t)
		return
	case "b":
		hostB(t)
		return
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the program ip, to make a network")
	}
	cmd := inNamespace(t, "a")
	cmd.Stdout = t.Output()
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
		t.Skip("needs root, to make network namespaces: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// inNamespace returns this test in a new network namespace.
func inNamespace(t *testing.T, role string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKernelSockets$", "-test.v", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// openKernel starts a node in this namespace.
func openKernel(t *testing.T, id identity.NodeID, names ...string) *lan.LAN {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	log.SetLevel(logrus.DebugLevel)
	l, err := lan.Open(lan.Config{Key: network, Self: id, Port: 7000 + uint16(id), Names: names, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// peerWith waits until a node is known at so many addresses.
func peerWith(t *testing.T, l *lan.LAN, id identity.NodeID, addrs int) lan.Peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p, err := l.WaitPeer(ctx, id)
	for ; err == nil && len(p.Addrs) < addrs; p, _ = l.Peer(id) {
		select {
		case <-time.After(200 * time.Millisecond):
			l.Refresh() // IPv6 addresses come later than the interface
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		t.Fatalf("node %v: %v; known %+v, %+v", id, err, p, l.Counters())
	}
	return p
}

// hostA has two nodes, beside a program that has the port too, as a responder
// such as avahi.
func hostA(t *testing.T) {
	ip(t, "link add v0 type veth peer name v1")
	responder := responder(t)
	defer unix.Close(responder)
	b := inNamespace(t, "b")
	in, err := b.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := b.Wait(); err != nil {
			t.Error("b: ", err)
		}
	}()
	ip(t, fmt.Sprintf("link set v1 netns %d", b.Process.Pid))
	ip(t, "addr add 10.9.0.1/24 dev v0")
	ip(t, "link set v0 up")
	ip(t, "link set lo up")
	fmt.Fprintln(in, "go")

	a := openKernel(t, 1, "one")
	defer a.Close()
	same := openKernel(t, 3)
	defer same.Close()
	p := peerWith(t, a, 2, 2)
	want := netip.MustParseAddrPort("10.9.0.2:7002")
	v4, v6 := false, false
	for _, ap := range p.Addrs {
		v4 = v4 || ap == want
		v6 = v6 || ap.Addr().IsLinkLocalUnicast() && ap.Addr().Zone() != "" && ap.Port() == 7002
	}
	if !v4 || !v6 {
		t.Errorf("node 2 is at %v, want %v and an IPv6 address", p.Addrs, want)
	}
	peerWith(t, a, 3, 1)
	peerWith(t, same, 1, 1)
	peerWith(t, same, 2, 1)
	if c := a.Counters(); c.DroppedHops+c.DroppedMalformed+c.DroppedPort != 0 {
		t.Errorf("%+v", c)
	}
	// B knows a too, and says goodbye when it is told to end.
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "found" {
		t.Log("b: ", lines.Text())
	}
	in.Close()
	_, _ = io.Copy(t.Output(), out)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, known := a.Peer(2); known && ctx.Err() == nil; _, known = a.Peer(2) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		t.Error("node 2 is still known after its goodbye")
	}
}

// responder opens a socket as avahi does.
func responder(t *testing.T) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: lan.Port}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func hostB(t *testing.T) {
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	ip(t, "addr add 10.9.0.2/24 dev v1")
	ip(t, "link set v1 up")
	b := openKernel(t, 2)
	defer b.Close()
	peerWith(t, b, 1, 2)
	peerWith(t, b, 3, 1)
	if ids := b.Lookup("one"); len(ids) != 1 || ids[0] != 1 {
		t.Errorf("the name leads to %v", ids)
	}
	fmt.Println("found")
	_, _ = io.Copy(io.Discard, in) // until a has looked
}
