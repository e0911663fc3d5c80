package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// network is the label that all metrics of nodes and relays have.
const network = "network"

// A family is one metric of a source whose state is an S: what it is called, what it
// means, and how to read it.
type family[S any] struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string // besides network
	values     func(s *S, put put)
}

// put is called with each value of a family and its labels, in the family's order.
type put func(value float64, labels ...string)

type number interface {
	~int | ~uint64 | ~float64
}

// gauge is a family of one value that goes up and down.
func gauge[S any, N number](name, help string, value func(*S) N) family[S] {
	return family[S]{name: name, help: help, kind: prometheus.GaugeValue, values: one(value)}
}

// counter is a family of one value that goes up only.
func counter[S any, N number](name, help string, value func(*S) N) family[S] {
	return family[S]{name: name, help: help, kind: prometheus.CounterValue, values: one(value)}
}

func one[S any, N number](value func(*S) N) func(*S, put) {
	return func(s *S, put put) { put(float64(value(s))) }
}

// A collector is a prometheus.Collector of families.
type collector[S any] struct {
	families []family[S]
	descs    []*prometheus.Desc // of families
	states   func() []S         // of the sources, at the moment
	network  func(*S) string
}

func newCollector[S any](families []family[S], states func() []S, network func(*S) string) *collector[S] {
	c := &collector[S]{families: families, states: states, network: network}
	for _, f := range families {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, f.allLabels(), nil))
	}
	return c
}

// allLabels are the names of a family's labels.
func (f *family[S]) allLabels() []string { return append([]string{network}, f.labels...) }

// Describe implements prometheus.Collector.
func (c *collector[S]) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		descs <- d
	}
}

// Collect implements prometheus.Collector. A series that is there already is left
// out, as Prometheus would otherwise take none at all.
func (c *collector[S]) Collect(metrics chan<- prometheus.Metric) {
	states := c.states()
	for i, f := range c.families {
		seen := make(map[string]bool)
		for j := range states {
			f.values(&states[j], func(value float64, labels ...string) {
				labels = append([]string{c.network(&states[j])}, labels...)
				for k, l := range labels {
					labels[k] = strings.ToValidUTF8(l, "\uFFFD") // which others may have named
				}
				key := strings.Join(labels, "\x00")
				if seen[key] {
					return
				}
				seen[key] = true
				m, err := prometheus.NewConstMetric(c.descs[i], f.kind, value, labels...)
				if err != nil {
					m = prometheus.NewInvalidMetric(c.descs[i], err)
				}
				metrics <- m
			})
		}
	}
}
