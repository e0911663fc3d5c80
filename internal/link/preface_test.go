package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/frame"
)

var testHello = Hello{Network: NetworkTag{1, 2, 3, 4, 5, 6, 7, 8}, Node: 0x1112131415161718}

func accept(Hello) Status { return StatusOK }

func TestPrefaceBytesAreAsDocumented(t *testing.T) {
	hello := []byte("WEFT\x01\x00\x01\x02\x03\x04\x05\x06\x07\x08\x11\x12\x13\x14\x15\x16\x17\x18")
	if got := testHello.encode(); !bytes.Equal(got, hello) {
		t.Errorf("dialler's preface is % x, want % x", got, hello)
	}
	if got := testHello.FromRelay().encode(); got[5] != 1 || !MeshPrefix(got[:PrefixLen]) || MeshPrefix(hello) || !testHello.FromRelay().Mesh() {
		t.Errorf("a relay's preface is % x", got)
	}
	answer := []byte("WEFT\x01\x03\x00\x00\x00\x00\x00\x00\x00\x2a")
	if got := encodeAnswer(StatusBusy, 42); !bytes.Equal(got, answer) {
		t.Errorf("answer is % x, want % x", got, answer)
	}
}

func TestDiallerSendsFramesBeforeTheAnswer(t *testing.T) { synctest.Test(t, testEarlyFrames) }
func testEarlyFrames(t *testing.T) {
	ca, cb := memPipe(1000)
	fc, err := Client(NewStreamConn(ca), testHello)
	if err != nil {
		t.Fatal(err)
	}
	early := newFrame("early", 0)
	defer early.Release()
	if err := fc.WriteFrames([]*frame.Frame{early}); err != nil {
		t.Fatal(err)
	}
	sc := NewStreamConn(cb)
	h, err := Server(t.Context(), sc, 42, accept)
	if err != nil || h != testHello {
		t.Fatalf("the acceptor read %+v, %v; want %+v", h, err, testHello)
	}
	f, err := sc.ReadFrame()
	if err != nil || string(f.Packet()) != "early" {
		t.Fatalf("the acceptor read %v, %v", f, err)
	}
	_ = sc.WriteFrames([]*frame.Frame{f})
	f.Release()
	g, err := fc.ReadFrame()
	if err != nil || string(g.Packet()) != "early" {
		t.Fatalf("the dialler read %v, %v", g, err)
	}
	g.Release()
}

func TestRefusedDiallerLearnsWhy(t *testing.T) {
	for _, status := range []Status{StatusVersion, StatusNetwork, StatusBusy, StatusShuttingDown, 99} {
		synctest.Test(t, func(t *testing.T) {
			ca, cb := memPipe(100)
			fc, err := Client(NewStreamConn(ca), testHello)
			if err != nil {
				t.Fatal(err)
			}
			l := New(fc, Config{OnFrame: newInbox().onFrame})
			l.Start()
			defer l.Close()
			_ = l.Send(newFrame("frame that nobody wants", 5000))
			_, err = Server(t.Context(), NewStreamConn(cb), 42, func(Hello) Status { return status })
			if err == nil {
				t.Error("the acceptor reports no error")
			}
			<-l.Done()
			refused, ok := errors.AsType[*RefusedError](l.Err())
			if !ok || refused.Status != status {
				t.Errorf("status %d: the link ended with %v", status, l.Err())
			}
		})
	}
}

func TestOtherVersionIsRefused(t *testing.T) { synctest.Test(t, testOtherVersion) }
func testOtherVersion(t *testing.T) {
	ca, cb := memPipe(100)
	b := testHello.encode()[:PrefixLen]
	b[4] = 2
	_, _ = ca.Write(b) // and then something that this release cannot know
	ca.CloseWrite()
	if _, err := Server(t.Context(), NewStreamConn(cb), 42, accept); err == nil {
		t.Error("the acceptor reports no error")
	}
	answer, _ := io.ReadAll(ca)
	if _, err := readAnswer(NewStreamConn(readConn{Reader: bytes.NewReader(answer)})); err == nil ||
		!strings.Contains(err.Error(), "version") {
		t.Errorf("the dialler learns %v", err)
	}
}

func TestStrangersAreNotAnswered(t *testing.T) { synctest.Test(t, testStrangers) }
func testStrangers(t *testing.T) {
	ca, cb := memPipe(100)
	_, _ = ca.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	if _, err := Server(t.Context(), NewStreamConn(cb), 42, accept); !errors.Is(err, ErrNotWeft) {
		t.Errorf("error is %v, want ErrNotWeft", err)
	}
	if b, err := io.ReadAll(ca); len(b) != 0 || err != nil {
		t.Errorf("the stranger read %q, %v", b, err)
	}
	c := NewStreamConn(readConn{Reader: strings.NewReader("HTTP/1.1 400 Bad Request\r\n")})
	if _, err := readAnswer(c); !errors.Is(err, ErrNotWeft) {
		t.Errorf("the dialler says %v, want ErrNotWeft", err)
	}
}

func TestSilentDiallerIsNotWaitedForForEver(t *testing.T) { synctest.Test(t, testSilentDialler) }
func testSilentDialler(t *testing.T) {
	ca, cb := memPipe(100)
	_, _ = ca.Write([]byte("WEFT"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := Server(ctx, NewStreamConn(cb), 42, accept); err == nil {
		t.Error("no error")
	}
	if _, err := ca.Write([]byte("more")); err == nil {
		t.Error("the conn is still open")
	}
}

func FuzzPreface(f *testing.F) {
	f.Add(testHello.encode())
	f.Add(encodeAnswer(StatusOK, 42))
	f.Add([]byte("WEFT"))
	f.Fuzz(func(t *testing.T, b []byte) {
		conn := func() *StreamConn { return NewStreamConn(readConn{Reader: bytes.NewReader(b)}) }
		if h, status, err := readHello(conn()); err == nil && status == StatusOK {
			if got := h.encode(); !bytes.HasPrefix(b, got) {
				t.Fatalf("% x became % x", b, got)
			}
		}
		if id, err := readAnswer(conn()); err == nil {
			if got := encodeAnswer(StatusOK, id); !bytes.HasPrefix(b, got) {
				t.Fatalf("% x became % x", b, got)
			}
		}
	})
}
