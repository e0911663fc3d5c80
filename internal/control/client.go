package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/weftnet/weft/internal/identity"
)

// maxPending is how many requests of one client wait for their answers; more
// wait for their turn.
const maxPending = 64

// ErrNotFound is what Lookup returns when the relay knows no such node.
var ErrNotFound = errors.New("the relay knows no such node")

// A Client is a node's side of a control stream. Multiple goroutines may
// invoke its methods simultaneously; requests do not wait for each other.
type Client struct {
	stream Stream
	out    *outbox
	onPush func(Message)
	slots  chan struct{} // holds one entry for each pending request
	done   chan struct{} // closed after err is set
	wg     sync.WaitGroup

	mu      sync.Mutex
	pending map[uint32]chan Message // each with room for its one answer
	last    uint32                  // request number last used
	err     error                   // why the client ended
}

// NewClient runs the protocol on a stream, which it owns from now on. onPush,
// unless nil, is called with each message that the relay sends unasked, one
// after another; answers wait while it runs, so it must neither block nor
// close the client. Close the client to end its goroutines.
func NewClient(s Stream, onPush func(Message)) *Client {
	c := &Client{
		stream:  s,
		out:     newOutbox(s),
		onPush:  onPush,
		slots:   make(chan struct{}, maxPending),
		done:    make(chan struct{}),
		pending: make(map[uint32]chan Message),
	}
	c.out.start(c.fail)
	c.wg.Go(c.receive)
	return c
}

// Register makes this node known at the relay. A refusal is a *[Failed].
func (c *Client) Register(ctx context.Context, m Register) (Registered, error) {
	answer, err := call[*Registered](ctx, c, &m)
	if err != nil {
		return Registered{}, err
	}
	return *answer, nil
}

// Lookup asks which nodes the target means: one, or several when nodes share a
// name. The error is [ErrNotFound] when there is none.
func (c *Client) Lookup(ctx context.Context, t identity.Target) ([]Record, error) {
	answer, err := call[*Found](ctx, c, &Lookup{ID: t.ID, Key: Key(t.Key), Name: t.Name})
	if err != nil {
		return nil, err
	}
	return answer.Records, nil
}

// Observe asks from which address the relay sees this node.
func (c *Client) Observe(ctx context.Context) (string, error) {
	answer, err := call[*Observed](ctx, c, &Observe{})
	if err != nil {
		return "", err
	}
	return answer.Addr, nil
}

// Done is closed when the client has ended, be it by Close or because the
// stream failed; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the client ended, nil while it runs, and an error that
// matches [net.ErrClosed] after Close.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close closes the stream and waits for the client's goroutines. Requests that
// wait fail with [net.ErrClosed].
func (c *Client) Close() error {
	c.fail(net.ErrClosed)
	c.wg.Wait()
	c.out.wg.Wait()
	return nil
}

// fail ends the client, once.
func (c *Client) fail(cause error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = fmt.Errorf("control stream ended: %w", cause)
	c.mu.Unlock()
	close(c.done)
	c.out.stop()
	closeFor(c.stream, cause)
}

// closeFor ends a stream in the way that tells the peer why.
func closeFor(s Stream, cause error) {
	switch {
	case errors.Is(cause, ErrMalformed):
		_ = s.Reset(CodeMalformed)
	case errors.Is(cause, os.ErrDeadlineExceeded):
		_ = s.Reset(CodeTooSlow)
	default:
		_ = s.Close()
	}
}

// receive reads answers and pushes until the stream ends.
func (c *Client) receive() {
	for {
		e, err := read(c.stream)
		if err == io.EOF {
			err = errors.New("the relay closed it")
		}
		if err != nil {
			c.fail(err)
			return
		}
		switch {
		case e.request != 0:
			c.answered(e)
		case e.message != nil && c.onPush != nil:
			c.onPush(e.message)
		}
	}
}

// answered hands an answer to the call that waits for it, if it still does. An
// answer of an unknown kind is handed on as nil.
func (c *Client) answered(e envelope) {
	c.mu.Lock()
	waiting := c.pending[e.request]
	delete(c.pending, e.request)
	c.mu.Unlock()
	if waiting != nil {
		waiting <- e.message
	}
}

// call sends a request and waits for its answer, which must be an A.
func call[A Message](ctx context.Context, c *Client, request Message) (A, error) {
	var none A
	m, err := c.roundTrip(ctx, request)
	if err != nil {
		return none, err
	}
	switch m := m.(type) {
	case A:
		return m, nil
	case *Failed:
		return none, m
	case *NotFound:
		return none, ErrNotFound
	}
	return none, fmt.Errorf("control: the relay answered a request of kind %d with a %T; it may be of another release", request.kind(), m)
}

func (c *Client) roundTrip(ctx context.Context, request Message) (Message, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.done:
		return nil, c.Err()
	}
	number, answer := c.expect()
	defer c.forget(number)
	b, err := encode(number, request)
	if err != nil {
		return nil, err
	}
	if sent, err := c.out.put(ctx, b); err != nil {
		return nil, err
	} else if !sent {
		return nil, c.Err()
	}
	select {
	case m := <-answer:
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.done:
		return nil, c.Err()
	}
}

// expect picks an unused request number and returns where its answer comes.
func (c *Client) expect() (uint32, <-chan Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.last++
		if _, used := c.pending[c.last]; c.last != 0 && !used {
			break
		}
	}
	answer := make(chan Message, 1)
	c.pending[c.last] = answer
	return c.last, answer
}

func (c *Client) forget(number uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, number)
}
