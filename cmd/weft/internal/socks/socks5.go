package socks

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/weftnet/weft/overlay"
)

// What the bytes mean: RFC 1928, sections 3 to 6, and RFC 1929.
const (
	version5      = 5
	passwordVer   = 1
	methodNone    = 0
	methodUser    = 2
	methodRefused = 0xff
	commandDial   = 1
	addrIPv4      = 1
	addrName      = 3
	addrIPv6      = 4
)

// A reply is the answer to a request (RFC 1928, section 6).
type reply byte

const (
	replyDone reply = iota
	replyFailure
	replyNotAllowed
	replyNoNetwork
	replyNoHost
	replyRefused
	replyExpired
	replyNoCommand
	replyNoAddress
)

// replyTo is the reply for an error of a dial.
func replyTo(err error) reply {
	timeout := interface{ Timeout() bool }(nil)
	switch {
	case errors.Is(err, ErrNotAllowed), errors.Is(err, overlay.ErrNotAllowed):
		return replyNotAllowed
	case errors.Is(err, overlay.ErrNoRelay):
		return replyNoNetwork
	case errors.Is(err, overlay.ErrUnknownNode), errors.Is(err, overlay.ErrAmbiguousName), errors.Is(err, overlay.ErrPeerLost):
		return replyNoHost
	case errors.As(err, &timeout) && timeout.Timeout():
		return replyNoHost
	}
	return replyRefused
}

// socks speaks with a client until its target is reached, and tells it so.
func (s *Server) socks(ctx context.Context, conn net.Conn, br *bufio.Reader) (net.Conn, error) {
	if err := s.greet(conn, br); err != nil {
		return nil, err
	}
	host, port, refusal, err := readRequest(br)
	if err != nil {
		if refusal != replyDone {
			_ = answer(conn, refusal)
		}
		return nil, err
	}
	target, err := s.dial(ctx, host, port)
	if err != nil {
		_ = answer(conn, replyTo(err))
		return nil, err
	}
	if err := answer(conn, replyDone); err != nil {
		_ = target.Close()
		return nil, err
	}
	return target, nil
}

// greet agrees on how the client shows who it is.
func (s *Server) greet(conn net.Conn, br *bufio.Reader) error {
	methods, err := readCounted(br, 1)
	if err != nil {
		return err
	}
	want := byte(methodNone)
	if s.secret() {
		want = methodUser
	}
	has := false
	for _, m := range methods {
		has = has || m == want
	}
	if !has {
		_, _ = conn.Write([]byte{version5, methodRefused})
		return errors.New("the client does not offer the authentication that this proxy wants: a user and a password if it has them, none otherwise")
	}
	if _, err := conn.Write([]byte{version5, want}); err != nil || want == methodNone {
		return err
	}
	user, err := readCounted(br, 1)
	if err != nil {
		return err
	}
	password, err := readCounted(br, 0)
	if err != nil {
		return err
	}
	if !s.authentic(string(user), string(password)) {
		_, _ = conn.Write([]byte{passwordVer, 1})
		return errors.New("wrong user or password")
	}
	_, err = conn.Write([]byte{passwordVer, 0})
	return err
}

// readCounted skips some bytes and reads as many as the next one says.
func readCounted(br *bufio.Reader, skip int) ([]byte, error) {
	if _, err := br.Discard(skip); err != nil {
		return nil, err
	}
	n, err := br.ReadByte()
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(br, b)
	return b, err
}

// readRequest reads whom a client wants. A refusal that is not replyDone is to be
// answered.
func readRequest(br *bufio.Reader) (host string, port uint16, refusal reply, err error) {
	var head [4]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return "", 0, replyDone, err
	}
	switch {
	case head[0] != version5:
		return "", 0, replyDone, fmt.Errorf("a request of SOCKS version %d", head[0])
	case head[1] != commandDial:
		return "", 0, replyNoCommand, fmt.Errorf("command %d is not supported: only CONNECT is", head[1])
	}
	var b []byte
	switch head[3] {
	case addrIPv4, addrIPv6:
		b = make([]byte, map[byte]int{addrIPv4: 4, addrIPv6: 16}[head[3]])
		_, err = io.ReadFull(br, b)
		addr, _ := netip.AddrFromSlice(b)
		host = addr.Unmap().String()
	case addrName:
		b, err = readCounted(br, 0)
		host = string(b)
	default:
		return "", 0, replyNoAddress, fmt.Errorf("addresses of type %d are not supported", head[3])
	}
	if err != nil {
		return "", 0, replyDone, err
	}
	var p [2]byte
	if _, err := io.ReadFull(br, p[:]); err != nil {
		return "", 0, replyDone, err
	}
	port = binary.BigEndian.Uint16(p[:])
	if host == "" || port == 0 {
		return "", 0, replyFailure, errors.New("the request names no host or no port")
	}
	return host, port, replyDone, nil
}

// answer answers a request. The address that a proxy may tell is of no use to anybody.
func answer(conn net.Conn, r reply) error {
	_, err := conn.Write([]byte{version5, byte(r), 0, addrIPv4, 0, 0, 0, 0, 0, 0})
	return err
}
