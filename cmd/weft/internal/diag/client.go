package diag

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/cmd/weft/internal/localapi"
	"github.com/weftnet/weft/stream"
)

// AskView asks a node, named as for a dial, for its view.
func AskView(ctx context.Context, node localapi.Node, host string) (*View, error) {
	c, a, err := ask(ctx, node, host, request{Do: doView})
	if err != nil {
		return nil, err
	}
	_ = c.Close()
	if a.View == nil {
		return nil, errors.New("the other node's answer has no view; is it of another version?")
	}
	return a.View, nil
}

// An asked is a stream whose request was granted.
type asked struct {
	net.Conn
	r    *bufio.Reader
	stop func() bool
}

// Read reads what follows the answer.
func (c *asked) Read(p []byte) (int, error) { return c.r.Read(p) }

// Close closes the conn.
func (c *asked) Close() error {
	c.stop()
	return c.Conn.Close()
}

// NetConn is for join.
func (c *asked) NetConn() net.Conn { return c.Conn }

// ask makes a stream and a request. When ctx ends, the stream is reset.
func ask(ctx context.Context, node localapi.Node, host string, req request) (*asked, *answer, error) {
	conn, err := node.Dial(ctx, net.JoinHostPort(host, strconv.Itoa(Port)))
	if err != nil {
		return nil, nil, err
	}
	c := &asked{conn, newReader(conn), context.AfterFunc(ctx, func() { join.Reset(conn, stream.CodeCanceled) })}
	a := new(answer)
	err = conn.SetDeadline(time.Now().Add(requestTimeout))
	if err == nil {
		err = writeLine(conn, req)
	}
	if err == nil {
		err = readLine(c.r, a)
	}
	if err == nil && a.Error != "" {
		err = &RefusedError{a.Error}
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = c.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, err
	}
	return c, a, nil
}
