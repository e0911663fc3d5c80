package localapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/weftnet/weft/internal/httpconn"
	"github.com/weftnet/weft/overlay"
)

// A Client is the node of another process. Multiple goroutines may call its methods.
type Client struct {
	socket string
	id     overlay.NodeID
	name   string
}

var _ Node = (*Client)(nil)

// NewClient returns the node that is served on a socket, whose ID and name the caller
// knows.
func NewClient(socket string, id overlay.NodeID, name string) *Client {
	return &Client{socket, id, name}
}

// ID returns the node's ID.
func (c *Client) ID() overlay.NodeID { return c.id }

// Name returns the node's name.
func (c *Client) Name() string { return c.name }

// Close does nothing: the node goes on.
func (c *Client) Close() error { return nil }

// WaitReady is overlay.Node.WaitReady.
func (c *Client) WaitReady(ctx context.Context) error {
	resp, err := c.get(ctx, "/ready", nil)
	switch {
	case err == nil:
		return resp.Body.Close()
	case ctx.Err() != nil:
		return fmt.Errorf("the running node: %w: %w", overlay.ErrNoRelay, context.Cause(ctx))
	}
	return err
}

// Ping is overlay.Node.Ping.
func (c *Client) Ping(ctx context.Context, host string) (overlay.PingResult, error) {
	var a pingAnswer
	resp, err := c.get(ctx, "/ping", url.Values{"host": {host}})
	if err != nil {
		return overlay.PingResult{}, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return overlay.PingResult{}, fmt.Errorf("the running node's answer makes no sense: %w", err)
	}
	return overlay.PingResult{RTT: a.RTT, Path: a.Path, Layer: a.Layer, Peer: a.Peer.peer()}, nil
}

// Get asks for something that is not an upgrade. The caller closes the answer's body.
func (c *Client) get(ctx context.Context, path string, values url.Values) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.connect(ctx) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+path+"?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := readAnswer(resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, fmt.Errorf("the running node cannot be asked; start it with weft up: %w", err)
	}
	return conn, nil
}

// Dial is overlay.Node.Dial.
func (c *Client) Dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := c.upgrade(ctx, "/dial", url.Values{"addr": {addr}})
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// DialEarly is Dial that does not wait until the peer has accepted the conn.
func (c *Client) DialEarly(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := c.upgrade(ctx, "/dial", url.Values{"addr": {addr}, "early": {"1"}})
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// DialPacket is overlay.Node.DialPacket.
func (c *Client) DialPacket(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := c.upgrade(ctx, "/dialpacket", url.Values{"addr": {addr}})
	if err != nil {
		return nil, err
	}
	return packetConn{conn}, nil
}

// ListenPacket is overlay.Node.ListenPacket.
func (c *Client) ListenPacket(ctx context.Context, port uint16) (net.PacketConn, error) {
	conn, err := c.upgrade(ctx, "/listenpacket", url.Values{"port": {strconv.Itoa(int(port))}})
	if err != nil {
		return nil, err
	}
	return packetPort{conn}, nil
}

// upgrade asks for a conn of frames. The error is the other process's, or says that
// there is none.
func (c *Client) upgrade(ctx context.Context, path string, values url.Values) (*Conn, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node"+path+"?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	resp, rest, err := httpconn.Exchange(conn, req)
	if !stop() {
		_ = conn.Close()
		return nil, context.Cause(ctx)
	}
	var info connInfo
	if err == nil {
		defer resp.Body.Close() // there is none
		err = readAnswer(resp)
	}
	if err == nil {
		err = json.Unmarshal([]byte(resp.Header.Get(headerConn)), &info)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return newConn(rest, info), nil
}

// ListenFor is overlay.ListenConfig.Listen.
func (c *Client) ListenFor(ctx context.Context, port uint16, rule *overlay.Rule) (net.Listener, error) {
	text, err := sendable(rule)
	if err != nil {
		return nil, err
	}
	conn, err := c.upgrade(ctx, "/listen", url.Values{"port": {strconv.Itoa(int(port))}, "rule": {text}})
	if err != nil {
		return nil, err
	}
	return newListener(c, conn), nil
}
