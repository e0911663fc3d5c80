package overlay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/stream/sctp"
)

func TestPacketsGoBothWaysWithAddressesThatProveTheSender(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server, client := l.ready("server", Config{Name: "dns"}), l.ready("client", Config{})
		pc, err := server.ListenPacket(53)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		c, err := client.DialPacket(t.Context(), "dns:53")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, size := range []int{0, 1, 1100, 20000} {
			sent := bytes.Repeat([]byte{7}, size)
			if _, err := c.Write(sent); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			b := make([]byte, 1<<16)
			n, from, err := pc.ReadFrom(b)
			if err != nil || !bytes.Equal(b[:n], sent) || from != c.LocalAddr() || from.(Addr).Node != client.ID() {
				t.Fatalf("%d bytes: got %d from %v, %v", size, n, from, err)
			}
			if _, err := pc.WriteTo(b[:n], from); err != nil {
				t.Fatal(err)
			}
			if n, err = c.Read(b); err != nil || !bytes.Equal(b[:n], sent) {
				t.Fatalf("%d bytes: got %d back, %v", size, n, err)
			}
		}
		if c.RemoteAddr() != pc.LocalAddr() || c.RemoteAddr() != net.Addr(Addr{Node: server.ID(), Port: 53}) {
			t.Errorf("RemoteAddr %v, LocalAddr %v", c.RemoteAddr(), pc.LocalAddr())
		}
		if p, ok := PeerOf(c); !ok || p.Key != server.Key() {
			t.Errorf("PeerOf gave %v, %v", p, ok)
		}
	})
}

func TestThePacketsToANewPeerWaitForTheSession(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		pa, err := a.ListenPacket(0)
		if err != nil {
			t.Fatal(err)
		}
		defer pa.Close()
		pb, err := b.ListenPacket(53)
		if err != nil {
			t.Fatal(err)
		}
		defer pb.Close()
		const sent = maxPendingPackets + 3
		for i := range sent {
			began := time.Now()
			if _, err := pa.WriteTo([]byte(strconv.Itoa(i)), Addr{Node: b.ID(), Port: 53}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("writing blocked for %v", took)
			}
		}
		for i := range maxPendingPackets {
			buf := make([]byte, 8)
			n, _, err := pb.ReadFrom(buf)
			if err != nil || string(buf[:n]) != strconv.Itoa(i) {
				t.Fatalf("packet %d is %q, %v", i, buf[:n], err)
			}
		}
		if dropped := a.Status().PacketsDropped; dropped != sent-maxPendingPackets {
			t.Errorf("%d dropped, want %d", dropped, sent-maxPendingPackets)
		}
		// Packets to nobody are dropped, and all is well.
		if _, err := pa.WriteTo([]byte("x"), Addr{Node: 0x0123456789abcdef, Port: 53}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if dropped := a.Status().PacketsDropped; dropped != sent-maxPendingPackets+1 {
			t.Errorf("%d dropped, want one more", dropped)
		}
	})
}

// A packetPair is two packet conns of two nodes.
type packetPair struct {
	nodeA, nodeB *Node
	a, b         net.PacketConn
	buf          []byte
}

func TestPacketConnsObeyTheirContract(t *testing.T) {
	for name, test := range map[string]func(*testing.T, packetPair){
		"a taken port is an error":                          testTakenPacketPort,
		"read deadlines interrupt and pass":                 testPacketDeadlines,
		"a packet longer than the buffer is an error":       testShortBuffer,
		"a packet longer than the path carries is an error": testLongPacket,
		"addresses that cannot be are errors":               testBadPacketAddrs,
		"a full inbox drops and counts":                     testFullInbox,
		"close releases readers":                            testPacketClose,
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				p := packetPair{nodeA: l.ready("a", Config{}), nodeB: l.ready("b", Config{}), buf: make([]byte, 8)}
				var err error
				if p.a, err = p.nodeA.ListenPacket(1); err != nil {
					t.Fatal(err)
				}
				defer p.a.Close()
				if p.b, err = p.nodeB.ListenPacket(2); err != nil {
					t.Fatal(err)
				}
				defer p.b.Close()
				if _, err := p.a.WriteTo(nil, p.b.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				if _, _, err := p.b.ReadFrom(nil); err != nil { // there is a session now
					t.Fatal(err)
				}
				test(t, p)
			})
		})
	}
}

func testTakenPacketPort(t *testing.T, p packetPair) {
	if _, err := p.nodeA.ListenPacket(1); err == nil {
		t.Error("no error")
	}
}

