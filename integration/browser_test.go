//go:build unix

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/weftnet/weft/overlay"
)

// A browser is a tab of a headless Chromium, and what it has complained about.
type browser struct {
	*lab
	tab context.Context

	mu       sync.Mutex
	requests []string
	troubles []string
}

// chromium is Chromium's path. It skips the test if there is none.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	t.Skip("Chromium is not installed")
	return ""
}

// startBrowser starts Chromium, or skips the test if there is none.
func (l *lab) startBrowser(more ...chromedp.ExecAllocatorOption) *browser {
	l.t.Helper()
	program := chromium(l.t)
	b := &browser{lab: l}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.Flag("disable-gpu", true))
	allocator, stop := chromedp.NewExecAllocator(l.ctx, append(options, more...)...)
	tab, closeTab := chromedp.NewContext(allocator, chromedp.WithListener(b.noted))
	l.t.Cleanup(func() {
		_ = chromedp.Cancel(tab)
		closeTab()
		stop()
	})
	b.tab = tab
	b.do(chromedp.EmulateViewport(1200, 900))
	return b
}

// noted is called with each event of the tab.
func (b *browser) noted(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventConsoleAPICalled:
		b.troubles = append(b.troubles, fmt.Sprintf("console.%s", e.Type))
	case *runtime.EventExceptionThrown:
		b.troubles = append(b.troubles, fmt.Sprintf("exception: %+v", e.ExceptionDetails))
	case *log.EventEntryAdded:
		b.troubles = append(b.troubles, fmt.Sprintf("%s: %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	}
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.tab, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// js returns what an expression is, as JSON is decoded.
func js[T any](b *browser, expression string) (v T) {
	b.t.Helper()
	text, err := chromedp.Run(b.tab, chromedp.Evaluate[string]("JSON.stringify("+expression+") || 'null'"))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		b.t.Fatalf("%s is %s: %v", expression, text, err)
	}
	return v
}

// await waits until an expression is true.
func (b *browser) await(expression string) {
	b.t.Helper()
	if err := eventually(b.ctx, func() bool { return js[bool](b, "Boolean("+expression+")") }); err != nil {
		b.shoot("await")
		b.t.Fatalf("%s does not become true: %v\n%s", expression, err, js[string](b, "document.body.innerText"))
	}
}

// colours makes the system prefer dark or light.
func (b *browser) colours(scheme string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	}); err != nil {
		b.t.Fatal(err)
	}
}

// shoot keeps a picture of the page in the directory that WEFT_SCREENSHOTS names.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("WEFT_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.tab, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// lowContrast is the texts whose contrast with their background is too low (WCAG 2.1, 1.4.3).
const lowContrast = `(() => {
	const rgb = (c) => (c.match(/[\d.]+/g) || []).map(Number);
	const light = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
	const bad = [];
	for (const e of document.querySelectorAll("body *")) {
		const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
		if (!own || !e.getClientRects().length || e.closest(".skip, .tucked, noscript")) continue;
		const style = getComputedStyle(e);
		const text = rgb(e instanceof SVGElement ? style.fill : style.color);
		let at = e, back = [0, 0, 0, 0];
		while (at && (back.length === 4 && back[3] === 0)) { back = rgb(getComputedStyle(at).backgroundColor); at = at.parentElement; }
		const [a, b] = [light(text), light(back)].sort((x, y) => y - x);
		const contrast = (a + 0.05) / (b + 0.05);
		if (contrast < 4.5) bad.push(e.tagName + " " + e.textContent.trim() + " " + contrast.toFixed(2));
	}
	return bad;
})()`

// tooWide is what reaches beyond the window.
const tooWide = `document.documentElement.scrollWidth <= innerWidth ? [] :
	[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + "." + e.className + " " + e.textContent.slice(0, 40))`

// graphNames is how the nodes of the graph are called, for those who do not see them.
const graphNames = `[...document.querySelectorAll("#graph a")].map((a) => a.getAttribute("aria-label"))`

func (b *browser) check(what, expression string) {
	b.t.Helper()
	if found := js[[]string](b, expression); len(found) > 0 {
		b.t.Errorf("%s: %q", what, found)
	}
}

// in reports whether there is a text that contains all parts.
func in(texts []string, parts ...string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
	})
}

// A watchedNetwork is a relay and nodes, of which one has sessions.
type watchedNetwork struct {
	*lab
	vars            []string
	relay           *process
	relayPage, page string // of the relay, without a token; of the laptop, with one
}

const longName = "a-storage-server-with-quite-a-long-name-in-frankfurt-am-main-1"

