package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"sync"

	"github.com/weftnet/weft/stream"
)

// A remoteListener listens on a port of a node of another process.
type remoteListener struct {
	client  *Client
	control *Conn // on which conns are announced
	ctx     context.Context
	cancel  context.CancelFunc

	conns chan net.Conn
	room  chan struct{} // as many as may be waiting
	done  chan struct{} // closed after err is set
	err   error
	once  sync.Once
	wg    sync.WaitGroup
}

func newListener(client *Client, control *Conn) *remoteListener {
	l := &remoteListener{client: client, control: control, conns: make(chan net.Conn), room: make(chan struct{}, maxWaiting), done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.hear)
	return l
}

// hear hears of conns until the other process or Close ends that.
func (l *remoteListener) hear() {
	defer close(l.done)
	defer l.cancel()
	buf := make([]byte, packetAddr+maxPacket)
	for {
		n, err := l.control.readPacket(buf)
		if err != nil {
			l.err = errors.New("the running node is gone")
			if l.ctx.Err() != nil {
				l.err = net.ErrClosed
			}
			return
		}
		var a announcement
		if json.Unmarshal(buf[:n], &a) != nil {
			continue
		}
		select {
		case l.room <- struct{}{}:
			l.wg.Go(func() { l.fetch(a); <-l.room })
		case <-l.ctx.Done():
		}
	}
}

// fetch fetches a conn and keeps it until somebody accepts it.
func (l *remoteListener) fetch(a announcement) {
	conn, err := l.client.upgrade(l.ctx, "/take", url.Values{"conn": {a.Conn}})
	if err != nil {
		return // it was reset
	}
	select {
	case l.conns <- conn:
	case <-l.ctx.Done():
		_ = conn.Reset(stream.CodeShuttingDown)
	}
}

// Accept implements net.Listener.
func (l *remoteListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, stream.OpError("accept", l.Addr(), nil, l.err)
	}
}

// Close implements net.Listener.
func (l *remoteListener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		l.cancel()
		err = l.control.Close()
		l.wg.Wait()
	})
	return err
}

// Addr returns the node and the port, of type overlay.Addr.
func (l *remoteListener) Addr() net.Addr { return l.control.LocalAddr() }
