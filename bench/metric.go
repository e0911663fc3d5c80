package main

import (
	"math"
	"slices"
)

// A metric is a column of the table.
type metric struct {
	name  string // also the key in the JSON report
	unit  string
	title string
}

// The metrics, in the order of the columns. MB and GB are powers of ten.
var metrics = []metric{
	bulk:        {"bulk", "MB/s", "one stream, 64 KiB writes"},
	bulkCPU:     {"cpu", "s/GB", "processor time of both ends during bulk"},
	bulkAllocs:  {"allocs", "1/MB", "heap allocations of both ends during bulk"},
	parallel:    {"par", "MB/s", "16 streams at once, 64 KiB writes"},
	rttP50:      {"rtt50", "µs", "64 bytes there and back, median"},
	rttP99:      {"rtt99", "µs", "64 bytes there and back, 99th percentile"},
	openP50:     {"open", "µs", "open a stream and get one byte echoed, median"},
	startup:     {"start", "ms", "both nodes made and ready, with the relay between them if there is one, median"},
	cold:        {"cold", "ms", "the first dial of nodes that have just started, and one byte echoed, median"},
	requests:    {"h2c", "1/s", "small JSON requests over one HTTP/2 conn with 64 callers"},
	idleHeap:    {"heap", "B", "heap and stacks of both ends per idle stream that has carried a byte"},
	idleGo:      {"gor", "1", "goroutines of both ends per idle stream"},
	sessionHeap: {"sess", "B", "heap and stacks of both ends, and of the relay, per session without streams between two of many nodes"},
}

const (
	bulk = iota
	bulkCPU
	bulkAllocs
	parallel
	rttP50
	rttP99
	openP50
	startup
	cold
	requests
	idleHeap
	idleGo
	sessionHeap
	numMetrics
)

// A sample has one value for each metric.
type sample [numMetrics]float64

// notMeasured stands for a value that there is not.
var notMeasured = math.NaN()

// failed is the sample of a round that ended with an error.
func failed() (s sample) {
	for m := range s {
		s[m] = notMeasured
	}
	return s
}

// medians returns the median of each metric over the rounds, and the spread:
// the distance between the extremes as a share of the median.
func medians(rounds []sample) (median, spread sample) {
	for m := range median {
		var values []float64
		for _, r := range rounds {
			if !math.IsNaN(r[m]) {
				values = append(values, r[m])
			}
		}
		slices.Sort(values)
		median[m] = quantile(values, 0.5)
		if median[m] != 0 {
			spread[m] = (values[len(values)-1] - values[0]) / median[m]
		}
	}
	return median, spread
}

// quantile picks the value at q, 0 to 1, of a sorted slice; 0 if it is empty.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}
