package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/webpage"
	"github.com/weftnet/weft/metrics"
	"github.com/weftnet/weft/overlay"
)

// A metricsServer is where a node's metrics are: the flags, and what they begin.
type metricsServer struct {
	addr  string // empty: nowhere
	peers int
}

// metricsFlags adds the flags.
func (m *metricsServer) metricsFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.addr, "metrics-addr", "", "`address` for /metrics, /healthz and /readyz over HTTP, such as :9464 for this machine alone; 0.0.0.0:9464 is for everybody who can reach it (default none)")
	f.IntVar(&m.peers, "metrics-peers", 0, "how many peers have metrics of their own, by node ID (default none)")
}

// checkMetrics refuses what makes no sense, and says where to listen.
func (m *metricsServer) checkMetrics(cmd *cobra.Command) error {
	if m.peers < 0 {
		return usage(cmd, errors.New("how many peers have metrics of their own? --metrics-peers is negative"))
	}
	if m.addr == "" {
		return nil
	}
	if !strings.Contains(m.addr, ":") {
		m.addr = ":" + m.addr
	}
	host, port, err := net.SplitHostPort(m.addr)
	if err != nil {
		return usage(cmd, fmt.Errorf("where are the metrics? Say --metrics-addr :PORT or HOST:PORT: %w", err))
	}
	if host == "" {
		m.addr = net.JoinHostPort("127.0.0.1", port)
	}
	return nil
}

// serveMetrics serves the node's metrics until stop is called, if the flags say so.
func (m *metricsServer) serveMetrics(cmd *cobra.Command, node *overlay.Node, log logrus.FieldLogger) (stop func(), err error) {
	if err := m.checkMetrics(cmd); err != nil {
		return nil, err
	}
	if m.addr == "" {
		return func() {}, nil
	}
	page, err := metrics.Handler(version(), log, metrics.NodeConfig{MaxPeers: m.peers}.New(node))
	if err != nil {
		return nil, err
	}
	s, err := webpage.Serve(cmd.Context(), webpage.Config{Handler: metricsPages(node, page), Addr: m.addr, Public: true, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("no metrics: %w; choose another --metrics-addr", err)
	}
	log.Infof("metrics at %smetrics", s.URL())
	return s.Close, nil
}

// errNotRegistered ends what /readyz says of each relay.
var errNotRegistered = errors.New("others cannot find this node yet")

// metricsPages serves a node's metrics and health.
func metricsPages(node *overlay.Node, page http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", page)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		now, cancel := context.WithCancelCause(context.Background())
		cancel(errNotRegistered) // it says how things are, and does not wait
		if err := node.WaitReady(now); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