func (l *lab) watchedNetwork() *watchedNetwork {
	l.t.Helper()
	dir, err := os.MkdirTemp("", "weft") // the name of a socket in it must be short
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &watchedNetwork{lab: l, vars: []string{"XDG_RUNTIME_DIR=" + dir, "WEFT_NO_LAN=1", overlay.EnvRelayOnly + "=0"}}
	addrFile := filepath.Join(l.t.TempDir(), "addr")
	n.relay = l.weftWith(n.vars, "relay", "--name", "relay-1", "--listen", "127.0.0.1:0", "--addr-file", addrFile, "--grace", "1s", "--status-addr", "127.0.0.1:0", "--bytes-per-second", "1000000")
	l.relays = []string{l.awaitFile(addrFile)}
	n.relayPage = strings.TrimPrefix(n.relay.expect(l.ctx, "status"), "page at ")
	laptop := l.weftWith(n.vars, "up", "--name", "laptop")
	laptop.expect(l.ctx, "up")
	n.serve("files")
	n.serve(longName, overlay.EnvRelayOnly+"=1")

	status := n.weftWith(n.vars, "status", "laptop")
	n.page = strings.TrimPrefix(status.expect(l.ctx, "status"), "page ")
	n.get("files", "small")
	n.get(longName, "small")
	return n
}

// serve starts a node with a file.
func (n *watchedNetwork) serve(name string, vars ...string) {
	n.t.Helper()
	dir := n.t.TempDir()
	for file, size := range map[string]int{"small": 100, "large": 4 << 20} {
		if err := os.WriteFile(filepath.Join(dir, file), make([]byte, size), 0o644); err != nil {
			n.t.Fatal(err)
		}
	}
	n.weftWith(append(slices.Clone(n.vars), vars...), "serve", "--name", name, dir).expect(n.ctx, "http://"+name+"/")
}

// get has the laptop get a file.
func (n *watchedNetwork) get(name, file string) {
	n.t.Helper()
	n.weftWith(n.vars, "get", "-o", filepath.Join(n.t.TempDir(), "got"), "http://"+name+"/"+file).exit(n.ctx)
}

// What a person sees who opens the page of a node and leaves it open. With
// WEFT_SCREENSHOTS=DIR it keeps pictures.
func TestStatusPageInABrowser(t *testing.T) {
	l := newLab(t)
	b := l.startBrowser()
	n := l.watchedNetwork()

	b.colours("light")
	b.do(chromedp.Navigate(n.page))
	b.await(`document.querySelectorAll("#graph a").length === 4`)
	if at := js[string](b, "location.href"); strings.Contains(at, "token") {
		t.Errorf("the address is %s", at)
	}
	b.await(`document.querySelector("#live").textContent === "live"`)
	names := js[[]string](b, graphNames)
	if !in(names, "laptop, this node") || !in(names, "relay-1", "home relay") || !in(names, "files, node") || !in(names, longName, "over a relay") {
		t.Errorf("the graph has %q", names)
	}
	b.await(`[...document.querySelectorAll("#graph a")].some((a) => a.getAttribute("aria-label").includes("files, node, direct, UDP, "))`)

	// A node comes; the page is not loaded anew, and nothing jumps.
	b.do(chromedp.Evaluate[chromedp.Void]("void (window.stayed = true)"))
	const placeOf = `(() => { const d = [...document.querySelectorAll("#graph a")].find((a) => a.getAttribute("aria-label").startsWith("files,")).querySelector(".dot"); return [d.getAttribute("cx"), d.getAttribute("cy")]; })()`
	before := js[[]string](b, placeOf)
	n.serve("late")
	n.get("late", "small")
	b.await(graphNames + `.some((name) => name.startsWith("late, node"))`)
	b.await(`document.querySelector("#news").textContent.includes("late is here")`)
	if !js[bool](b, "window.stayed === true") {
		t.Error("the page was loaded anew")
	}
	if after := js[[]string](b, placeOf); !slices.Equal(before, after) {
		t.Errorf("a node of the graph was at %v and is at %v", before, after)
	}
	b.await(`document.querySelector("#dials").textContent.includes("late:80")`)
	b.await(`(document.querySelector("#traffic .received").getAttribute("d") || "").includes("L")`)

	b.keyboard()
	b.looks("node")
	n.get(longName, "large")
	b.do(chromedp.Navigate(n.relayPage))
	b.await(`document.querySelectorAll("#graph a").length === 5`)
	b.await(`document.querySelectorAll("#attached tbody tr").length === 4`)
	b.await(`[...document.querySelectorAll("#throttled tbody a")].some((a) => a.textContent === "` + longName + `")`)
	b.looks("relay")
	b.checkOrigin(n)

	// What it says when nobody answers any more. The last news stay.
	n.relay.kill()
	b.await(`!document.querySelector("#banner").hidden && document.querySelector("#live").textContent === "not live"`)
	b.check("contrast without an answer", lowContrast)
	b.await(`document.querySelectorAll("#attached tbody tr").length === 4`)
	b.shoot("not-live")
}

