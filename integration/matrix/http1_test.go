package matrix

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

var http1Cells = []cell{
	{name: "keep-alive", run: testKeepAlive},
	{name: "chunked-upload", run: testChunkedUpload},
	{name: "100-continue", run: testContinue},
	{name: "server-sent-events", run: testEvents},
	{name: "hijack", run: testHijack},
	{name: "websocket", run: testWebSocket},
	{name: "shutdown", run: testShutdown},
}

// A web is a server on one node and a client on the other.
type web struct {
	*lab
	on     *node // that serves
	server *http.Server
	client *http.Client
	served chan error // what Serve returned
}

// newWeb serves a handler on a node. No protocols means HTTP/1.1.
func newWeb(l *lab, on, from *node, h http.Handler, p *http.Protocols) *web {
	l.Helper()
	ln := l.listen(on, 80, listener.ListenConfig{})
	transport := &http.Transport{DialContext: from.DialContext, Protocols: p, ExpectContinueTimeout: time.Hour}
	w := &web{
		lab: l, on: on,
		server: &http.Server{Handler: h, Protocols: p, ReadHeaderTimeout: time.Hour},
		client: &http.Client{Transport: transport},
		served: make(chan error, 1),
	}
	go func() {
		w.served <- w.server.Serve(ln)
		close(w.served)
	}()
	l.Cleanup(func() {
		transport.CloseIdleConnections()
		w.server.Close()
		for range w.served {
		}
	})
	return w
}

// http1 serves a handler on B by HTTP/1.1.
func http1(l *lab, h http.HandlerFunc) *web { return newWeb(l, l.b, l.a, h, nil) }

// request makes a request to the server.
func (w *web) request(ctx context.Context, method, path string, body io.Reader) *http.Request {
	w.Helper()
	req, err := http.NewRequestWithContext(ctx, method, w.on.url(path), body)
	w.must(err)
	return req
}

// do sends a request and wants the status 200.
func (w *web) do(req *http.Request) *http.Response {
	w.Helper()
	resp, err := w.client.Do(req)
	w.must(err)
	w.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		w.Fatalf("status %s", resp.Status)
	}
	return resp
}

// get returns the whole answer to a GET.
func (w *web) get(path string) string {
	w.Helper()
	resp := w.do(w.request(w.ctx, http.MethodGet, path, nil))
	got, err := io.ReadAll(resp.Body)
	w.must(err)
	return string(got)
}

// wantConns checks how many conns the server has accepted.
func (w *web) wantConns(n uint64) {
	w.Helper()
	if got := w.on.table.Stats().Accepted; got != n {
		w.Errorf("the server accepted %d conns, want %d", got, n)
	}
}

func testKeepAlive(l *lab) {
	w := http1(l, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s from %s", r.Proto, r.URL.Path, r.RemoteAddr)
	})
	first := w.get("/0")
	if !strings.HasPrefix(first, "HTTP/1.1 /0 from "+l.a.host()+":") {
		l.Errorf("answer is %q", first)
	}
	for range 20 {
		if got := w.get("/0"); got != first {
			l.Errorf("answer is %q, before it was %q", got, first)
		}
	}
	w.wantConns(1)
}

func testChunkedUpload(l *lab) {
	n := l.big()
	w := http1(l, func(_ http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) != 1 || r.TransferEncoding[0] != "chunked" {
			l.Errorf("transfer encoding is %q", r.TransferEncoding)
		}
		l.wantBody(r.Body, 1, n)
	})
	for range 2 {
		w.do(w.request(l.ctx, http.MethodPost, "/", body(1, n))).Body.Close()
	}
	w.wantConns(1)
}

// testContinue uploads to a server that wants the body and to one that does not,
// and which the body must not be sent to.
func testContinue(l *lab) {
	w := http1(l, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != "payload" {
			l.Errorf("body is %q, %v", got, err)
		}
	})
	for path, want := range map[string]bool{"/yes": true, "/no": false} {
		asked := false
		ctx := httptrace.WithClientTrace(l.ctx, &httptrace.ClientTrace{Got100Continue: func() { asked = true }})
		body := strings.NewReader("payload")
		req := w.request(ctx, http.MethodPost, path, body)
		req.Header.Set("Expect", "100-continue")
		resp, err := w.client.Do(req)
		l.must(err)
		resp.Body.Close()
		if asked != want || (body.Len() == 0) != want || (resp.StatusCode == http.StatusOK) != want {
			l.Errorf("%s: status %s, asked for the body: %v, %d bytes unsent", path, resp.Status, asked, body.Len())
		}
	}
}

