package bulk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

// slow is a link on which time passes while a body is sent that does not end.
var slow = overlaytest.Impairment{Latency: 10 * time.Millisecond, Bandwidth: 10 << 20}

var errEnough = errors.New("that is enough")

// cancelled is a context that its test ends.
func cancelled(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(t.Context())
	return ctx, func() { cancel(errEnough) }
}

func TestCancelInTheMiddle(t *testing.T) {
	inLab(t, slow, func(t *testing.T, _ *overlaytest.Lab, via Dialer) {
		for _, tt := range []struct {
			name string
			body io.Reader
		}{{"wait", nil}, {"wait", zeros(100, io.EOF)}, {"count", zeros(1<<50, io.EOF)}} {
			ctx, cancel := cancelled(t)
			time.AfterFunc(100*time.Millisecond, cancel)
			began := time.Now()
			if _, _, err := do(ctx, via, tt.name, ask{}, tt.body); !errors.Is(err, errEnough) || time.Since(began) != 100*time.Millisecond {
				t.Errorf("%s: %v after %v", tt.name, err, time.Since(began))
			}
		}
		ctx, cancel := cancelled(t)
		_, body, err := Call[ask, told](ctx, via, "make", ask{N: 1 << 40}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.CopyN(io.Discard, body, 3*maxChunk); err != nil {
			t.Error(n, err)
		}
		cancel()
		synctest.Wait()
		if n, err := io.Copy(io.Discard, body); !errors.Is(err, errEnough) {
			t.Error(n, err)
		}
		_ = body.Close()
	})
}

// The handler learns that its caller is gone, whatever it waits for.
func TestHandlersLearnOfTheEnd(t *testing.T) {
	for name, end := range map[string]func(*overlaytest.Lab, context.CancelFunc){
		"cancel":    func(_ *overlaytest.Lab, cancel context.CancelFunc) { cancel() },
		"lost peer": func(lab *overlaytest.Lab, _ context.CancelFunc) { lab.Cut("client") },
		"killed":    func(lab *overlaytest.Lab, _ context.CancelFunc) { lab.Kill("client") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := overlaytest.New(t, overlaytest.Config{Link: slow})
				lab.Relay("relay")
				ln, err := lab.Node("server", overlay.Config{}).Listen(7000)
				if err != nil {
					t.Fatal(err)
				}
				learned := make(chan error, 3)
				s := &Server{Handlers: map[string]Handler{
					"idle": Func(func(ctx context.Context, _ ask, _ io.Reader) (told, io.Reader, error) {
						<-ctx.Done()
						learned <- context.Cause(ctx)
						return told{}, nil, ctx.Err()
					}),
					"reads": Func(func(_ context.Context, _ ask, body io.Reader) (told, io.Reader, error) {
						_, err := io.Copy(io.Discard, body)
						learned <- err
						return told{}, nil, err
					}),
					"sends": Func(func(context.Context, ask, io.Reader) (told, io.Reader, error) {
						return told{}, &closing{Reader: zero{}, closed: learned}, nil
					}),
				}}
				ctx, stop := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- s.Serve(ctx, ln) }()
				node := lab.Node("client", overlay.Config{})
				via := Dialer(func(ctx context.Context) (net.Conn, error) { return node.Dial(ctx, "server:7000") })
				calls, cancel := cancelled(t)
				failed := make(chan error, 3)
				never, end2 := io.Pipe()
				for call, body := range map[string]io.Reader{"idle": nil, "reads": never, "sends": nil} {
					go func() {
						_, r, err := Call[ask, told](calls, via, call, ask{}, body)
						if err == nil {
							_, err = io.Copy(io.Discard, r)
						}
						failed <- err
					}()
				}
				time.Sleep(time.Second)
				end(lab, cancel)
				for range 3 {
					if err := <-learned; err == nil {
						t.Error("nil")
					}
					if err := <-failed; err == nil {
						t.Error("nil")
					}
				}
				_ = end2.Close()
				cancel()
				stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// closing says when it was closed.
type closing struct {
	io.Reader
	closed chan<- error
}

func (c *closing) Close() error {
	c.closed <- net.ErrClosed
	return nil
}

func TestDeadlines(t *testing.T) {
	inLab(t, slow, func(t *testing.T, _ *overlaytest.Lab, via Dialer) {
		for _, name := range []string{"wait", "make"} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			began := time.Now()
			if _, _, err := do(ctx, via, name, ask{N: 1 << 50}, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(began))
			}
			cancel()
		}
	})
	synctest.Test(t, func(t *testing.T) { // the server keeps it, too
		near, _ := testServer(t).Dial(t.Context())
		defer near.Close()
		header, _ := encode(preface, kindHeader, request{Name: "wait", Timeout: 1000})
		_, _ = near.Write(header)
		w := newWire(near)
		began := time.Now()
		var p response
		if err := w.header(&p); err != nil || p.Error == nil || p.Error.Code != TimedOut || time.Since(began) != time.Second {
			t.Errorf("%+v, %v after %v", p.Error, err, time.Since(began))
		}
	})
}

// A Conn is broken by who leaves in the middle, and says so; who only waits for his turn
// breaks nothing.
func TestBrokenConn(t *testing.T) {
	near, _ := testServer(t).Dial(t.Context())
	c := NewConn(near)
	defer c.Close()
	_, body, err := Call[ask, told](t.Context(), c, "make", ask{N: 1 << 30}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := cancelled(t)
	cancel()
	if _, _, err := do(ctx, c, "echo", ask{}, nil); !errors.Is(err, errEnough) || !strings.Contains(err.Error(), "waiting for another call") {
		t.Error(err)
	}
	if _, err := io.CopyN(io.Discard, body, 100); err != nil {
		t.Error(err)
	}
	_ = body.Close()
	if _, err := body.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, _, err := do(t.Context(), c, "echo", ask{}, nil); !strings.Contains(fmt.Sprint(err), "an earlier call broke the conn, make a new one") {
		t.Error(err)
	}
}

// A body that waits for something keeps nobody from learning that the conn is broken.
func TestBrokenConnWithABodyThatWaits(t *testing.T) {
	near, _ := testServer(t).Dial(t.Context())
	c := NewConn(near)
	begun, more := make(chan struct{}), make(chan struct{})
	ctx, cancel := cancelled(t)
	failed := make(chan error, 1)
	go func() {
		_, _, err := do(ctx, c, "count", ask{}, readFunc(func([]byte) (int, error) { close(begun); <-more; return 0, io.EOF }))
		failed <- err
	}()
	<-begun
	waiting := make(chan error, 1)
	go func() {
		_, _, err := do(t.Context(), c, "echo", ask{}, nil)
		waiting <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, errEnough) {
		t.Error(err)
	}
	if err := <-waiting; !strings.Contains(fmt.Sprint(err), "an earlier call broke the conn") {
		t.Error(err)
	}
	if _, _, err := do(t.Context(), c, "echo", ask{}, nil); !strings.Contains(fmt.Sprint(err), "an earlier call broke the conn") {
		t.Error(err)
	}
	close(more)
}

// A body that never comes to an end by itself is closed when the answer is there.
func TestTheAnswerIsThereFirst(t *testing.T) {
	ways(t, func(t *testing.T, via Caller) {
		body, more := io.Pipe()
		if _, _, err := do(t.Context(), via, "fail", ask{}, body); err == nil {
			t.Error("no error")
		}
		if _, err := more.Write([]byte("more")); !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
		if answer, _, err := do(t.Context(), via, "echo", ask{N: 1}, nil); err != nil || answer.N != 1 {
			t.Error(err)
		}
	})
}

// flipping flips a bit of the byte at a place of what is written.
type flipping struct {
	io.ReadWriteCloser
	at int
}

func (f *flipping) Write(p []byte) (int, error) {
	if f.at >= 0 && f.at < len(p) {
		p = bytes.Clone(p)
		p[f.at] ^= 4
	}
	f.at -= len(p)
	return f.ReadWriteCloser.Write(p)
}

func TestDamageIsFound(t *testing.T) {
	near, _ := testServer(t).Dial(t.Context())
	c := NewConn(&flipping{near, 1000})
	defer c.Close()
	_, got, err := do(t.Context(), c, "count", ask{}, zeros(5000, io.EOF))
	if err == nil || !strings.Contains(err.Error(), "5000 bytes with the checksum") || len(got) > 0 {
		t.Error(err)
	}
}

// What is no answer is an error of the caller, and never one body more or less.
func TestBadAnswers(t *testing.T) {
	frame := func(kind byte, n int, text string) string {
		b := make([]byte, headLen)
		putHead(b, kind, n)
		return string(b) + text
	}
	answer := frame('H', 13, `{"body":true}`)
	chunk := frame('D', 5, "hello")
	for _, tt := range []struct{ name, said, want string }{
		{"nothing", "", "unexpected EOF"},
		{"another protocol", "HTTP/1.1 400 Bad Request\r\n", "unknown kind 0x48"},
		{"a trailer for a header", frame('T', 2, "{}"), "a frame T came where a header belongs"},
		{"data for a header", chunk, "a frame D came where a header belongs"},
		{"a long header", frame('H', MaxHeader+1, ""), "a frame H of 65537 bytes"},
		{"half a header", frame('H', 100, "{"), "unexpected EOF"},
		{"no JSON", frame('H', 5, "hello"), "invalid character"},
		{"no trailer", answer + chunk, "unexpected EOF"},
		{"half a chunk", answer + frame('D', 6, "hello"), "unexpected EOF"},
		{"an empty chunk", answer + frame('D', 0, ""), "a frame D of 0 bytes"},
		{"a long chunk", answer + frame('D', maxChunk+1, ""), "a frame D of 262145 bytes"},
		{"a header for a trailer", answer + chunk + answer, "a header came in the middle of a body"},
		{"a byte less", answer + chunk + frame('T', 11, `{"bytes":6}`), "5 bytes with the checksum 9a71bb4c came"},
		{"RST of another protocol", answer + frame(0xff, 0, ""), "unknown kind 0xff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near, far := net.Pipe()
			heard := make(chan struct{})
			go func() {
				defer close(heard)
				in := bufio.NewReader(far)
				_, _ = in.ReadString('\n')
				w := &wire{rw: far, in: in}
				var q request
				_ = w.header(&q)
				said := tt.said
				if strings.HasPrefix(said, "HTTP") {
					said = "H" + said[1:]
				}
				_, _ = io.WriteString(far, said)
				_ = far.Close()
			}()
			c := NewConn(near)
			_, _, err := do(t.Context(), c, "echo", ask{}, nil)
			if tt.name == "another protocol" {
				if err == nil || !strings.Contains(err.Error(), "which is not allowed") {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Error(err)
			}
			if _, _, err := do(t.Context(), c, "echo", ask{}, nil); !strings.Contains(fmt.Sprint(err), "an earlier call broke") {
				t.Error(err)
			}
			<-heard
		})
	}
}

func TestBadCallers(t *testing.T) {
	header, _ := encode(preface, kindHeader, request{Name: "count", Body: true})
	for said, want := range map[string]string{
		"":                              "",
		preface:                         "",
		"GET / HTTP/1.1\r\n\r\n":        `the caller began with "GET / HTTP/1"`,
		"weft":                          `the caller began with "weft"`,
		preface + "T\x00\x00\x00\x02{}": "a frame T came where a header belongs",
		string(header):                  "count: ", // the header, and then it is gone
		preface + "H\x00\x00":           "unexpected EOF",
	} {
		near, far := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- testServer(t).ServeConn(t.Context(), far) }()
		go func() { _, _ = io.Copy(io.Discard, near) }()
		_, _ = io.WriteString(near, said)
		_ = near.Close()
		if err := <-served; err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.20q: %v", said, err)
		}
	}
}

