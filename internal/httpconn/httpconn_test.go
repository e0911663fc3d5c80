package httpconn

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// answering is the client's end of a conn on which each request gets an answer.
func answering(t *testing.T, answer string) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := http.ReadRequest(bufio.NewReader(there)); err == nil {
			_, _ = io.WriteString(there, answer)
		}
		_ = there.Close()
	}()
	t.Cleanup(func() { _ = here.Close(); <-done })
	return here
}

func connect() *http.Request {
	return &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: "h:1"}, Host: "h:1"}
}

func TestTheConnGoesOnBehindTheAnswer(t *testing.T) {
	conn := answering(t, "HTTP/1.1 200 OK\r\nVia: x\r\n\r\nand then")
	_, rest, err := Exchange(conn, connect())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(rest); string(b) != "and then" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	if below, ok := rest.(interface{ NetConn() net.Conn }); ok && below.NetConn() != conn {
		t.Error("another conn is below")
	}
}

func TestWhatIsNotAnAnswerIsAnError(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":      "",
		"not HTTP":     "SSH-2.0-OpenSSH\r\n",
		"half of it":   "HTTP/1.1 200 OK\r\nVia: ",
		"without end":  "HTTP/1.1 200 OK\r\nVia: " + strings.Repeat("x", 2*MaxHead),
		"another code": "HTTP/1.1 xx OK\r\n\r\n",
	} {
		if _, _, err := Exchange(answering(t, answer), connect()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
