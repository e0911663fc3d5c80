package socks

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/weftnet/weft/internal/httpconn"
)

// Request asks the proxy at the other end of conn for a target, host:port, and returns
// conn as it goes on to the target. Who wants to interrupt it closes conn.
func Request(conn net.Conn, target string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%.20q is no port", portText)
	}
	if host == "" || len(host) > 255 {
		return nil, errors.New("the host of the target has to have 1 to 255 characters")
	}
	// The greeting and the request travel together: a proxy that wants no password
	// reads one after the other.
	b := []byte{version5, 1, methodNone, version5, commandDial, 0, addrName, byte(len(host))}
	b = append(b, host...)
	b = binary.BigEndian.AppendUint16(b, uint16(port))
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(conn, 512)
	var head [2 + 4]byte
	if _, err := io.ReadFull(br, head[:2]); err != nil {
		return nil, noProxy(err)
	}
	if head[0] != version5 || head[1] != methodNone {
		return nil, errors.New("the node's port is no proxy, or wants a password; it should be one of weft forward -R PORT=*")
	}
	if _, err := io.ReadFull(br, head[2:]); err != nil {
		return nil, noProxy(err)
	}
	skip := map[byte]int{addrIPv4: 4, addrIPv6: 16}[head[5]]
	if head[5] == addrName {
		n, err := br.ReadByte()
		if err != nil {
			return nil, noProxy(err)
		}
		skip = int(n)
	}
	if _, err := br.Discard(skip + 2); err != nil {
		return nil, noProxy(err)
	}
	if r := reply(head[3]); r != replyDone {
		return nil, fmt.Errorf("the node says of %s: %v", target, r)
	}
	rest, err := br.Peek(br.Buffered())
	if err != nil {
		return nil, err
	}
	return httpconn.Unread(conn, rest), nil
}

func noProxy(err error) error {
	return fmt.Errorf("the node's port does not answer as a proxy; it should be one of weft forward -R PORT=*: %w", err)
}

// String is the reply in words.
func (r reply) String() string {
	words := [...]string{"done", "failure", "not allowed; its --allow-target says what is", "no network", "no such host, or no answer from it", "refused", "it took too long",
		"not supported", "no such kind of address"}
	if int(r) < len(words) {
		return words[r]
	}
	return fmt.Sprintf("failure %d", byte(r))
}