// A caller that stops in the middle of a header keeps a conn for half a minute.
func TestSlowCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, said := range []string{"weft", preface + "H\x00"} {
			near, far := net.Pipe()
			served := make(chan error, 1)
			go func() { served <- testServer(t).ServeConn(t.Context(), far) }()
			_, _ = io.WriteString(near, said)
			began := time.Now()
			if err := <-served; err == nil || time.Since(began) != headerTime {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			_ = near.Close()
		}
	})
}

func FuzzServer(f *testing.F) {
	for _, q := range []request{{Name: "echo", Body: true}, {Name: "count", Timeout: 1}, {Name: "nothing", Value: []byte(`{}`)}} {
		header, _ := encode(preface, kindHeader, q)
		f.Add(append(header, "D\x00\x00\x00\x05helloT\x00\x00\x00\x2a{\"bytes\":5,\"crc32c\":2591144780}"...))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		s := testServer(t)
		for _, name := range []string{"make", "breaks", "long", "wait"} { // may take as long as they are asked for
			delete(s.Handlers, name)
		}
		rw := &readOnly{bytes.NewReader(said)}
		_ = s.ServeConn(t.Context(), rw)
	})
}

type readOnly struct{ io.Reader }

func (*readOnly) Write(p []byte) (int, error) { return len(p), nil }
func (*readOnly) Close() error                { return nil }

