package hostile

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// Whoever is on the way reads all links while a node asks another for a page, by
// name: neither what HTTP says, nor the name, nor the page is there to be read.
func TestNothingOfARequestIsOnTheWay(t *testing.T) {
	const name, path, header, page = "accounts-of-the-hospital", "/patients/of/today", "Bearer of-a-token-of-some-length", "the page of all pages, which is nobody's business"
	inWorld(t, func(w *world) {
		token, _, err := overlay.NewInvite("", secret, overlay.Invite{Expires: time.Now().Add(time.Hour), Names: []string{name}})
		if err != nil {
			w.Fatal(err)
		}
		r := w.relay("relay", &relay.Server{})
		w.secrets(name, path, header, page, "HTTP/1.1", "Host:", token[:40])
		server := w.node("server", overlay.Config{Invite: token, Name: name}, r)
		client := w.node("alice", overlay.Config{}, r)
		ln, err := server.Listen(80)
		if err != nil {
			w.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Authorization") != header || req.URL.Path != path || req.Host != name {
				w.Errorf("the request is for %s%s", req.Host, req.URL.Path)
			}
			_, _ = io.WriteString(rw, page)
		})}
		w.wg.Go(func() { _ = s.Serve(ln) })
		defer s.Close()
		transport := &http.Transport{DialContext: client.DialContext}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, "http://"+name+path, http.NoBody)
		if err != nil {
			w.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			w.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != page {
			w.Errorf("got %q, %v", body, err)
		}
	})
}

// A journal is what is logged, by several goroutines.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// Whoever reads the logs, at the finest level, and all errors, of nodes that do
// everything right and wrong that has to do with membership, learns no secret, no
// token and no private key.
func TestLogsHoldNoSecrets(t *testing.T) {
	const (
		other  = "the secret of some other network"
		short  = "s3cr3t-2short"
		padded = " s3cr3t-with-a-space-before-it"
	)
	state := t.TempDir()
	inWorld(t, func(w *world) {
		var told journal
		log := logrus.New()
		log.SetOutput(&told)
		log.SetLevel(logrus.TraceLevel)
		w.log = log
		guest, in, err := overlay.NewInvite("", secret, overlay.Invite{Expires: time.Now().Add(time.Hour), Names: []string{"kv-1"}})
		if err != nil {
			w.Fatal(err)
		}
		node, forRelay := tokens()
		var keyLog journal
		r := w.relay("relay", &relay.Server{})
		owner := w.node("admin", overlay.Config{Secret: secret, StateDir: state, KeyLogWriter: &keyLog}, r)
		invited := w.node("kv-1", overlay.Config{Invite: guest, Name: "kv-1"}, r)
		w.start("stranger", overlay.Config{Secret: other, Relays: []string{r.addr}})
		for _, cfg := range []overlay.Config{
			{Invite: guest[:len(guest)-5]}, {Invite: guest, Name: "not-allowed"}, {Secret: secret, Invite: guest},
			{Secret: short}, {Secret: padded}, {Secret: secret, Network: "NOT A NAME"},
		} {
			if n, err := overlay.New(cfg); err != nil {
				fmt.Fprintln(&told, err)
			} else {
				_ = n.Close()
			}
		}
		dialled, accepted := w.connect(owner, invited)
		_, _ = dialled.Write([]byte(confidence))
		text, _, err := overlay.NewRevocation("", secret, overlay.Revocation{Invite: in.ID})
		if err != nil {
			w.Fatal(err)
		}
		if err := owner.Revoke(w.Context(), text); err != nil {
			w.Fatal(err)
		}
		time.Sleep(time.Minute)
		_, err = accepted.Read(make([]byte, 1000))
		fmt.Fprintln(&told, err, invited.WaitReady(ended(w.Context())))
		fmt.Fprintf(&told, "%+v\n%+v\n%+v\n", owner.Status(), invited.Status(), r.Stats())
		private, err := os.ReadFile(filepath.Join(state, identity.KeyFile))
		if err != nil {
			w.Fatal(err)
		}
		wanted := map[string]string{
			"the secret": secret, "another secret": other, "a guest's token": guest, "a node's token": node,
			"a relay's token": forRelay, "what is said": confidence,
			"a secret that is too short": short, "a secret with a space": padded[1:],
		}
		for line := range strings.FieldsSeq(string(private) + keyLog.String()) {
			if len(line) >= 40 && !strings.Contains(line, owner.Key().String()) {
				wanted["a key, "+line[:4]+"…"] = line
			}
		}
		if len(wanted) < 10 || !strings.Contains(told.String(), "session") {
			w.Errorf("%d secrets were looked for in %d bytes", len(wanted), len(told.String()))
		}
		for what, text := range wanted {
			if found := spelled(told.String(), text); found != "" {
				w.Errorf("%s stands in the logs, as %q", what, found)
			}
		}
	})
}

// spelled returns the part of a text that stands in a log in one of the ways in
// which bytes are usually written.
func spelled(log, text string) string {
	core := text[:min(len(text), 60)]
	for _, s := range []string{
		core, text[max(0, len(text)-40):],
		hex.EncodeToString([]byte(core)), fmt.Sprint([]byte(core)),
		base64.StdEncoding.EncodeToString([]byte(core))[:len(core)], base64.URLEncoding.EncodeToString([]byte(core))[:len(core)],
	} {
		if strings.Contains(log, s) {
			return s
		}
	}
	return ""
}

// ended returns a context that has ended.
func ended(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
