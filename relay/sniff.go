package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/weftnet/weft/internal/link"
)

// A protocol is what a conn to the relay's port speaks.
type protocol uint8

const (
	protocolUndecided protocol = iota // more bytes will tell
	protocolLink                      // the preface of a node's link
	protocolMesh                      // the preface of a link between relays
	protocolHTTP                      // a request line of HTTP/1, or the preface of HTTP/2
	protocolBareMesh                  // weaveworks/mesh that is inside no link
	protocolTLS                       // a ClientHello
	protocolOther
)

// sniffLen is how many of a conn's first bytes are read to tell its protocol.
// The longest that needs to be seen has 8; of a preface, those that mean the
// same in all versions tell links of nodes from those of the backbone.
const sniffLen = 64

// beginnings are the first bytes of protocols. None begins another.
var beginnings = []struct {
	first string
	is    protocol
}{
	{link.Magic, protocolLink},
	{"GET ", protocolHTTP},
	{"HEAD ", protocolHTTP},
	{"POST ", protocolHTTP},
	{"PUT ", protocolHTTP},
	{"PATCH ", protocolHTTP},
	{"DELETE ", protocolHTTP},
	{"OPTIONS ", protocolHTTP},
	{"PRI * HT", protocolHTTP},
	{"weave", protocolBareMesh},
	{"\x16\x03", protocolTLS},
}

// sniff tells a protocol by the first bytes.
func sniff(first []byte) protocol {
	for _, b := range beginnings {
		n := min(len(first), len(b.first))
		if !strings.HasPrefix(b.first, string(first[:n])) {
			continue
		}
		switch {
		case n < len(b.first), b.is == protocolLink && len(first) < link.PrefixLen:
			return protocolUndecided
		case b.is == protocolLink && link.MeshPrefix(first):
			return protocolMesh
		}
		return b.is
	}
	return protocolOther
}

// refusal says why a conn that speaks p is refused.
func (p protocol) refusal() error {
	switch p {
	case protocolBareMesh:
		return errors.New("bare mesh is not spoken here; relays dial each other with a preface that says so: upgrade the relay at the other end")
	case protocolTLS:
		return errors.New("TLS is not spoken here; wss:// needs a web server with a certificate in front of the relay, others use ws:// or tcp://")
	}
	return errors.New("it speaks neither the weft link protocol nor HTTP")
}

// peek reads the first bytes of conn until they tell its protocol. When ctx ends
// first, conn is closed.
func peek(ctx context.Context, conn net.Conn) ([]byte, protocol, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	first := make([]byte, 0, sniffLen)
	for {
		n, err := conn.Read(first[len(first):cap(first)])
		first = first[:len(first)+n]
		if p := sniff(first); p != protocolUndecided {
			return first, p, nil
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return first, protocolUndecided, fmt.Errorf("after %d bytes: %w", len(first), err)
		}
	}
}

// serveConn serves a conn to the port that speaks anything.
func (r *relay) serveConn(conn net.Conn) {
	s := r.links.enter(conn.RemoteAddr())
	if s == nil {
		r.stats.refusedAddress.Add(1)
		_ = conn.Close()
		return
	}
	ctx, cancel := r.firstBytes(s)
	defer cancel()
	first, p, err := peek(ctx, conn)
	switch p {
	case protocolLink, protocolMesh: // decide finds each its budget, as for WebSockets
		defer s.leave()
		r.serveEntered(ctx, link.NewPeekedConn(conn, first), s)
		return
	case protocolHTTP:
		s.leave()
		r.web.serve(conn, first)
		return
	case protocolUndecided:
		r.stats.refusedPreface.Add(1)
	default:
		r.web.stats.refusedProtocol.Add(1)
		err = p.refusal()
	}
	s.leave()
	_ = conn.Close()
	if r.refusals.Allow() {
		r.log.WithError(err).WithField("link", conn.RemoteAddr().String()).Info("conn refused")
	}
}
