//go:build unix

package integration

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

func TestDNSThroughAForward(t *testing.T) {
	t.Parallel()
	l := newForwardLab(t)
	dnsmasq, dig := l.tool("dnsmasq"), l.tool("dig")
	addr, port := l.freeAddr()
	args := []string{"--no-daemon", "--conf-file=/dev/null", "--port=" + port, "--listen-address=127.0.0.1", "--bind-interfaces",
		"--no-resolv", "--no-hosts", "--user=root", "--address=/kv.example/192.0.2.7", "--txt-record=long.example," + strings.Repeat("x", 250)}
	l.serve(addr, dnsmasq, args...)
	through := l.to("udp/"+addr, addr)
	for i, way := range []string{"+notcp", "+tcp"} {
		at := []string{"@127.0.0.1", "-p", portOf(t, through[i]), "+short", "+tries=10", "+time=5", way}
		if out := l.run(nil, dig, append(at, "A", "x.kv.example")...); strings.TrimSpace(out) != "192.0.2.7" {
			t.Errorf("dig %s says %q", way, out)
		}
		if out := l.run(nil, dig, append(at, "TXT", "long.example")...); !strings.Contains(out, strings.Repeat("x", 250)) {
			t.Errorf("dig %s says %q", way, out)
		}
	}
}

// iperf starts an iperf3 server and returns its address.
func (l *lab) iperf() (program, addr string) {
	l.t.Helper()
	program = l.tool("iperf3")
	addr, port := l.freeAddr()
	l.serve(addr, program, "-s", "-B", "127.0.0.1", "-p", port)
	return program, addr
}

// An iperfResult is the part of what iperf3 says that matters here.
type iperfResult struct {
	End struct {
		Received struct {
			Bytes         float64
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct{ Packets, LostPackets int64 }
	}
	Error string
}

// measure runs iperf3 with a server's port, once that has ended the test before.
func (l *lab) measure(program, port string, args ...string) (r iperfResult) {
	l.t.Helper()
	for {
		cmd := exec.CommandContext(l.ctx, program, append([]string{"-c", "127.0.0.1", "-p", port, "-J"}, args...)...)
		out, err := cmd.Output()
		r = iperfResult{}
		if jerr := json.Unmarshal(out, &r); jerr != nil || l.ctx.Err() != nil {
			l.t.Fatalf("iperf3 says %s, %v, %v", out, err, jerr)
		}
		switch {
		case strings.Contains(r.Error, "busy"), strings.Contains(r.Error, "reset by peer"):
			continue // the server has not ended the test before, and has room for only one
		case r.Error != "" || err != nil:
			l.t.Fatalf("iperf3 says %s, %v", out, err)
		}
		return r
	}
}

func TestIperfThroughAForward(t *testing.T) {
	t.Parallel()
	l := newForwardLab(t)
	program, addr := l.iperf()
	port := portOf(t, l.to(addr)[0])
	// How much of it arrives before the end depends on the machine.
	for _, args := range [][]string{{"-t", "1"}, {"-t", "1", "-R"}, {"-t", "1", "-P", "4"}} {
		if r := l.measure(program, port, args...); r.End.Received.Bytes == 0 {
			t.Errorf("iperf3 %v: %.0f bytes were received", args, r.End.Received.Bytes)
		}
	}
}
