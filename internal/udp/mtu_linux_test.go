package udp

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace tells the test that it runs in a network namespace of its own.
const inNamespace = "WEFT_UDP_IN_NAMESPACE"

// A real MTU needs an interface that has one: the loopback interface of a
// network namespace, in which the test runs itself once more.
func TestPacketsFailAtTheMTUAndAreNotFragmented(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if cmd.Process == nil {
			t.Skip("no network namespaces here: ", err)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	const mtu = 1300
	loopbackUp(t, mtu)
	// What fits is sent in segments, what does not is refused, one by one: no
	// kind of refusal ends the use of segments.
	const fits = mtu - 20 - 8 - 20 // IP, UDP and frame headers
	in := newInbox()
	to := open(t, Config{Addr: loopback4, OnFrame: in.onFrame})
	from := open(t, Config{Addr: loopback4})
	fl := from.Flow(to.LocalAddr())
	fl.SetMaxPacket(1400)
	for _, n := range []int{1400, fits, fits + 1, 1200} {
		for i := range 20 {
			send(t, fl, numbered(uint64(i), n))
		}
	}
	drain(t, from)
	for i := range 40 {
		if g := <-in; g.num != uint64(i%20) || g.len > fits {
			t.Fatalf("frame %d is number %d with %d bytes", i, g.num, g.len)
		}
	}
	c := from.Counters()
	if c.DroppedTooBig != 40 || c.FramesOut != 40 || c.Segmented == 0 {
		t.Errorf("counters are %+v, want 40 frames refused and 40 sent", c)
	}
	if n := fl.MaxPacket(); n != BasePacket {
		t.Errorf("packets have up to %d bytes, want %d", n, BasePacket)
	}
}

// loopbackUp brings up the loopback interface of a new namespace.
func loopbackUp(t *testing.T, mtu uint32) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint32(mtu)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, ifr); err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatal(err)
	}
}
