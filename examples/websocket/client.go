package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/coder/websocket"

	"github.com/weftnet/weft/overlay"
)

// connect opens a WebSocket to a node.
func connect(ctx context.Context, node *overlay.Node, host string) (*websocket.Conn, error) {
	transport := node.HTTPTransport() // its hosts are nodes
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	transport.DisableKeepAlives = true                                               // a WebSocket keeps its conn to itself
	conn, resp, err := websocket.Dial(ctx, "ws://"+host+"/", &websocket.DialOptions{ //nolint:bodyclose // the body is the conn's, or in memory
		HTTPClient: &http.Client{Transport: transport},
	})
	if resp != nil && err != nil {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
		return nil, fmt.Errorf("%s answered %s: %s", host, resp.Status, text)
	}
	return conn, err
}

// watch shows the states of a node's counter until ctx ends; or, if there is something to
// add, until that has been counted.
func watch(ctx context.Context, node *overlay.Node, host string, add int64, out io.Writer) error {
	conn, err := connect(ctx, node, host)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	if add > 0 {
		if err := send(ctx, conn, message{Add: add}); err != nil {
			return err
		}
	}
	for {
		_, data, err := conn.Read(ctx)
		if closed, ok := errors.AsType[websocket.CloseError](err); ok {
			return fmt.Errorf("%s ended it: %s", host, closed.Reason)
		}
		if ctx.Err() != nil && add == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		var s state
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("%s does not count: %w", host, err)
		}
		if add == 0 || s.Yours >= add {
			if _, err := fmt.Fprintf(out, "%d (%s)\n", s.Total, s.By); err != nil {
				return err
			}
		}
		if add > 0 && s.Yours >= add {
			return conn.Close(websocket.StatusNormalClosure, "")
		}
	}
}
