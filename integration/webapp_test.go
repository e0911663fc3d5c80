//go:build unix

package integration

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/weftnet/weft/overlay"
)

// An example is a program of the module examples.
type example struct {
	*lab
	binary string
}

// buildExample builds one, and returns where it is.
func buildExample(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./"+name)
	build.Dir = filepath.Join("..", "examples")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, out)
	}
	return binary
}

// run starts the program on a node with a name.
func (e example) run(name string, args ...string) *process {
	e.t.Helper()
	cmd := exec.Command(e.binary, args...)
	cmd.Env = e.environ(overlay.EnvName+"="+name, overlay.EnvNoLAN+"=1")
	return e.start(name, cmd)
}

// A browser that knows nothing of weft opens a page of a node, by way of `weft socks`, and
// sees what others do there.
func TestWebAppInABrowser(t *testing.T) {
	chromium(t) // or skip before anything is built
	binary := buildExample(t, "webapp")
	if _, err := buildWeft(); err != nil {
		t.Fatal(err)
	}
	l := newLab(t)                       // whose time begins now
	dir, err := os.MkdirTemp("", "weft") //nolint:usetesting // the names of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &forwardLab{lab: l, vars: []string{"XDG_RUNTIME_DIR=" + dir, overlay.EnvNoLAN + "=1"}}
	addrFile := filepath.Join(t.TempDir(), "addr")
	l.weftWith(f.vars, "relay", "--listen", "127.0.0.1:0", "--addr-file", addrFile, "--grace", "1s")
	l.relays = []string{l.awaitFile(addrFile)}
	webapp := example{l, binary}
	board := webapp.run("board")
	l.weftWith(f.vars, "up", "--name", "laptop").expect(l.ctx, "up")
	proxy := f.forward(1, "socks", "--listen", "0")[0]
	b := l.startBrowser(chromedp.ProxyServer("socks5://" + proxy))

	b.colours("light")
	webapp.run("canyon", "board", "the first").exit(l.ctx) // and the board is there
	b.do(chromedp.Navigate("http://board.weft/"))
	const (
		live  = `document.querySelector("#live").textContent === "live"`
		notes = `[...document.querySelectorAll("#notes li")].map((li) => li.querySelector("p").textContent + " by " + li.querySelector("small").textContent.split(",")[0])`
		who   = `[...document.querySelectorAll("#who li")].map((li) => li.textContent)`
	)
	b.await(live)
	b.await(who + `.join() === "laptop" && document.querySelector("#you").textContent === "laptop"`)
	b.await(notes + `[0] === "the first by canyon"`)
	b.shoot("board-light")

	// What others write comes by itself, and is text whatever it says.
	b.do(chromedp.Evaluate[chromedp.Void]("void (window.stayed = true)"))
	const evil = `<img src="http://elsewhere.weft/" onerror="document.title = 'evil'">`
	webapp.run("canyon", "board", evil).exit(l.ctx)
	b.await(fmt.Sprintf("%s[0] === %q", notes, evil+" by canyon"))

	// With the keyboard alone.
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("from the browser"), chromedp.KeyEvent(kb.Enter))
	b.await(notes + `[0] === "from the browser by laptop" && document.querySelector("#note").value === "" && document.activeElement.id === "note"`)
	if !js[bool](b, `window.stayed === true && document.title === "Board"`) {
		t.Error("the page was loaded anew, or a note did something")
	}
	for _, scheme := range []string{"dark", "light"} {
		b.colours(scheme)
		b.check("contrast, "+scheme, lowContrast)
		b.shoot("board-" + scheme)
	}
	b.do(chromedp.EmulateViewport(320, 740))
	b.await("innerWidth === 320")
	b.check("wider than 320", tooWide)
	b.shoot("board-320")
	b.onlyAsked("board.weft")

	// The board is restarted, and the page goes on by itself.
	board.kill()
	b.await(`document.querySelector("#live").textContent === "not live: trying again"`)
	webapp.run("board")
	b.await(live + ` && document.querySelectorAll("#notes li").length === 0`)
	if !js[bool](b, "window.stayed === true") {
		t.Error("the page was loaded anew")
	}
}

// onlyAsked checks that all requests went to one host, and that nothing went wrong.
func (b *browser) onlyAsked(host string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if u, err := url.Parse(r); err != nil || u.Host != host {
			b.t.Errorf("a request went to %s", r)
		}
	}
	if len(b.requests) < 5 {
		b.t.Errorf("only %d requests were seen", len(b.requests))
	}
	if len(b.troubles) > 0 {
		b.t.Errorf("the browser says %q", b.troubles)
	}
}