// A caller that goes on sending what nobody wants, although it was answered, loses its
// conn.
func TestWhatNobodyReadsHasAnEnd(t *testing.T) {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- testServer(t).ServeConn(t.Context(), far) }()
	header, _ := encode(preface, kindHeader, request{Name: "nothing", Body: true})
	go func() { _, _ = io.Copy(io.Discard, near) }()
	frame := make([]byte, headLen+maxChunk)
	putHead(frame, kindData, maxChunk)
	_, err := near.Write(header)
	sent := 0
	for ; err == nil; sent += maxChunk {
		_, err = near.Write(frame)
	}
	if sent < maxDrain || sent > maxDrain+2*maxChunk {
		t.Errorf("%d bytes were taken", sent)
	}
	if err := <-served; err == nil || !strings.Contains(err.Error(), "nothing: the caller sent 67108864 bytes and more that nobody reads") {
		t.Error(err)
	}
	_ = near.Close()
}

// More conns than MaxConns wait for others to end.
func TestMaxConns(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := testServer(t)
	s.MaxConns = 2
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	via := Dialer(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	})
	var bodies []io.Closer
	for range 2 {
		_, body, err := Call[ask, told](t.Context(), via, "make", ask{N: 1 << 40}, nil)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	third := make(chan error, 1)
	go func() {
		_, _, err := do(t.Context(), via, "echo", ask{}, nil)
		third <- err
	}()
	_ = bodies[0].Close()
	if err := <-third; err != nil {
		t.Error(err)
	}
	stop() // ends the call that goes on
	if n, err := io.Copy(io.Discard, bodies[1].(io.Reader)); err == nil {
		t.Errorf("%d bytes came", n)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
