package wslink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/link"
)

// serve serves handler on loopback and returns its address as a link's.
func serve(t *testing.T, handler http.HandlerFunc) link.Addr {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	a, err := link.ParseAddr("ws://" + strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// dial asks for a WebSocket at a.
func dial(ctx context.Context, a link.Addr) (*Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", a.HostPort())
	if err != nil {
		return nil, err
	}
	return Client(ctx, raw, a)
}

// pair returns both ends of a WebSocket.
func pair(t *testing.T) (client, server *Conn) {
	t.Helper()
	accepted := make(chan *Conn, 1)
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r)
		if err != nil {
			t.Errorf("Accept: %v", err)
		}
		accepted <- c
	})
	client, err := dial(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

// frames makes frames with packets of the given lengths.
func frames(sizes ...int) (fs []*frame.Frame) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range sizes {
		f := frame.New(n)
		f.SetDst(1)
		f.SetSrc(2)
		for i := range f.Packet() {
			f.Packet()[i] = byte(rnd.Uint32())
		}
		fs = append(fs, f)
	}
	return fs
}

// read reads n frames as bytes.
func read(c link.FrameConn, n int) ([]byte, error) {
	var b []byte
	for range n {
		f, err := c.ReadFrame()
		if err != nil {
			return b, err
		}
		b = append(b, f.Bytes()...)
		f.Release()
	}
	return b, nil
}

// content is the bytes of all frames, which it releases.
func content(fs []*frame.Frame) (b []byte) {
	for _, f := range fs {
		b = append(b, f.Bytes()...)
		f.Release()
	}
	return b
}

func repeat(size, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = size
	}
	return s
}

func TestFramesOfAllSizesGetThrough(t *testing.T) {
	client, server := pair(t)
	for _, sizes := range [][]int{
		{0}, {1}, {1200}, {65535}, {0, 1, 100, 65535, 3, 16364, 16365, 20000, 65535, 0},
		repeat(1200, 200), repeat(65535, 5), {16 << 10, 10, 16 << 10, 10},
	} {
		for name, dir := range map[string][2]*Conn{"to the server": {client, server}, "to the client": {server, client}} {
			fs := frames(sizes...)
			written := make(chan error, 1)
			go func() { written <- dir[0].WriteFrames(fs) }()
			got, err := read(dir[1], len(fs))
			if err := errors.Join(err, <-written); err != nil {
				t.Fatalf("%s, %d frames: %v", name, len(fs), err)
			}
			if !bytes.Equal(got, content(fs)) {
				t.Errorf("%s, %d frames: they arrived changed", name, len(fs))
			}
		}
	}
	if client.MaxPacket() != frame.MaxPacket || client.RemoteAddr().String() != server.LocalAddr().String() {
		t.Errorf("packets of %d bytes, between %v and %v", client.MaxPacket(), client.RemoteAddr(), server.LocalAddr())
	}
}

// Each message holds whole frames, as many small ones as fit.
func TestMessagesHoldWholeFrames(t *testing.T) {
	messages := make(chan []byte, 100)
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(messages)
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		ws.SetReadLimit(maxMessage)
		for {
			_, b, err := ws.Read(t.Context())
			if err != nil {
				return
			}
			messages <- b
		}
	})
	client, err := dial(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	fs := frames(append(repeat(1000, 100), 65535, 10, 20)...)
	if err := client.WriteFrames(fs); err != nil {
		t.Fatal(err)
	}
	_ = client.CloseWrite()
	var got []byte
	n := 0
	for m := range messages {
		n++
		got = append(got, m...)
		for len(m) > 0 {
			size, err := frame.ParseHeader(m)
			if err != nil || frame.HeaderLen+size > len(m) {
				t.Fatalf("message %d ends inside a frame: %v", n, err)
			}
			m = m[frame.HeaderLen+size:]
		}
	}
	if n != 4 { // two of small frames, a large one, the rest
		t.Errorf("%d frames made %d messages", len(fs), n)
	}
	if !bytes.Equal(got, content(fs)) {
		t.Error("the frames arrived changed")
	}
}

