// Package httpconn is for conns that begin with HTTP and go on with something
// else.
package httpconn

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
)

// MaxHead is how many bytes the head of an answer may have.
const MaxHead = 64 << 10

// Exchange writes a request without a body on conn and reads the head of the
// answer. It returns conn as it goes on behind that head; the answer's body is
// not for use. Who wants to interrupt it closes conn.
func Exchange(conn net.Conn, req *http.Request) (*http.Response, net.Conn, error) {
	if err := req.Write(conn); err != nil {
		return nil, nil, err
	}
	br := bufio.NewReader(io.LimitReader(conn, MaxHead))
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, nil, fmt.Errorf("the answer is not HTTP: %w", err)
	}
	rest, err := br.Peek(br.Buffered())
	if err != nil {
		return nil, nil, err
	}
	resp.Body = http.NoBody // nobody waits for the rest of it
	return resp, Unread(conn, rest), nil
}

// Unread returns conn with the bytes of b, which it keeps, to be read first.
func Unread(conn net.Conn, b []byte) net.Conn {
	if len(b) == 0 {
		return conn
	}
	return &unread{Conn: conn, first: b}
}

type unread struct {
	net.Conn
	first []byte // the reader's
}

func (c *unread) Read(p []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	c.first = c.first[n:]
	return n, nil
}

// NetConn returns the conn below.
func (c *unread) NetConn() net.Conn { return c.Conn }
