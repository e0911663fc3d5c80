package webpage

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "PAGE "+r.URL.String()) })

func serve(t *testing.T, cfg Config) *Server {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	cfg.Handler, cfg.Logger = page, log
	s, err := Serve(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// client keeps cookies as a browser would, and follows no redirect.
func get(t *testing.T, target, host string, cookies ...*http.Cookie) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for _, c := range cookies {
		req.AddCookie(c)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(b)))
	return resp
}

func TestLoopbackNeedsNoToken(t *testing.T) {
	s := serve(t, Config{Addr: "127.0.0.1:0"})
	if strings.Contains(s.URL(), "token") {
		t.Errorf("the address is %s", s.URL())
	}
	if resp := get(t, s.URL(), ""); resp.StatusCode != http.StatusOK {
		t.Errorf("status %s", resp.Status)
	}
}

func TestOtherNamesOfLoopbackAreRefused(t *testing.T) {
	for _, cfg := range []Config{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", Token: true}} {
		s := serve(t, cfg)
		u, err := url.Parse(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		for host, refused := range map[string]bool{
			u.Host: false, "localhost:" + u.Port(): false, "LOCALHOST": false, "weft.localhost": false, "[::1]:" + u.Port(): false, "127.1.2.3": false,
			"evil.example": true, "evil.example:" + u.Port(): true, "127.0.0.1.evil.example": true, "localhost.evil.example": true, "192.0.2.1": true,
		} {
			if resp := get(t, s.URL(), host); (resp.StatusCode == http.StatusMisdirectedRequest) != refused {
				t.Errorf("Host %s: status %s", host, resp.Status)
			}
		}
	}
}

func TestToken(t *testing.T) {
	s := serve(t, Config{Addr: "127.0.0.1:0", Token: true})
	base, _, found := strings.Cut(s.URL(), "?token=")
	if !found {
		t.Fatalf("the address is %s", s.URL())
	}
	for _, target := range []string{base, base + "api/status", base + "?token=", base + "?token=wrong"} {
		resp := get(t, target, "")
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusUnauthorized || strings.Contains(string(b), "PAGE ") || resp.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: status %s, %q", target, resp.Status, b)
		}
	}
	resp := get(t, s.URL()+"&a=b", "")
	cookies := resp.Cookies()
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/?a=b" || len(cookies) != 1 {
		t.Fatalf("with the token: status %s, %v", resp.Status, resp.Header)
	}
	if c := cookies[0]; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("the cookie is %v", c)
	}
	resp = get(t, base+"api/status?x=y", "", cookies[0])
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(b) != "PAGE /api/status?x=y" {
		t.Errorf("with the cookie: status %s, %q", resp.Status, b)
	}
	bad := *cookies[0]
	bad.Value += "x"
	if resp := get(t, base, "", &bad); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a wrong cookie: status %s", resp.Status)
	}
	if resp := get(t, base+"?token=wrong", "", cookies[0]); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a wrong token and the cookie: status %s", resp.Status)
	}
}

func TestTheTokenLeadsToNoOtherHost(t *testing.T) {
	g := &guard{next: page, token: "right", cookie: "c", wrong: newWrongLimit()}
	for _, path := range []string{"//evil.example/", "/\\evil.example", "/%2f%2fevil.example"} {
		r := httptest.NewRequest(http.MethodGet, "/?token=right", nil)
		u, err := url.Parse("http://h" + path)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.URL.RawPath = u.Path, u.RawPath
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) {
			t.Errorf("%s: status %d, Location %q", path, w.Code, to)
		}
	}
}

func TestGuessesAreLimited(t *testing.T) {
	g := &guard{next: page, token: "right", cookie: "c", wrong: newWrongLimit()}
	codes := map[int]int{}
	for range 1000 {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?token=wrong", nil))
		codes[w.Code]++
	}
	if codes[http.StatusUnauthorized] < wrongBurst || codes[http.StatusTooManyRequests] < 900 || len(codes) != 2 {
		t.Errorf("answers by status: %v", codes)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?token=right", nil))
	if w.Code != http.StatusSeeOther {
		t.Errorf("the right one meanwhile: status %d", w.Code)
	}
	if w := httptest.NewRecorder(); true {
		g.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/?token=right", nil))
		if w.Code != http.StatusOK {
			t.Errorf("POST with the token: status %d", w.Code)
		}
	}
}

// Other addresses than loopback ones need a token, whoever asks. Nothing is sent there.
func TestOtherAddressesNeedAToken(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0"} {
		s := serve(t, Config{Addr: addr})
		u, err := url.Parse(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		if u.Query().Get("token") == "" || u.Hostname() == "" || u.Hostname() == "::" {
			t.Errorf("%s: the address is %s", addr, s.URL())
		}
		here := "http://127.0.0.1:" + u.Port() + "/"
		if resp := get(t, here, ""); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without: status %s", addr, resp.Status)
		}
		if resp := get(t, here+"?"+u.RawQuery, "any.example"); resp.StatusCode != http.StatusSeeOther {
			t.Errorf("%s with: status %s", addr, resp.Status)
		}
	}
}

func TestAPublicPageNeedsNoToken(t *testing.T) {
	s := serve(t, Config{Addr: "0.0.0.0:0", Public: true})
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if resp := get(t, "http://127.0.0.1:"+u.Port(), "any.example"); u.RawQuery != "" || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: status %s", u, resp.Status)
	}
	s = serve(t, Config{Addr: "127.0.0.1:0", Public: true})
	if resp := get(t, s.URL(), "any.example"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("on loopback, by another name: status %s", resp.Status)
	}
}

func TestAddresses(t *testing.T) {
	for at, want := range map[string]string{"127.0.0.1:80": "http://127.0.0.1:80/", "[::1]:8080": "http://[::1]:8080/"} {
		if got := address(netip.MustParseAddrPort(at)); got != want {
			t.Errorf("%s is %s", at, got)
		}
	}
}

func TestATakenAddressIsAnError(t *testing.T) {
	s := serve(t, Config{Addr: "127.0.0.1:0"})
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Serve(t.Context(), Config{Handler: page, Addr: u.Host, Logger: logrus.New()}); err == nil {
		again.Close()
		t.Error("two pages at one address")
	}
}