// keyboard goes to a node's page and back without a mouse.
func (b *browser) keyboard() {
	b.t.Helper()
	const focused = `document.activeElement.getAttribute("aria-label") || ""`
	for range 20 {
		b.do(chromedp.KeyEvent(kb.Tab))
		if strings.HasPrefix(js[string](b, focused), "files, ") {
			break
		}
	}
	was := js[string](b, focused)
	if !strings.HasPrefix(was, "files, ") {
		b.t.Fatalf("Tab does not lead to the node: it is at %q", was)
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.await(`location.hash.startsWith("#node/") && document.activeElement.id === "n-title" && document.activeElement.textContent === "files"`)
	b.await(`document.querySelector("#n-paths tbody tr") && document.querySelector("#n-dials tbody tr") && document.querySelector("#overview").hidden`)
	b.shoot("node-page-light")
	b.check("contrast of the node's page", lowContrast)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.await(`!document.querySelector("#overview").hidden && document.activeElement.getAttribute("aria-label")?.startsWith("files, ")`)

	// The focus stays although everything is drawn anew each second.
	drawn := js[string](b, `document.querySelector("#traffic .received").getAttribute("d")`)
	b.await(`document.querySelector("#traffic .received").getAttribute("d") !== ` + fmt.Sprintf("%q", drawn))
	if at := js[string](b, focused); !strings.HasPrefix(at, "files, ") {
		b.t.Errorf("the focus is at %q", at)
	}
}

// looks checks the page in both schemes, and on a phone.
func (b *browser) looks(name string) {
	b.t.Helper()
	const background = `getComputedStyle(document.body).backgroundColor`
	seen := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		b.colours(scheme)
		seen[scheme] = js[string](b, background)
		b.check(name+": contrast, "+scheme, lowContrast)
		b.shoot(name + "-" + scheme)
	}
	if seen["light"] == seen["dark"] {
		b.t.Errorf("light and dark have the background %s", seen["light"])
	}
	// The button wins over the system, and goes round.
	for _, want := range []string{seen["light"], seen["dark"], seen["dark"]} {
		b.do(chromedp.Evaluate[chromedp.Void](`void document.querySelector("#theme").click()`))
		if got := js[string](b, background); got != want {
			b.t.Errorf("%s: the button makes the background %s, want %s", name, got, want)
		}
	}
	for _, width := range []int64{360, 320, 768} {
		b.do(chromedp.EmulateViewport(width, 740))
		b.await(fmt.Sprintf("innerWidth === %d && (document.querySelector('#graph').viewBox.baseVal.width < %d)", width, width))
		b.check(fmt.Sprintf("%s: wider than %d", name, width), tooWide)
		b.shoot(fmt.Sprintf("%s-%d", name, width))
	}
	b.do(chromedp.EmulateViewport(360, 740))
	b.do(chromedp.Evaluate[chromedp.Void](`void document.querySelector("#peers a").click()`))
	b.await(`!document.querySelector("#nodepage").hidden`)
	b.check(name+": wider than 360, the page of a node", tooWide)
	b.shoot(name + "-page-360")
	b.do(chromedp.KeyEvent(kb.Escape), chromedp.EmulateViewport(1200, 900))
	b.await(`!document.querySelector("#overview").hidden && document.querySelector('#graph').viewBox.baseVal.width > 800`)
}

// checkOrigin checks that nothing was asked elsewhere and nothing went wrong.
func (b *browser) checkOrigin(n *watchedNetwork) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	allowed := map[string]bool{}
	for _, page := range []string{n.page, n.relayPage} {
		u, err := url.Parse(page)
		if err != nil {
			b.t.Fatal(err)
		}
		allowed[u.Host] = true
	}
	for _, r := range b.requests {
		if u, err := url.Parse(r); err != nil || !allowed[u.Host] {
			b.t.Errorf("a request went to %s", r)
		}
	}
	if len(b.requests) < 10 {
		b.t.Errorf("only %d requests were seen", len(b.requests))
	}
	if len(b.troubles) > 0 {
		b.t.Errorf("the browser says %q", b.troubles)
	}
}
