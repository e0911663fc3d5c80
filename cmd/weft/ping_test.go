package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

func TestPing(t *testing.T) {
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	t.Setenv(overlay.EnvRelayOnly, "1") // or the way would change on the way
	const (
		trip = `\d: [\d.]+(µs|ms|s) from [0-9a-f]{16} \(files\) by relay 127\.0\.0\.1:\d+, layer native\n`
		home = `home is relay 127\.0\.0\.1:\d+ \([0-9a-f]{16}\)\n`
		sum  = `; round trip min [\d.]+(µs|ms|s), avg [\d.]+(µs|ms|s), max [\d.]+(µs|ms|s)\n$`
	)
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"a node", []string{"-n", "3", "-i", "0", "files"}, exitOK, "^" + home + "(" + trip + "){3}3 of 3 answered" + sum, "^$"},
		{"a port", []string{"-n", "2", "-i", "1ms", "files:80"}, exitOK, "^" + home + "(" + trip + "){2}2 of 2 answered" + sum, "^$"},
		{"a port where nobody listens", []string{"-n", "2", "-i", "0", "files:81"}, exitFailure, "^" + home + `0 of 2 answered\n$`,
			`^1: .*nobody listens.*\n2: .*nobody listens.*\nweft: no answer from files:81; check the port, .*\n$`},
		{"no such node", []string{"-n", "1", "pigeon"}, exitFailure, "^" + home + `0 of 1 answered\n$`,
			`^1: .*no node "pigeon"\nweft: no answer from pigeon; check the name, .*\n$`},
		{"no name at all", []string{"-n", "1", "a pigeon"}, exitFailure, "^" + home + `0 of 1 answered\n$`, `\nweft: no answer from a pigeon\n$`},
		{"a negative count", []string{"-n", "-1", "files"}, exitUsage, `^$`, `^weft: how often\?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := weft(t, append([]string{"ping"}, tt.args...)...)
			if code != tt.code || !regexp.MustCompile(tt.stdout).MatchString(stdout) || !regexp.MustCompile(tt.stderr).MatchString(stderr) {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %s, %s", code, stdout, stderr, tt.code, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestAnInterruptedPingSumsUp(t *testing.T) {
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	ping := start(t, "ping", "-n", "0", "-i", "1h", "files")
	ping.line()
	ping.line()
	ping.stop()
	if line := ping.line(); !strings.HasPrefix(line, "1 of 1 answered; ") {
		t.Errorf("printed %q", line)
	}
	ping.end(exitOK)
}

// A ping tells when the way changes: it begins on the relay and goes on directly.
func TestPingShowsThatThePathBecomesDirect(t *testing.T) {
	startRelay(t)
	server, _ := startServer(t)
	server.line()
	ping := start(t, "ping", "-n", "0", "-i", "100ms", "files")
	ping.line()
	for line := ping.line(); !strings.Contains(line, " by udp "); line = ping.line() {
		if !strings.Contains(line, " by relay ") && !strings.Contains(line, "the path is now udp ") {
			t.Fatalf("printed %q", line)
		}
	}
	ping.end(exitOK)
}

func TestSummary(t *testing.T) {
	var s summary
	for _, rtt := range []time.Duration{3 * time.Millisecond, time.Millisecond, 5 * time.Millisecond} {
		s.add(rtt, nil)
	}
	s.add(0, errors.New("silence"))
	if got, want := s.String(), "3 of 4 answered; round trip min 1ms, avg 3ms, max 5ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDurationsAreReadable(t *testing.T) {
	for d, want := range map[time.Duration]string{
		123456 * time.Nanosecond:        "123µs",
		12345678 * time.Nanosecond:      "12.35ms",
		time.Second + 1*time.Nanosecond: "1s",
	} {
		if got := readable(d).String(); got != want {
			t.Errorf("%d ns are %q, want %q", d, got, want)
		}
	}
}
