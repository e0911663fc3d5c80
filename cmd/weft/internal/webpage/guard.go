package webpage

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/time/rate"

	"github.com/weftnet/weft/internal/statuspage"
)

const (
	// tokenParameter is what the token is called in a URL.
	tokenParameter = "token"
	// wrongPerSecond and wrongBurst are how many wrong tokens are answered with what is
	// wrong about them; further ones with status 429. The right one is never refused.
	wrongPerSecond = 1
	wrongBurst     = 10
)

func newWrongLimit() *rate.Limiter { return rate.NewLimiter(wrongPerSecond, wrongBurst) }

// A guard lets in who may see the page.
type guard struct {
	next   http.Handler
	local  bool   // on a loopback address
	token  string // empty: none is needed
	cookie string // its name; browsers do not tell the ports of a host apart
	wrong  *rate.Limiter
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	statuspage.Protect(w.Header())
	if g.local && !localHost(r.Host) {
		// A page of somebody else's has made a name of its own point here.
		statuspage.Refuse(w, http.StatusMisdirectedRequest, "this page is for http://127.0.0.1 and http://localhost, not for other names")
		return
	}
	if g.token == "" {
		g.next.ServeHTTP(w, r)
		return
	}
	said := r.URL.Query().Get(tokenParameter)
	c, err := r.Cookie(g.cookie)
	switch {
	case said != "" && g.right(said):
		g.welcome(w, r)
	case said == "" && err == nil && g.right(c.Value):
		g.next.ServeHTTP(w, r)
	case (said != "" || err == nil) && !g.wrong.Allow():
		w.Header().Set("Retry-After", "1")
		statuspage.Refuse(w, http.StatusTooManyRequests, "too many wrong tokens; weft status shows the address with the right one")
	default:
		statuspage.Refuse(w, http.StatusUnauthorized, "this page needs a token: weft status shows the address with it")
	}
}

func (g *guard) right(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(g.token)) == 1
}

// welcome keeps the token in a cookie and takes it out of the address.
func (g *guard) welcome(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		g.next.ServeHTTP(w, r) // which says that it is read-only
		return
	}
	http.SetCookie(w, &http.Cookie{Name: g.cookie, Value: g.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	query := r.URL.Query()
	query.Del(tokenParameter)
	to := "/" + strings.TrimLeft(r.URL.EscapedPath(), "/") // not //host
	if len(query) > 0 {
		to += "?" + query.Encode()
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// localHost reports whether a request's Host is this machine's loopback, whatever the
// port.
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
