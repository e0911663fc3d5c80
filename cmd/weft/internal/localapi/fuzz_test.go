package localapi

import (
	"io"
	"net"
	"testing"
)

// Whatever comes through the socket, the reader ends, and says why.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x05hello\x01\x00\x00\x00"), false)
	f.Add([]byte("\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x01\x00\x35ab\x02\x00\x00\x00"), true)
	f.Add([]byte("\x03\x00\x00\x08\x00\x00\x01\x01busy"), false)
	f.Fuzz(func(t *testing.T, b []byte, packets bool) {
		here, there := net.Pipe()
		go func() {
			_, _ = there.Write(b)
			_ = there.Close()
		}()
		c := newConn(here, connInfo{})
		defer here.Close()
		buf := make([]byte, packetAddr+maxPacket)
		for total := 0; ; {
			var n int
			var err error
			if packets {
				n, _, err = packetPort{c}.ReadFrom(buf)
			} else {
				n, err = c.Read(buf[:10])
			}
			if total += n; total > len(b) {
				t.Fatalf("%d bytes of %d", total, len(b))
			}
			if err != nil {
				_, _ = io.Copy(io.Discard, here)
				return
			}
		}
	})
}

func FuzzReadRule(f *testing.F) {
	f.Add(`{"ids":["9f3a61c0d24be815"],"names":["kv-1"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := readRule(text)
		if err != nil || rule == nil {
			return
		}
		again, err := sendable(rule)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readRule(again); err != nil {
			t.Errorf("%q became %q: %v", text, again, err)
		}
	})
}
