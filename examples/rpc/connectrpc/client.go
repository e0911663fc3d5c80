package connectrpc

import (
	"context"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/weftnet/weft/examples/rpc/connectrpc/clusterpb/clusterpbconnect"
)

// A Client calls the nodes of a cluster, over one HTTP/2 conn to each, which is made again whenever it is needed.
type Client struct {
	transport *http.Transport
	options   []connect.ClientOption

	mu        sync.Mutex
	instances map[string]string // by host
	restarted func(host string)
}

// NewClient returns a client on a transport such as overlay's Node.HTTPTransport. It tells restarted of each node whose
// process has begun anew since the last call. Options such as connect.WithGRPC choose the protocol.
func NewClient(transport *http.Transport, restarted func(host string), options ...connect.ClientOption) *Client {
	transport.MaxConnsPerHost = 1 // calls that begin before there is a conn wait for it, rather than dial one each
	transport.HTTP2 = &http.HTTP2Config{
		MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: 4 * window,
		StrictMaxConcurrentRequests: true,
		SendPingTimeout:             5 * time.Second, PingTimeout: 10 * time.Second, // calls to a silent node fail then
	}
	return &Client{
		transport: transport, options: append(options, connect.WithReadMaxBytes(MaxPayload), connect.WithSendMaxBytes(MaxPayload),
			connect.WithAcceptCompression("gzip", nil, nil)), // it costs more than it saves within a cluster
		instances: make(map[string]string), restarted: restarted,
	}
}

// Node returns the service of a node, "kv-1" or "kv-1:80". Calls show the token; empty: none.
func (c *Client) Node(host, token string) clusterpbconnect.ClusterClient {
	return clusterpbconnect.NewClusterClient(&http.Client{Transport: c.transport}, "http://"+host,
		append([]connect.ClientOption{connect.WithInterceptors(caller{c, host, token})}, c.options...)...)
}

// Close closes idle conns. Calls that are under way go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// note notes which process has answered.
func (c *Client) note(host string, header http.Header) {
	now := header.Get(instanceHeader)
	if now == "" {
		return
	}
	c.mu.Lock()
	before := c.instances[host]
	c.instances[host] = now
	c.mu.Unlock()
	if before != "" && before != now && c.restarted != nil {
		c.restarted(host)
	}
}

// caller adds what is sent with each call.
type caller struct {
	c           *Client
	host, token string
}

// WrapUnary is for calls.
func (i caller) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if i.token != "" {
			req.Header().Set("Authorization", "Bearer "+i.token)
		}
		resp, err := next(ctx, req)
		if err == nil {
			i.c.note(i.host, resp.Header())
		}
		return resp, err
	}
}

// WrapStreamingClient is for streams.
func (i caller) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if i.token != "" {
			conn.RequestHeader().Set("Authorization", "Bearer "+i.token)
		}
		return conn
	}
}

// WrapStreamingHandler does nothing: this is a client.
func (i caller) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
