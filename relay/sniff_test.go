package relay

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFirstBytesTellTheProtocol(t *testing.T) {
	for _, tt := range []struct {
		first string
		want  protocol
	}{
		{"", protocolUndecided},
		{"W", protocolUndecided},
		{"WEFT", protocolUndecided},
		{"WEFT\x01", protocolUndecided},
		{"WEFT\x01\x00", protocolLink},
		{"WEFT\x01\x00\x01\x01\x01", protocolLink}, // the network's tag says nothing
		{"WEFT\x01\x01", protocolMesh},
		{"WEFT\x01\xff", protocolMesh}, // with flags that are not known
		{"WEFT\x01\xfe", protocolLink},
		{"WEFT\x02\x01", protocolMesh}, // in every version
		{"WEFT\x02\x00", protocolLink},
		{"WEF ", protocolOther},
		{"weft", protocolOther},
		{"weav", protocolUndecided},
		{"weave", protocolBareMesh},
		{"weave\x01\x02", protocolBareMesh},
		{"GET / HTTP/1.1\r\n", protocolHTTP},
		{"GET", protocolUndecided},
		{"GETS", protocolOther},
		{"P", protocolUndecided},
		{"PU", protocolUndecided},
		{"POST /", protocolHTTP},
		{"OPTIONS", protocolUndecided},
		{"OPTIONS *", protocolHTTP},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", protocolHTTP},
		{"CONNECT relay:1 HTTP/1.1\r\n", protocolOther},
		{"get / HTTP/1.1\r\n", protocolOther},
		{"\x16\x03\x01\x02\x00", protocolTLS},
		{"\x16\x04", protocolOther},
		{"SSH-2.0-", protocolOther},
		{"\x00", protocolOther},
	} {
		if got := sniff([]byte(tt.first)); got != tt.want {
			t.Errorf("%q is %d, want %d", tt.first, got, tt.want)
		}
	}
}

// What the first bytes say is said as soon as it can be, and not taken back.
func FuzzSniff(f *testing.F) {
	for _, b := range beginnings {
		f.Add([]byte(b.first))
		f.Add([]byte(b.first[:len(b.first)-1] + "\x00"))
	}
	f.Add([]byte("WEFT\x01\x00"))
	f.Add([]byte("WEFT\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		said := protocolUndecided
		for n := range len(b) + 1 {
			got := sniff(b[:n])
			if said != protocolUndecided && got != said {
				t.Fatalf("%q was %d and is %d with a byte more", b[:n], said, got)
			}
			said = got
		}
		if said == protocolUndecided && len(b) >= sniffLen {
			t.Errorf("%q is undecided", b)
		}
		if said > protocolHTTP && said.refusal() == nil {
			t.Errorf("%q is not refused", b)
		}
	})
}

// dribble writes a text on a conn, a byte each time, until that fails.
func dribble(conn net.Conn, text string, each time.Duration) error {
	for i := range len(text) {
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			return err
		}
		time.Sleep(each)
	}
	return nil
}

func TestSlowFirstBytesAreNotWaitedFor(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		r := l.relay("relay", newKey(t, ""), &Server{})
		for _, tt := range []struct{ first, slowly string }{
			{"WE", "FT\x01\x00" + strings.Repeat("x", 16)},
			{"GET /healthz HT", "TP/1.1\r\nHost: x\r\n\r\n"},
			{"GET /healthz", " HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 100)},
		} {
			here, there := net.Pipe()
			l.wg.Go(func() { r.Server.relay().serveConn(there) })
			began := time.Now()
			l.wg.Go(func() { _, _ = io.Copy(io.Discard, here) })
			_, _ = io.WriteString(here, tt.first)
			if dribble(here, tt.slowly, 2*time.Second) == nil {
				t.Errorf("%q: %q was waited for", tt.first, tt.slowly)
			}
			if took := time.Since(began); took > 2*DefaultPrefaceTimeout+2*time.Second {
				t.Errorf("%q: closed after %v only", tt.first, took)
			}
			_ = here.Close()
		}
		synctest.Wait()
		if s := r.Stats(); s.Prefaces != 0 || s.HTTP != 0 || s.RefusedPreface != 1 || s.HTTPRequests != 0 {
			t.Errorf("stats %+v", s)
		}
		l.stop(r)
	})
}
