package metrics_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/metrics"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

func newNode(t *testing.T, network string, relays ...string) *overlay.Node {
	t.Helper()
	node, err := overlay.New(overlay.Config{Open: true, Network: network, NoLAN: true, NoDirect: true, Relays: relays})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	if err := node.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return node
}

// serve runs a relay with metrics, and others on its port, and returns its address.
func serve(t *testing.T, server *relay.Server) string {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	var err error
	if server.Metrics, err = metrics.Handler("v1.2.3", log, metrics.NewRelay(server)); err != nil {
		t.Fatal(err)
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		_ = server.Close()
		for _, other := range server.Others {
			_ = other.Close()
		}
		if err := <-served; !errors.Is(err, relay.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// get returns a page, asked for as a type.
func get(t *testing.T, url, accept string) (body, contentType string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return string(b), resp.Header.Get("Content-Type")
}

func TestARelayServesTheMetricsOfAllItsNetworks(t *testing.T) {
	server := &relay.Server{Host: newNode(t, "weft"), Others: []*relay.Server{{Host: newNode(t, "lab")}}}
	addr := serve(t, server)
	newNode(t, "weft", addr)
	for range 2 {
		newNode(t, "lab", addr)
	}
	text, contentType := get(t, "http://"+addr+"/metrics", "")
	if !strings.HasPrefix(contentType, "text/plain; version=0.0.4") {
		t.Errorf("the type is %s", contentType)
	}
	for _, want := range []string{
		"# TYPE weft_relay_nodes gauge\nweft_relay_nodes{network=\"lab\"} 2\nweft_relay_nodes{network=\"weft\"} 1\n",
		"# HELP weft_relay_forwarded_frames_total Frames forwarded.\n# TYPE weft_relay_forwarded_frames_total counter\n",
		`version="v1.2.3"} 1`, "\ngo_goroutines ", "\nprocess_",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	text, contentType = get(t, "http://"+addr+"/metrics", "application/openmetrics-text;version=1.0.0")
	if !strings.HasPrefix(contentType, "application/openmetrics-text") || !strings.HasSuffix(text, "\n# EOF\n") {
		t.Errorf("as OpenMetrics: %s\n%s", contentType, text)
	}
}

// A second relay of the same network name on one port is left out, and the rest stays.
func TestNetworksOfOneName(t *testing.T) {
	server := &relay.Server{Host: newNode(t, "weft"), Others: []*relay.Server{{Host: newNode(t, "weft")}}}
	text, _ := get(t, "http://"+serve(t, server)+"/metrics", "")
	if n := len(regexp.MustCompile(`(?m)^weft_relay_nodes\{`).FindAllString(text, -1)); n != 1 {
		t.Errorf("%d in\n%s", n, text)
	}
}

func TestCollectorsOfOneHandlerDiffer(t *testing.T) {
	node := newNode(t, "weft")
	if _, err := metrics.Handler("", logrus.New(), metrics.NewNode(node), metrics.NewNode(node)); err == nil || !strings.Contains(err.Error(), "must differ") {
		t.Errorf("two of one node: %v", err)
	}
	if _, err := metrics.Handler("", logrus.New(), metrics.NewNode(node), metrics.NewRelay(&relay.Server{Host: node})); err != nil {
		t.Error(err)
	}
}
