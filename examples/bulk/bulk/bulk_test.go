package bulk

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlaytest"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1) // see overlaytest
	goleak.VerifyTestMain(m)
}

type ask struct {
	N    int    `json:"n,omitempty"`
	Text string `json:"text,omitempty"`
}

type told struct {
	N    int64  `json:"n"`
	Text string `json:"text,omitempty"`
}

var errDisk = errors.New("the disk is full")

// zeros is a body of n bytes that ends with an error.
func zeros(n int64, err error) io.Reader {
	return io.MultiReader(io.LimitReader(zero{}, n), iotest.ErrReader(err))
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// testServer has a handler for all that can happen.
func testServer(t testing.TB) *Server {
	return &Server{
		Log: func(err error) { t.Log(err) },
		Handlers: map[string]Handler{
			"count": Func(func(_ context.Context, _ ask, body io.Reader) (told, io.Reader, error) {
				n, err := io.Copy(io.Discard, body)
				return told{N: n}, nil, err
			}),
			"echo": Func(func(_ context.Context, q ask, body io.Reader) (told, io.Reader, error) {
				return told{N: int64(q.N), Text: q.Text}, body, nil
			}),
			"make": Func(func(_ context.Context, q ask, _ io.Reader) (told, io.Reader, error) {
				return told{}, zeros(int64(q.N), io.EOF), nil
			}),
			"breaks": Func(func(_ context.Context, q ask, _ io.Reader) (told, io.Reader, error) {
				return told{}, zeros(int64(q.N), errDisk), nil
			}),
			"fail": Func(func(context.Context, ask, io.Reader) (told, io.Reader, error) { return told{}, nil, errDisk }),
			"panic": Func(func(_ context.Context, q ask, _ io.Reader) (told, io.Reader, error) {
				if q.N == 0 {
					panic("at once")
				}
				return told{}, readFunc(func([]byte) (int, error) { panic("in the body") }), nil
			}),
			"wait": Func(func(ctx context.Context, _ ask, _ io.Reader) (told, io.Reader, error) {
				<-ctx.Done()
				return told{}, nil, ctx.Err()
			}),
			"long": Func(func(_ context.Context, q ask, _ io.Reader) (told, io.Reader, error) {
				return told{Text: strings.Repeat("x", q.N)}, nil, nil
			}),
		},
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// readWriteCloser is what the standard input and output of a process are: no deadlines,
// no addresses.
type readWriteCloser struct {
	io.Reader
	io.WriteCloser
}

// ways are the ways to call a server, each in a test of its own.
func ways(t *testing.T, test func(t *testing.T, via Caller)) {
	t.Run("in the process", func(t *testing.T) { test(t, Dialer(testServer(t).Dial)) })
	t.Run("net.Pipe, one conn", func(t *testing.T) {
		near, _ := testServer(t).Dial(t.Context())
		c := NewConn(near)
		defer c.Close()
		test(t, c)
	})
	t.Run("an io.ReadWriteCloser", func(t *testing.T) {
		r1, w1, err := os.Pipe()
		r2, w2, err2 := os.Pipe()
		if err = errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- testServer(t).ServeConn(t.Context(), readWriteCloser{r1, w2}) }()
		c := NewConn(readWriteCloser{r2, w1})
		test(t, c)
		_ = c.Close()
		_ = r2.Close()
		<-served
		_ = r1.Close()
	})
	t.Run("TCP", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- testServer(t).Serve(ctx, ln) }()
		test(t, Dialer(func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
		}))
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Run("weft", func(t *testing.T) {
		inLab(t, overlaytest.Impairment{Latency: 10 * time.Millisecond, Loss: 0.02, Reorder: 0.02}, func(t *testing.T, _ *overlaytest.Lab, via Dialer) { test(t, via) })
	})
}

// inLab runs a test in a simulated network with a server.
func inLab(t *testing.T, link overlaytest.Impairment, test func(t *testing.T, lab *overlaytest.Lab, via Dialer)) {
	synctest.Test(t, func(t *testing.T) {
		lab := overlaytest.New(t, overlaytest.Config{Seed: 1, Link: link})
		lab.Relay("relay")
		ln, err := lab.Node("server", overlay.Config{}).Listen(7000)
		if err != nil {
			t.Fatal(err)
		}
		node := lab.Node("client", overlay.Config{})
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- testServer(t).Serve(ctx, ln) }()
		test(t, lab, func(ctx context.Context) (net.Conn, error) { return node.Dial(ctx, "server:7000") })
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// do calls and reads the whole answer.
func do(ctx context.Context, via Caller, name string, q ask, body io.Reader) (told, []byte, error) {
	answer, r, err := Call[ask, told](ctx, via, name, q, body)
	if err != nil {
		return answer, nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return answer, b, err
}

func TestBodies(t *testing.T) {
	ways(t, func(t *testing.T, via Caller) {
		for _, n := range []int{0, 1, maxChunk - 1, maxChunk, maxChunk + 1, 2 * maxChunk, 4*maxChunk + 17} {
			sent := make([]byte, n)
			_, _ = rand.Read(sent)
			answer, got, err := do(t.Context(), via, "echo", ask{N: n, Text: "hello"}, bytes.NewReader(sent))
			if err != nil || !bytes.Equal(sent, got) || answer != (told{N: int64(n), Text: "hello"}) {
				t.Errorf("a body of %d bytes: %+v, %d bytes came, %v", n, answer, len(got), err)
			}
			answer, got, err = do(t.Context(), via, "count", ask{}, iotest.OneByteReader(bytes.NewReader(sent[:min(n, 100)])))
			if err != nil || len(got) > 0 || answer.N != int64(min(n, 100)) {
				t.Errorf("%+v, %v", answer, err)
			}
		}
		if answer, got, err := do(t.Context(), via, "count", ask{}, nil); err != nil || len(got) > 0 || answer.N != 0 {
			t.Errorf("without a body: %+v, %v", answer, err)
		}
	})
}

func TestErrors(t *testing.T) {
	ways(t, func(t *testing.T, via Caller) {
		for _, tt := range []struct {
			name string
			q    ask
			body io.Reader
			code Code
			text string
			own  error
			got  int
		}{
			{"nothing", ask{}, nil, Unknown, `there is no handler "nothing" here, only breaks, count, echo`, nil, 0},
			{"nothing", ask{}, zeros(3*maxChunk, io.EOF), Unknown, "there is no handler", nil, 0},
			{"nothing", ask{}, zeros(1<<50, io.EOF), Unknown, "there is no handler", nil, 0}, // it stops sending
			{"fail", ask{}, zeros(100, io.EOF), Failed, errDisk.Error(), nil, 0},
			{"panic", ask{}, zeros(100, io.EOF), Panicked, "the handler panicked", nil, 0},
			{"panic", ask{N: 1}, nil, Panicked, "the handler panicked", nil, 0},
			{"breaks", ask{N: 2*maxChunk + 1}, nil, Failed, errDisk.Error(), nil, 2*maxChunk + 1},
			{"breaks", ask{}, nil, Failed, errDisk.Error(), nil, 0},
			{"long", ask{N: MaxHeader}, nil, Failed, "the header has 65", nil, 0},
			{"count", ask{}, zeros(2*maxChunk+1, errDisk), "", "reading the body to send: the disk is full", errDisk, 0},
			{"echo", ask{}, zeros(2*maxChunk+1, errDisk), "", "reading the body to send: the disk is full", errDisk, 2*maxChunk + 1},
		} {
			_, got, err := do(t.Context(), via, tt.name, tt.q, tt.body)
			said, ok := errors.AsType[*Error](err)
			if ok != (tt.code != "") || ok && said.Code != tt.code || err == nil || !strings.Contains(err.Error(), tt.text) || tt.own != nil && !errors.Is(err, tt.own) {
				t.Errorf("%s: %v", tt.name, err)
			}
			if len(got) != tt.got {
				t.Errorf("%s: %d bytes of the answer, want %d", tt.name, len(got), tt.got)
			}
			// The next answer is that of the next call.
			if answer, _, err := do(t.Context(), via, "echo", ask{N: 42}, nil); err != nil || answer.N != 42 {
				t.Fatalf("after %s: %+v, %v", tt.name, answer, err)
			}
		}
		if _, _, err := Call[[]int, told](t.Context(), via, "echo", []int{1}, nil); !strings.Contains(fmt.Sprint(err), "(invalid)") {
			t.Error(err)
		}
		if _, _, err := Call[ask, []int](t.Context(), via, "echo", ask{}, nil); !strings.Contains(fmt.Sprint(err), "cannot unmarshal") {
			t.Error(err)
		}
	})
}

// textFor returns a text with which the header of a call has n bytes.
func textFor(t *testing.T, n int) string {
	frame, err := encode("", kindHeader, request{Name: "echo", Value: json.RawMessage(`{"text":""}`)})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Repeat("x", n-(len(frame)-headLen))
}

func TestHeadersOfEveryLength(t *testing.T) {
	server := testServer(t)
	near, _ := server.Dial(t.Context())
	sent := &counting{ReadWriteCloser: near}
	c := NewConn(sent)
	defer c.Close()
	for n := 500; n <= MaxHeader; n++ {
		if n == 1600 {
			n = MaxHeader - 20
		}
		text := textFor(t, n)
		answer, got, err := do(t.Context(), c, "echo", ask{Text: text}, nil)
		switch {
		case err == nil && answer.Text == text && len(got) == 0:
		case n > MaxHeader-20 && strings.Contains(fmt.Sprint(err), "the header has"): // the answer's is longer than the call's
		default:
			t.Fatalf("a header of %d bytes: %v", n, err)
		}
	}
	before := sent.n
	_, _, err := do(t.Context(), c, "echo", ask{Text: textFor(t, MaxHeader+1)}, nil)
	if err == nil || !strings.Contains(err.Error(), "the header has 65537 bytes and may have 65536: send what is long as a body") {
		t.Error(err)
	}
	if sent.n != before {
		t.Errorf("%d bytes of it were sent", sent.n-before)
	}
	if answer, _, err := do(t.Context(), c, "echo", ask{N: 1}, nil); err != nil || answer.N != 1 {
		t.Error(err)
	}
}

type counting struct {
	io.ReadWriteCloser
	n int
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(p)
	c.n += n
	return n, err
}

func TestManyCallersAtOnce(t *testing.T) {
	ways(t, func(t *testing.T, via Caller) {
		var callers sync.WaitGroup
		for i := range 20 {
			callers.Go(func() {
				sent := bytes.Repeat([]byte{byte(i)}, 50_000+i)
				answer, got, err := do(t.Context(), via, "echo", ask{N: i}, bytes.NewReader(sent))
				if err != nil || answer.N != int64(i) || !bytes.Equal(sent, got) {
					t.Errorf("caller %d: %+v, %d bytes, %v", i, answer, len(got), err)
				}
			})
		}
		callers.Wait()
	})
}

// A call of a few bytes takes a few kilobytes, not buffers for the largest.
func TestSmallCallsAreSmall(t *testing.T) {
	near, _ := testServer(t).Dial(t.Context())
	c := NewConn(near)
	defer c.Close()
	const calls = 200
	var before, after runtime.MemStats
	for i := range 2 * calls {
		if i == calls {
			runtime.ReadMemStats(&before)
		}
		if _, _, err := do(t.Context(), c, "count", ask{N: i}, nil); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	each := (after.TotalAlloc - before.TotalAlloc) / calls
	t.Logf("%d bytes and %d allocations a call", each, (after.Mallocs-before.Mallocs)/calls)
	if each > 16<<10 {
		t.Errorf("a small call allocates %d bytes", each)
	}
}

// Counters are of 64 bits.
func TestBeyondFourGigabytes(t *testing.T) {
	if os.Getenv("WEFT_BIG") == "" {
		t.Skip("WEFT_BIG=1 sends five gigabytes")
	}
	answer, _, err := do(t.Context(), Dialer(testServer(t).Dial), "count", ask{}, zeros(5<<30, io.EOF))
	if err != nil || answer.N != 5<<30 {
		t.Errorf("%+v, %v", answer, err)
	}
}