// testEvents wants each event as soon as it was sent: the next is sent only once
// it has arrived.
func testEvents(l *lab) {
	next, gone := make(chan struct{}), make(chan struct{})
	w := http1(l, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; ; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})
	ctx, cancel := context.WithCancel(l.ctx)
	events := bufio.NewReader(w.do(w.request(ctx, http.MethodGet, "/", nil)).Body)
	for i := range 20 {
		line, err := events.ReadString('\n')
		l.must(err)
		if want := fmt.Sprintf("data: %d\n", i); line != want {
			l.Fatalf("event %q, want %q", line, want)
		}
		_, err = events.ReadString('\n')
		l.must(err)
		next <- struct{}{}
	}
	cancel()
	await(l, "the server notices that the client is gone", gone)
}

// testHijack leaves HTTP on a conn and uses half-close on what remains.
func testHijack(l *lab) {
	w := http1(l, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			l.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		all, err := io.ReadAll(rw)
		if err != nil {
			l.Error(err)
		}
		c.Write(all)
	})
	req := w.request(l.ctx, http.MethodGet, "/", nil)
	c := l.dial(l.a)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	l.must(req.Write(c))
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, req)
	l.must(err)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		l.Fatalf("status %s", resp.Status)
	}
	n := l.big()
	writing := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, body(2, n))
		c.(stream.Conn).CloseWrite()
		writing <- err
	}()
	l.wantBody(r, 2, n)
	l.must(await(l, "writing", writing))
}

func testWebSocket(l *lab) {
	closed := make(chan error, 1)
	w := http1(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			l.Error(err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		for {
			kind, msg, err := c.Read(r.Context())
			if err != nil {
				closed <- err
				return
			}
			if err := c.Write(r.Context(), kind, msg); err != nil {
				l.Error(err)
			}
		}
	})
	c, _, err := websocket.Dial(l.ctx, w.on.url("/"), &websocket.DialOptions{HTTPClient: w.client})
	l.must(err)
	defer c.CloseNow()
	c.SetReadLimit(-1)
	for i, n := range []int{0, 1, 125, 126, 65_535, 65_536, l.big() / 4} {
		msg, _ := io.ReadAll(body(byte(i), n))
		l.must(c.Write(l.ctx, websocket.MessageBinary, msg))
		_, got, err := c.Read(l.ctx)
		l.must(err)
		if string(got) != string(msg) {
			l.Errorf("%d bytes came back as %d, or others", len(msg), len(got))
		}
	}
	l.must(c.Close(websocket.StatusNormalClosure, "done"))
	if err := await(l, "the server's Read", closed); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		l.Errorf("server: Read failed with %v, want a normal closure", err)
	}
}

// testShutdown shuts a server down while a request is served and a conn is idle.
func testShutdown(l *lab) {
	entered, finish := make(chan struct{}), make(chan struct{})
	w := http1(l, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-finish
		}
		io.WriteString(w, "served")
	})
	slow := make(chan string, 1)
	w.shutDown(func() { go func() { slow <- w.get("/slow") }(); await(l, "the request", entered) },
		func() { close(finish) })
	if got := await(l, "the answer", slow); got != "served" {
		l.Errorf("answer is %q", got)
	}
}

// shutDown begins requests, shuts the server down, and finishes the requests
// once no new one gets in.
func (w *web) shutDown(begin, finish func()) {
	w.Helper()
	begin()
	down := make(chan error, 1)
	go func() { down <- w.server.Shutdown(w.ctx) }()
	if err := await(w.lab, "Serve", w.served); !errors.Is(err, http.ErrServerClosed) {
		w.Errorf("Serve: %v", err)
	}
	w.wantRefused(w.lab.a, stream.CodeNoListener)
	select {
	case err := <-down:
		w.Errorf("Shutdown has returned before the request was answered: %v", err)
	default:
	}
	finish()
	if err := await(w.lab, "Shutdown", down); err != nil {
		w.Errorf("Shutdown: %v", err)
	}
}
