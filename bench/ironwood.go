package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/Arceliar/ironwood/network"
	"github.com/Arceliar/ironwood/types"
)

// ironwoodTransport is streams of quic-go over the PacketConn of ironwood, whose
// nodes are linked by TCP: two of them, or with one between them.
type ironwoodTransport struct{ relayed bool }

func (t ironwoodTransport) Name() string {
	if t.relayed {
		return "ironwood-relay"
	}
	return "ironwood"
}

func (t ironwoodTransport) Serve(ctx context.Context) (Server, error) {
	quietQUIC()
	end, err := newIronwoodNode()
	if err != nil {
		return nil, err
	}
	s := &ironwoodServer{meet: end}
	if s.quicServer, err = newQUICServer(end); err != nil {
		return nil, errors.Join(err, end.Close())
	}
	if t.relayed {
		if s.meet, err = newIronwoodNode(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if s.tcp, err = listenTCP(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.listening.Go(func() { s.meet.listen(s.tcp) })
	if t.relayed {
		err = end.dial(ctx, s.tcp.Addr())
	}
	return s, err
}

func (ironwoodTransport) Client(ctx context.Context, addr string) (Client, error) {
	quietQUIC()
	var meet, keyHex string
	if _, err := fmt.Sscan(addr, &meet, &keyHex); err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(keyHex)
	if err != nil {
		return nil, err
	}
	n, err := newIronwoodNode()
	if err != nil {
		return nil, err
	}
	if err := n.dial(ctx, meet); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return newQUICClient(n, types.Addr(key)), nil
}

// quietQUIC silences quic-go, which says that it cannot set the buffers of a UDP
// socket that is none.
func quietQUIC() { _ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") }

// An ironwoodNode is a node and its links.
type ironwoodNode struct {
	*network.PacketConn
	links sync.WaitGroup
}

func newIronwoodNode() (*ironwoodNode, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	p, err := network.NewPacketConn(key)
	return &ironwoodNode{PacketConn: p}, err
}

// listen makes links of the conns that arrive.
func (n *ironwoodNode) listen(tcp tcpServer) {
	for {
		c, err := tcp.Accept()
		if err != nil {
			return
		}
		_ = n.link(c) // whoever dialled notices
	}
}

func (n *ironwoodNode) dial(ctx context.Context, addr string) error {
	c, err := tcpClient(addr).Dial(ctx)
	if err != nil {
		return err
	}
	return n.link(c)
}

// link tells the other side who this is, learns who that is, and hands the conn
// to the node.
func (n *ironwoodNode) link(c net.Conn) error {
	theirs := make(ed25519.PublicKey, ed25519.PublicKeySize)
	_, err := c.Write(n.LocalAddr().(types.Addr))
	if err == nil {
		_, err = io.ReadFull(c, theirs)
	}
	if err != nil {
		return errors.Join(err, c.Close())
	}
	n.links.Go(func() { _ = n.HandleConn(theirs, c, 0) }) // until Close
	return nil
}

func (n *ironwoodNode) Close() error {
	err := n.PacketConn.Close()
	n.links.Wait()
	return err
}

type ironwoodServer struct {
	*quicServer
	meet      *ironwoodNode // where clients connect; the relay if there is one
	tcp       tcpServer
	listening sync.WaitGroup
}

func (s *ironwoodServer) Addr() string { return s.tcp.Addr() + " " + s.quicServer.Addr() }

func (s *ironwoodServer) Close() error {
	var errs []error
	if s.tcp.ln != nil {
		errs = append(errs, s.tcp.Close())
	}
	s.listening.Wait()
	errs = append(errs, s.quicServer.Close())
	if net.PacketConn(s.meet) != s.packets {
		errs = append(errs, s.meet.Close())
	}
	return errors.Join(errs...)
}
