package switchboard

import (
	"net"
	"testing"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
)

// tcpNode attaches a node to s over loopback TCP and returns the node's link.
func tcpNode(b *testing.B, s *Switch, id identity.NodeID, onFrame func(*link.Link, *frame.Frame)) *link.Link {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	fc, err := link.DialTCP(&net.Dialer{}, link.Hello{Node: id})(b.Context(), ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	c := link.NewStreamConn(conn)
	hello, err := link.Server(b.Context(), c, self, func(link.Hello) link.Status { return link.StatusOK })
	if err != nil {
		b.Fatal(err)
	}
	s.Bind(s.Attach(c, PortConfig{Claimed: hello.Node}), id)
	l := link.New(fc, link.Config{OnFrame: onFrame})
	l.Start()
	b.Cleanup(func() { _ = l.Close() })
	return l
}

// benchmarkForward moves frames from node to node through a relay, at most
// half a relay queue at a time.
func benchmarkForward(b *testing.B, size int) {
	s := New(Config{Self: self, Forwarding: new(Forwarding), Deliver: func(f *frame.Frame, _ *Port) { f.Release() }})
	defer s.Close()
	room := make(chan struct{}, min(1024, link.DefaultQueueBytes/2/(size+frame.HeaderLen)))
	x := tcpNode(b, s, alice, func(_ *link.Link, f *frame.Frame) { f.Release() })
	tcpNode(b, s, bob, func(_ *link.Link, f *frame.Frame) {
		f.Release()
		<-room
	})
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		room <- struct{}{}
		f := frame.New(size)
		f.SetSrc(alice)
		f.SetDst(bob)
		if err := x.Send(f); err != nil {
			b.Fatal(err)
		}
	}
	for range cap(room) {
		room <- struct{}{}
	}
}

func BenchmarkForward60KiB(b *testing.B) { benchmarkForward(b, 60<<10) }
func BenchmarkForward1200B(b *testing.B) { benchmarkForward(b, 1200) }
