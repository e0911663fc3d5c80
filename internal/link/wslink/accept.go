package wslink

import (
	"bufio"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// Protocol is the WebSocket subprotocol of links. A dialler offers it; an
// acceptor does not insist on it.
const Protocol = "weft"

// Accept makes a link's conn of a WebSocket request. On an error it has
// answered the request.
func Accept(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	taking := &taker{ResponseWriter: w}
	ws, err := websocket.Accept(taking, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}})
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return newConn(ws, taking.conn, nil), nil
}

// A taker remembers the conn that is taken over from the HTTP server.
type taker struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (t *taker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	t.conn = conn
	return conn, rw, err
}