func testPacketDeadlines(t *testing.T, p packetPair) {
	began := time.Now()
	p.a.SetReadDeadline(began.Add(time.Second))
	if _, _, err := p.a.ReadFrom(p.buf); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
	late := make(chan error, 1)
	p.a.SetReadDeadline(time.Time{})
	go func() {
		_, _, err := p.a.ReadFrom(p.buf)
		late <- err
	}()
	synctest.Wait()
	p.a.SetDeadline(time.Unix(1, 0))
	if err := <-late; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a blocked read gave %v", err)
	}
	if _, err := p.a.WriteTo(nil, p.b.LocalAddr()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a late write gave %v", err)
	}
	p.a.SetDeadline(time.Time{})
}

func testShortBuffer(t *testing.T, p packetPair) {
	if _, err := p.a.WriteTo([]byte("a packet of some length"), p.b.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if n, _, err := p.b.ReadFrom(p.buf); !errors.Is(err, io.ErrShortBuffer) || n != len(p.buf) {
		t.Errorf("read %d, %v", n, err)
	}
}

func testLongPacket(t *testing.T, p packetPair) {
	for _, size := range []int{frame.MaxPacket, 1 << 20} {
		for _, to := range []Addr{p.b.LocalAddr().(Addr), {Node: 0x0123456789abcdef, Port: 1}} {
			_, err := p.a.WriteTo(make([]byte, size), to)
			if err == nil {
				t.Errorf("%d bytes to %v: no error", size, to)
			}
		}
	}
}

func testBadPacketAddrs(t *testing.T, p packetPair) {
	for _, addr := range []net.Addr{nil, &net.UDPAddr{}, Addr{Node: p.nodeB.ID()}, Addr{Node: p.nodeA.ID(), Port: 2}} {
		if _, err := p.a.WriteTo(p.buf, addr); err == nil {
			t.Errorf("%v: no error", addr)
		}
	}
}

func testFullInbox(t *testing.T, p packetPair) {
	for range inboxPackets + 10 {
		if _, err := p.a.WriteTo(p.buf, p.b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Second)
	if got := p.nodeB.Status().PacketsDropped; got != 10 {
		t.Errorf("%d dropped, want 10", got)
	}
}

func testPacketClose(t *testing.T, p packetPair) {
	late := make(chan error, 2)
	for range cap(late) {
		go func() {
			_, _, err := p.a.ReadFrom(p.buf)
			late <- err
		}()
	}
	synctest.Wait()
	if err := p.a.Close(); err != nil {
		t.Error(err)
	}
	for range cap(late) {
		if err := <-late; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a blocked read gave %v", err)
		}
	}
	_, writeErr := p.a.WriteTo(p.buf, p.b.LocalAddr())
	for what, err := range map[string]error{
		"WriteTo": writeErr, "Close": p.a.Close(), "SetDeadline": p.a.SetDeadline(time.Now()),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

func TestADialledPacketConnHearsItsPeerOnly(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b, c := l.ready("a", Config{}), l.ready("b", Config{}), l.ready("c", Config{})
		conn, err := a.DialPacket(t.Context(), b.ID().String()+":53")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, from := range []struct {
			node *Node
			port uint16
			data string
		}{{c, 53, "another node"}, {b, 54, "another port"}, {b, 53, "right"}} {
			pc, err := from.node.ListenPacket(from.port)
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			if _, err := pc.WriteTo([]byte(from.data), conn.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		buf := make([]byte, 32)
		if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "right" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
	})
}

// The layer's datagrams and the application's share a session; each gets its own.
func TestPacketsAndALayerOfDatagramsLiveSideBySide(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server := l.ready("server", Config{Name: "kv", Reliability: sctp.Layer{}})
		client := l.ready("client", Config{Reliability: sctp.Layer{}})
		ln, err := server.Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		pc, err := server.ListenPacket(80)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
		conn, err := client.Dial(t.Context(), "kv:80")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := client.DialPacket(t.Context(), "kv:80")
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("stream"), 1<<16)
		go func() {
			_, _ = conn.Write(want)
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		b := make([]byte, 1<<16)
		for i := range 100 {
			sent := []byte(strconv.Itoa(i))
			if _, err := packets.Write(sent); err != nil {
				t.Fatal(err)
			}
			if n, _, err := pc.ReadFrom(b); err != nil || !bytes.Equal(b[:n], sent) {
				t.Fatalf("packet %d: got %q, %v", i, b[:n], err)
			}
		}
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes of %d, %v", len(got), len(want), err)
		}
		for _, n := range []*Node{server, client} {
			if dropped := n.packets.dropped.Load(); dropped != 0 {
				t.Errorf("%d packets dropped", dropped)
			}
		}
	})
}

func TestCloseDeliversWhatALayerKeeps(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server := l.ready("server", Config{Name: "kv", Reliability: sctp.Layer{}})
		client := l.ready("client", Config{Reliability: sctp.Layer{}})
		ln, err := server.Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := client.Dial(t.Context(), "kv:80")
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		sent := make([]byte, 200_000)
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(accepted); err != nil || len(got) != len(sent) {
			t.Errorf("read %d bytes of %d, %v", len(got), len(sent), err)
		}
	})
}
