package overlay

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
)

// serveHTTP serves on port 80 of a node until it closes.
func (l *lab) serveHTTP(n *Node, h http.Handler) *http.Server {
	l.t.Helper()
	srv := &http.Server{Handler: h, ConnContext: ConnContext, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	ln := l.listen(n, 80)
	l.wg.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			l.t.Error(err)
		}
	})
	return srv
}

func TestHTTPWorksUnmodifiedAndKnowsTheCaller(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server, client := l.ready("server", Config{Name: "files"}), l.ready("client", Config{Name: "reader"})
		srv := l.serveHTTP(server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := PeerFrom(r.Context())
			path, _ := PathFrom(r.Context())
			fmt.Fprint(w, r.Proto, " ", p.ID, " ", p.Names, " ", path, " ", ok)
		}))
		transport := client.HTTPTransport()
		h1 := client.HTTPTransport()
		h1.Protocols = new(http.Protocols)
		h1.Protocols.SetHTTP1(true)
		for proto, tr := range map[string]*http.Transport{"HTTP/2.0": transport, "HTTP/1.1": h1} {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					resp, err := (&http.Client{Transport: tr}).Get("http://files/")
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					want := fmt.Sprint(proto, " ", client.ID(), " [reader] relay ", relayAddr, " true")
					if err != nil || string(body) != want {
						t.Errorf("%s: body %q, %v; want %q", proto, body, err, want)
					}
				})
			}
			wg.Wait()
			tr.CloseIdleConnections()
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestPeerFromIsFalseForOtherRequests(t *testing.T) {
	if p, ok := PeerFrom(t.Context()); ok {
		t.Errorf("got %v", p)
	}
	if path, ok := PathFrom(ConnContext(t.Context(), nil)); ok {
		t.Errorf("got %v", path)
	}
}
