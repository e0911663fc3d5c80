//go:build unix

package integration

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// webConfig is told, behind what nginxHead is, three addresses: for HTTP/1.1, for
// HTTP/2, and for HTTP/1.1 behind PROXY headers.
const webConfig = nginxHead + `
	server {
		listen %[3]s;
		listen %[4]s http2;
		root %[1]s/www;
	}
	server {
		listen %[5]s proxy_protocol;
		location / { return 200 "$proxy_protocol_addr"; }
	}
}
`

// A webServer is nginx, which serves a file.
type webServer struct {
	*forwardLab
	http1, http2, behind string // addresses
	file                 string
}

func newWebServer(t *testing.T) *webServer {
	t.Helper()
	w := &webServer{forwardLab: newForwardLab(t)}
	nginx, dir := w.tool("nginx"), t.TempDir()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // who made the directory
	}
	w.http1, _ = w.freeAddr()
	w.http2, _ = w.freeAddr()
	w.behind, _ = w.freeAddr()
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil { //nolint:gosec // it is to be served
		t.Fatal(err)
	}
	data := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(data)
	w.file = w.write(filepath.Join(dir, "www"), "file", "%s", data)
	w.write(filepath.Join(dir, "www"), "small", "hello\n")
	config := w.write(dir, "nginx.conf", webConfig, dir, user, w.http1, w.http2, w.behind)
	w.serve(w.http1, nginx, "-p", dir, "-c", config)
	return w
}

func TestNginxAndCurlThroughAForward(t *testing.T) {
	t.Parallel()
	w := newWebServer(t)
	curl := w.tool("curl")
	through := w.to(w.http1)[0]
	proxy := w.forward(1, "socks", "--listen", "0")[0]
	want, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"forward":      {"http://" + through + "/file"},
		"SOCKS":        {"--socks5-hostname", proxy, "http://kv-1.weft:1000/file"},
		"HTTP proxy":   {"--proxy", "http://" + proxy, "http://kv-1.weft:1000/file"},
		"HTTP CONNECT": {"--proxytunnel", "--proxy", "http://" + proxy, "http://kv-1.weft:1000/file"},
		"several":      {"http://" + through + "/small", "http://" + through + "/file"},
	} {
		got := w.run(nil, curl, append([]string{"-sSf", "--max-time", "60"}, args...)...)
		if name == "several" {
			got = strings.TrimPrefix(got, "hello\n")
		}
		if got != string(want) {
			t.Errorf("%s: got %d bytes, want %d", name, len(got), len(want))
		}
	}
	if out := w.run(nil, curl, "-s", "-o", "/dev/null", "-w", "%{http_code}", "--proxy", "http://"+proxy, "http://"+w.http1+"/file"); out != "403" {
		t.Errorf("what is not of the overlay: %s", out)
	}
}

func TestH2loadThroughAForward(t *testing.T) {
	t.Parallel()
	w := newWebServer(t)
	h2load := w.tool("h2load")
	through := w.to(w.http1, w.http2)
	for i, args := range [][]string{{"--h1"}, nil} {
		out := w.run(nil, h2load, append(args, "-n", "2000", "-c", "20", "-m", "10", "http://"+through[i]+"/small")...)
		if !strings.Contains(out, "2000 succeeded, 0 failed, 0 errored, 0 timeout") {
			t.Errorf("h2load %v: %s", args, out)
		}
	}
}

func TestNginxLearnsWhoIsCalling(t *testing.T) {
	t.Parallel()
	w := newWebServer(t)
	curl := w.tool("curl")
	w.forward(1, "forward", "--name", "kv-1", "-R", "80="+w.behind, "--proxy-protocol")
	through := w.forward(1, "forward", "-L", "0=kv-1:80")[0]
	if out := w.run(nil, curl, "-sSf", "--max-time", "60", "http://"+through+"/"); !strings.HasPrefix(out, "fd77:6566:7400:") {
		t.Errorf("nginx says %q", out)
	}
}

func TestABrowserOpensOverlaySitesThroughTheProxy(t *testing.T) {
	t.Parallel()
	w := newWebServer(t)
	w.to(w.http1)
	proxy := w.forward(1, "socks", "--listen", "0")[0]
	for _, scheme := range []string{"http", "socks5"} {
		b := w.startBrowser(chromedp.ProxyServer(scheme + "://" + proxy))
		b.do(chromedp.Navigate("http://kv-1.weft:1000/small"))
		if got := js[string](b, "document.body.innerText"); strings.TrimSpace(got) != "hello" {
			t.Errorf("by %s the page is %q", scheme, got)
		}
	}
}
