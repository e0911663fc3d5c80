package metrics

import (
	"fmt"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"
)

// maxScrapes is how many requests a [Handler] answers at one time: a few Prometheus
// servers and a person. Each takes a snapshot of all peers, so that more of them
// would be a way to keep the process busy.
const maxScrapes = 4

// Handler returns a handler that serves collectors, the Go runtime's metrics, the
// process's and weft_build_info with the program's version. Requests beyond four at
// one time are answered with status 503. A metric that cannot be had is logged and
// left out. It asks nobody who they are: see relay.Server.MetricsFrom for a relay,
// and listen on loopback or behind a check otherwise.
//
// The error says which metrics two collectors both have, as those of two nodes of one
// network would: such belong into registries with different labels, by
// prometheus.WrapRegistererWith.
func Handler(version string, log logrus.FieldLogger, cs ...prometheus.Collector) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	cs = append([]prometheus.Collector{
		newBuildInfo(version), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}, cs...)
	for _, c := range cs {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: collectors of one handler must differ: %w", err)
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog{log},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		EnableOpenMetrics:   true,
	}), nil
}

// buildInfo is the metric of [Handler] about the program.
var buildInfo = struct {
	name, help string
	labels     []string
}{"weft_build_info", "Always 1. The labels are the program's version and the Go release that built it.", []string{"version", "goversion"}}

func newBuildInfo(version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: buildInfo.name, Help: buildInfo.help,
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

// An errorLog is a promhttp.Logger.
type errorLog struct{ logrus.FieldLogger }

// Println implements promhttp.Logger.
func (l errorLog) Println(v ...any) { l.Warn(fmt.Sprintln(v...)) }
