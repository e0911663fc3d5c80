//nolint:depguard,staticcheck // what older programs use is tested because it is deprecated
package matrix

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// oldWeb serves as programs did before net/http had unencrypted HTTP/2.
func oldWeb(l *lab, h http.HandlerFunc) (*web, *http2.Transport) {
	server := new(http2.Server)
	l.must(http2.ConfigureServer(new(http.Server), server)) // else it shares channels with other bubbles
	w := newWeb(l, l.b, l.a, h2c.NewHandler(h, server), nil)
	transport := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return l.a.DialContext(ctx, network, addr)
		},
	}
	l.Cleanup(transport.CloseIdleConnections)
	return w, transport
}

func testOldH2C(l *lab) {
	n := l.big()
	w, transport := oldWeb(l, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			l.Errorf("the protocol is %s", r.Proto)
		}
		io.Copy(w, r.Body)
	})
	w.client.Transport = transport
	all(5, func(i int) {
		resp, err := w.client.Do(w.request(l.ctx, http.MethodPost, "/", body(byte(i), n/5)))
		if err != nil {
			l.Error(err)
			return
		}
		defer resp.Body.Close()
		l.wantBody(resp.Body, byte(i), n/5)
	})
	w.wantConns(1)
}

// testOldH2CUpgrade begins with HTTP/1.1 and goes on with HTTP/2 (RFC 7540
// section 3.2): the handler takes the conn from net/http, preface included.
func testOldH2CUpgrade(l *lab) {
	w, _ := oldWeb(l, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	c := l.dial(l.a)
	req := w.request(l.ctx, http.MethodGet, "/", nil)
	req.Header.Set("Connection", "Upgrade, HTTP2-Settings")
	req.Header.Set("Upgrade", "h2c")
	req.Header.Set("Http2-Settings", "AAMAAABkAAQAAP__")
	l.must(req.Write(c))
	upgraded := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
	got := make([]byte, len(upgraded))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != upgraded {
		l.Fatalf("answer is %q, %v", got, err)
	}
	_, err := io.WriteString(c, http2.ClientPreface)
	l.must(err)
	framer := http2.NewFramer(c, c)
	l.must(framer.WriteSettings())
	for {
		f, err := framer.ReadFrame()
		l.must(err)
		if data, ok := f.(*http2.DataFrame); ok && data.StreamID == 1 && len(data.Data()) > 0 {
			if string(data.Data()) != "HTTP/1.1" { // as the request was
				l.Errorf("body is %q", data.Data())
			}
			return
		}
	}
}
