package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/weftnet/weft/examples/kvstore/kvv1/kvv1connect"
	"github.com/weftnet/weft/overlay"
)

const (
	// nodePort is where nodes listen on the overlay.
	nodePort = 4100
	// maxMessage is in bytes: a FetchResponse, or 256 views of 128 members.
	maxMessage = 4 << 20
	// maxRequests is how many requests of one other node may be open.
	maxRequests = 1024
	// pingAfter is the silence after which a conn is asked for a sign of life, and
	// pingTimeout how long that may take. A conn that has been cut is not used again.
	pingAfter, pingTimeout = 5 * time.Second, 5 * time.Second
)

// dialler returns what makes clients of other nodes. They share a transport, which keeps one
// conn to each node, HTTP/2 without TLS, for as many calls at a time as there are.
func dialler(node *overlay.Node) (peer func(address string) kvv1connect.NodeServiceClient, transport *http.Transport) {
	transport = node.HTTPTransport()
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	return diallerOver(transport), transport
}

// diallerOver keeps the clients that it has made, of members and former ones, up to a limit.
func diallerOver(transport *http.Transport) func(address string) kvv1connect.NodeServiceClient {
	client := &http.Client{Transport: transport}
	var mu sync.Mutex
	made := make(map[string]kvv1connect.NodeServiceClient)
	return func(address string) kvv1connect.NodeServiceClient {
		mu.Lock()
		defer mu.Unlock()
		if peer, ok := made[address]; ok {
			return peer
		}
		if len(made) >= 2*maxMembers {
			clear(made)
		}
		made[address] = kvv1connect.NewNodeServiceClient(client, "http://"+net.JoinHostPort(address, strconv.Itoa(nodePort)),
			connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage),
			connect.WithAcceptCompression("gzip", nil, nil)) // of small messages it costs more than it saves
		return made[address]
	}
}

// serveNodes answers other nodes until ctx ends.
func serveNodes(ctx context.Context, n *Node, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle(kvv1connect.NewNodeServiceHandler(n, connect.WithReadMaxBytes(maxMessage)))
	return serve(ctx, mux, ln)
}

// serve answers requests over HTTP/1.1 and HTTP/2 without TLS until ctx ends.
func serve(ctx context.Context, handler http.Handler, ln net.Listener) error {
	srv := &http.Server{
		Handler: handler, ConnContext: overlay.ConnContext, Protocols: new(http.Protocols),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxRequests},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	stopped := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(stopped)
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(closing) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(ln)
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped
	return nil
}
