package localapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/weftnet/weft/cmd/weft/internal/join"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/stream"
)

// packetAddr is the length of the address before each packet of a port: node and port,
// big endian.
const packetAddr = 8 + 2

// dialPacket gives a client a conn for packets.
func (s *Server) dialPacket(w http.ResponseWriter, r *http.Request) {
	ctx, done := s.within(r)
	conn, err := s.node.DialPacket(ctx, r.FormValue("addr"))
	done()
	if err != nil {
		fail(w, http.StatusBadGateway, err)
		return
	}
	s.carryPackets(w, infoOf(conn), conn, conn.Write, conn.Read)
}

// listenPacket gives a client a port for packets.
func (s *Server) listenPacket(w http.ResponseWriter, r *http.Request) {
	port, err := portOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	conn, err := s.node.ListenPacket(port)
	if err != nil {
		fail(w, http.StatusConflict, err)
		return
	}
	s.carryPackets(w, connInfo{Local: conn.LocalAddr().String()}, conn,
		func(b []byte) (int, error) {
			to, data, err := cutAddr(b)
			if err != nil {
				return 0, err
			}
			return conn.WriteTo(data, to)
		},
		func(b []byte) (int, error) {
			n, from, err := conn.ReadFrom(b[packetAddr:])
			if err != nil {
				return 0, err
			}
			putAddr(b, from)
			return packetAddr + n, nil
		})
}

func putAddr(b []byte, addr net.Addr) {
	a, _ := addr.(overlay.Addr)
	binary.BigEndian.PutUint64(b, uint64(a.Node))
	binary.BigEndian.PutUint16(b[8:], a.Port)
}

func cutAddr(b []byte) (overlay.Addr, []byte, error) {
	if len(b) < packetAddr {
		return overlay.Addr{}, nil, errors.New("a packet without an address on the socket")
	}
	return overlay.Addr{Node: overlay.NodeID(binary.BigEndian.Uint64(b)), Port: binary.BigEndian.Uint16(b[8:])}, b[packetAddr:], nil
}

// carryPackets carries packets between a client and what it asked for until one of them
// is gone. Packets that cannot be sent are lost, as packets are.
func (s *Server) carryPackets(w http.ResponseWriter, info connInfo, conn interface{ Close() error }, send, receive func([]byte) (int, error)) {
	defer conn.Close()
	client, err := s.upgrade(w, info)
	if err != nil {
		return
	}
	defer s.wg.Done()
	stop := s.onStop(client)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer client.Close()
		buf := make([]byte, packetAddr+maxPacket)
		for {
			n, err := receive(buf)
			if err == nil {
				_, err = client.writePacket(buf[:n])
			}
			if err != nil {
				return
			}
		}
	})
	buf := make([]byte, packetAddr+maxPacket)
	for {
		n, err := client.readPacket(buf)
		if err != nil {
			break
		}
		if _, err := send(buf[:n]); err != nil {
			s.log.WithError(err).Debug("a packet of another process is lost")
		}
	}
	_ = conn.Close() // which ends the goroutine
	wg.Wait()
}

// readPacket reads the next packet into p.
func (c *Conn) readPacket(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	kind, size, err := c.header()
	switch {
	case c.rerr != nil:
		return 0, c.rerr
	case err != nil:
		return 0, err
	case kind != kindData:
		c.rerr = join.ErrGone
		return 0, c.rerr
	case size > packetAddr+maxPacket:
		return 0, fmt.Errorf("a packet of %d bytes on the socket, %d at most", size, packetAddr+maxPacket)
	}
	b, err := c.r.Peek(frameHeader + size)
	if err != nil {
		return 0, err
	}
	n := copy(p, b[frameHeader:])
	_, _ = c.r.Discard(frameHeader + size)
	return n, nil
}

// writePacket writes p as one packet.
func (c *Conn) writePacket(p []byte) (int, error) {
	if len(p) > packetAddr+maxPacket {
		return 0, fmt.Errorf("a packet of %d bytes is too long; no path carries %d", len(p), maxPacket)
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.frameLocked(kindData, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// A packetConn exchanges packets with one port of one peer.
type packetConn struct{ *Conn }

func (c packetConn) Read(p []byte) (int, error) {
	n, err := c.readPacket(p)
	return n, c.opError("read", err)
}

func (c packetConn) Write(p []byte) (int, error) {
	n, err := c.writePacket(p)
	return n, c.opError("write", err)
}

// A packetPort is a port for packets.
type packetPort struct{ *Conn }

var _ net.PacketConn = packetPort{}

func (c packetPort) ReadFrom(p []byte) (int, net.Addr, error) {
	b := make([]byte, packetAddr+maxPacket)
	n, err := c.readPacket(b)
	if err != nil {
		return 0, nil, c.opError("read", err)
	}
	from, data, err := cutAddr(b[:n])
	if err != nil {
		return 0, nil, c.opError("read", err)
	}
	return copy(p, data), from, nil
}

func (c packetPort) WriteTo(p []byte, to net.Addr) (int, error) {
	b := make([]byte, packetAddr+len(p))
	putAddr(b, to)
	copy(b[packetAddr:], p)
	if _, err := c.writePacket(b); err != nil {
		return 0, stream.OpError("write", c.info.local(), to, err)
	}
	return len(p), nil
}