func TestHalfCloseIsTheEndOfTheFrames(t *testing.T) {
	client, server := pair(t)
	for name, dir := range map[string][2]*Conn{"server": {client, server}} {
		fs := frames(10, 70)
		if err := dir[0].WriteFrames(fs); err != nil {
			t.Fatal(err)
		}
		content(fs)
		_ = dir[0].CloseWrite()
		if _, err := read(dir[1], 2); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := dir[1].ReadFrame(); err != io.EOF {
			t.Errorf("%s: the end is %v", name, err)
		}
		_ = dir[1].Close()
		if _, err := dir[0].ReadFrame(); err == nil {
			t.Errorf("%s: a frame after the end", name)
		}
	}
}

func TestCloseEndsCallsThatWait(t *testing.T) {
	client, server := pair(t)
	for name, c := range map[string]*Conn{"client": client, "server": server} {
		ended := make(chan error, 2)
		go func() {
			_, err := c.ReadFrame()
			ended <- err
		}()
		go func() {
			fs := frames(repeat(65535, 4)...)
			defer content(fs)
			for {
				if err := c.WriteFrames(fs); err != nil {
					ended <- err
					return
				}
			}
		}()
		_ = c.CloseWrite() // whose close frame waits behind what is written
		_ = c.Close()
		for range 2 {
			if err := <-ended; err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}
}

func TestWhatIsNoFrameEndsTheConn(t *testing.T) {
	for name, write := range map[string]func(*websocket.Conn) error{
		"text": func(ws *websocket.Conn) error {
			return ws.Write(t.Context(), websocket.MessageText, []byte("hello"))
		},
		"too long a message": func(ws *websocket.Conn) error {
			for range 2 { // the first is read, and ends in a frame that is not there
				f := frames(65535)
				b := bytes.Repeat(content(f), 17)
				if err := ws.Write(t.Context(), websocket.MessageBinary, b); err != nil {
					return err
				}
			}
			return nil
		},
		"half a frame": func(ws *websocket.Conn) error {
			return errors.Join(
				ws.Write(t.Context(), websocket.MessageBinary, content(frames(100))[:50]),
				ws.Close(websocket.StatusNormalClosure, ""))
		},
		"an error": func(ws *websocket.Conn) error { return ws.Close(websocket.StatusInternalError, "no") },
	} {
		client, server := pair(t)
		go func() { _ = write(client.bytes.ws) }()
		var err error
		for err == nil {
			_, err = read(server, 1)
		}
		if err == io.EOF {
			t.Errorf("%s: the conn ended like a good one", name)
		}
		_ = server.Close()
		_ = client.Close()
	}
}

func TestLinksRunOnWebSockets(t *testing.T) {
	client, server := pair(t)
	hello := link.Hello{Network: link.NetworkTag{1}, Node: 7}
	heard := make(chan link.Hello, 1)
	go func() {
		h, err := link.Server(t.Context(), server, 8, func(link.Hello) link.Status { return link.StatusOK })
		if err != nil {
			t.Errorf("Server: %v", err)
		}
		heard <- h
	}()
	fc, err := link.Client(client, hello)
	if err != nil {
		t.Fatal(err)
	}
	if h := <-heard; h != hello {
		t.Errorf("heard %+v", h)
	}
	const n = 500
	var got []string
	a := link.New(fc, link.Config{OnFrame: func(_ *link.Link, f *frame.Frame) { f.Release() }})
	b := link.New(server, link.Config{OnFrame: func(_ *link.Link, f *frame.Frame) {
		got = append(got, string(f.Packet()))
		f.Release()
	}})
	a.Start()
	b.Start()
	for i := range n {
		f := frame.New(3)
		f.SetDst(8)
		f.SetSrc(7)
		copy(f.Packet(), fmt.Sprintf("%03d", i))
		if err := a.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Drain(t.Context()); err != nil {
		t.Errorf("Drain: %v", err)
	}
	<-b.Done()
	if len(got) != n || got[n-1] != fmt.Sprintf("%03d", n-1) || !link.HungUp(b.Err()) {
		t.Errorf("%d frames, then %v", len(got), b.Err())
	}
}

func TestARefusedDiallerLearnsWhy(t *testing.T) {
	client, server := pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = link.Server(t.Context(), server, 8, func(link.Hello) link.Status { return link.StatusBusy })
	}()
	fc, err := link.Client(client, link.Hello{Node: 7})
	if err != nil {
		t.Fatal(err)
	}
	_, err = fc.ReadFrame()
	if refused, ok := errors.AsType[*link.RefusedError](err); !ok || refused.Status != link.StatusBusy {
		t.Errorf("error is %v", err)
	}
	_ = fc.Close()
	<-done
}
