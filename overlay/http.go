package overlay

import (
	"context"
	"net"
	"net/http"
	"time"
)

const (
	// httpIdleTimeout is how long a transport keeps a conn that it does not use.
	httpIdleTimeout = 90 * time.Second
	// httpDialTimeout is how long a transport tries to reach a node, so that a
	// request without a deadline ends, too, with an error that says why.
	httpDialTimeout = 30 * time.Second
)

// HTTPTransport returns a new transport whose requests go to nodes:
// "http://kv-1/". It speaks HTTP/2 without TLS (h2c with prior knowledge), for
// the conns are sealed already, keeps one conn to each node, and gives up after
// 30 s if a node cannot be reached. Servers need HTTP/2 without TLS, too:
//
//	srv.Protocols = new(http.Protocols)
//	srv.Protocols.SetHTTP1(true)
//	srv.Protocols.SetUnencryptedHTTP2(true)
//
// To talk to a server that knows only HTTP/1, change the transport's
// Protocols before its first request. The caller may change its other fields,
// too, and should call CloseIdleConnections when done with it.
func (n *Node) HTTPTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, httpDialTimeout)
			defer cancel()
			return n.DialContext(ctx, network, addr)
		},
		Protocols:       protocols,
		IdleConnTimeout: httpIdleTimeout,
	}
}
