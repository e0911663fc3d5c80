package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

func TestANodeThatIsUpHasMetrics(t *testing.T) {
	runtimeDir(t)
	t.Setenv(overlay.EnvSecret, overlay.NewSecret())
	startRelay(t)
	up := startUp(t, "--name", "laptop", "--metrics-addr", "0", "--metrics-peers", "5")
	m := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`).FindString(up.log.await(t, "metrics at "))
	for path, want := range map[string]string{
		"/healthz": "ok\n", "/readyz": "ready\n", "/metrics": "\nweft_node_registered{network=\"weft\"} 1\n",
	} {
		if got := get(t, m+path); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got := get(t, m+"/metrics"); !strings.Contains(got, `name="laptop"`) || !strings.Contains(got, "weft_build_info{") {
		t.Errorf("metrics are %s", got)
	}
}

// A node that nobody can find is alive, but not ready, and says why.
func TestANodeWithoutARelayIsNotReady(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	node, err := overlay.New(overlay.Config{Open: true, Relays: []string{addr}, NoLAN: true, NoDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	pages := metricsPages(node, http.NotFoundHandler())
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/": http.StatusNotFound} {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		if w.Code != want || path == "/readyz" && (!strings.Contains(w.Body.String(), addr) || !strings.HasSuffix(w.Body.String(), "others cannot find this node yet\n")) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestWhereMetricsAre(t *testing.T) {
	for name, tt := range map[string]struct{ addr, want string }{
		"none":           {"", ""},
		"a port":         {"9464", "127.0.0.1:9464"},
		"without a host": {":9464", "127.0.0.1:9464"},
		"everywhere":     {"0.0.0.0:9464", "0.0.0.0:9464"},
		"IPv6":           {"[::1]:9464", "[::1]:9464"},
	} {
		m := metricsServer{addr: tt.addr}
		if err := m.checkMetrics(newUp()); err != nil || m.addr != tt.want {
			t.Errorf("%s: %q, %v", name, m.addr, err)
		}
	}
}

func TestMetricsFlagsAreChecked(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no address":      {[]string{"--metrics-addr", "::1:9464"}, exitUsage, "where are the metrics?"},
		"negative":        {[]string{"--metrics-peers", "-1"}, exitUsage, "is negative"},
		"a taken address": {[]string{"--metrics-addr", taken.Addr().String()}, exitFailure, "choose another --metrics-addr"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, code := weft(t, append([]string{"up", "--open", "--relay", "127.0.0.1:1"}, tt.args...)...)
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, stderr %q", code, stderr)
			}
		})
	}
}
