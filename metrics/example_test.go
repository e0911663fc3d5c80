package metrics_test

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weftnet/weft/metrics"
	"github.com/weftnet/weft/overlay"
)

// Two nodes in one process have metrics with different labels.
func ExampleNewNode() {
	registry := prometheus.NewRegistry()
	for _, name := range []string{"front", "back"} {
		node, err := overlay.New(overlay.Config{Open: true, Name: name})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer node.Close()
		prometheus.WrapRegistererWith(prometheus.Labels{"part": name}, registry).MustRegister(metrics.NewNode(node))
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
}
