package overlay

import (
	"net/http"
	"time"
)

// httpIdleTimeout is how long a transport keeps a conn that it does not use.
const httpIdleTimeout = 90 * time.Second

// HTTPTransport returns a new transport whose requests go to nodes:
// "http://kv-1/". It speaks HTTP/2 without TLS (h2c with prior knowledge), for
// the conns are sealed already, and keeps one conn to each node. Servers need
// it, too:
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
		DialContext:     n.DialContext,
		Protocols:       protocols,
		IdleConnTimeout: httpIdleTimeout,
	}
}
