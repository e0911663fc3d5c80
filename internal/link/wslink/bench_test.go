package wslink

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftnet/weft/internal/link"
)

// BenchmarkFrames sends frames in batches as a link does, over WebSockets and,
// to compare, over TCP.
func BenchmarkFrames(b *testing.B) {
	for _, size := range []int{1200, 61440} {
		for _, way := range []string{"tcp", "ws up", "ws down"} {
			b.Run(way+"/"+map[int]string{1200: "1200", 61440: "60K"}[size], func(b *testing.B) { benchmarkFrames(b, way, size) })
		}
	}
}

func benchmarkFrames(b *testing.B, way string, size int) {
	accepted := make(chan link.FrameConn, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r)
		if err != nil {
			b.Error(err)
			return
		}
		accepted <- c
	}))
	defer s.Close()
	raw, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	var from, to link.FrameConn
	if way == "tcp" {
		_ = raw.Close()
		from, to = tcpPair(b)
	} else {
		a, _ := link.ParseAddr("ws://" + s.Listener.Addr().String())
		if from, err = Client(b.Context(), raw, a); err != nil {
			b.Fatal(err)
		}
		to = <-accepted
	}
	defer from.Close()
	defer to.Close()
	if way == "ws down" {
		from, to = to, from
	}
	batch := frames(repeat(size, max(1, 256<<10/size))...)
	b.SetBytes(int64(size * len(batch)))
	b.ReportAllocs()
	go func() {
		for range b.N {
			_ = from.WriteFrames(batch)
		}
	}()
	for range b.N * len(batch) {
		f, err := to.ReadFrame()
		if err != nil {
			b.Fatal(err)
		}
		f.Release()
	}
}

func tcpPair(b *testing.B) (from, to link.FrameConn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	dialled, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return link.NewStreamConn(dialled), link.NewStreamConn(conn)
}
