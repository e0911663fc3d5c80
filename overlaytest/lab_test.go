package overlaytest

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
)

// inLab runs a test in a bubble, in a lab with one relay, "relay".
func inLab(t *testing.T, cfg Config, f func(t *testing.T, l *Lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := New(t, cfg)
		l.Relay("relay")
		f(t, l)
	})
}

// echo serves a port that sends back what it gets.
func echo(t *testing.T, n *overlay.Node, port uint16) {
	t.Helper()
	ln, err := n.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// dial dials and closes the conn when the test ends.
func dial(t *testing.T, n *overlay.Node, addr string) net.Conn {
	t.Helper()
	c, err := n.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// roundTrip sends a few bytes to an echo, and returns how long they took.
func roundTrip(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	if err := c.SetDeadline(began.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	const hello = "hello"
	if _, err := io.WriteString(c, hello); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(hello))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != hello {
		t.Fatalf("echo was %q, %v", b, err)
	}
	return time.Since(began)
}
