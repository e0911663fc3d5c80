package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"text/tabwriter"
)

// A row is what was measured of one transport.
type row struct {
	name           string
	rounds         []sample // one for each round, also if it failed
	good           int      // rounds that did not fail
	median, spread sample
}

// baselines are the transports that ratios are given against.
var baselines = []string{"tcp", "tls"}

// writeTable prints the medians, then each row as a multiple of the baselines.
func writeTable(w io.Writer, rows []row) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, cell func(m int) string) {
		fmt.Fprintf(tw, "%s\t", name)
		for m := range metrics {
			fmt.Fprintf(tw, "%s\t", cell(m))
		}
		fmt.Fprintln(tw)
	}
	line("", func(m int) string { return metrics[m].name })
	line("", func(m int) string { return metrics[m].unit })
	for _, r := range rows {
		line(r.name, func(m int) string { return number(r.median[m]) })
	}
	for _, base := range baselines {
		b, ok := find(rows, base)
		if !ok {
			continue
		}
		for _, r := range rows {
			if r.name == base {
				continue
			}
			line(r.name+" / "+base, func(m int) string { return number(ratio(r, b, m)) })
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	return writeTargets(w, rows)
}

// writeTargets prints the targets of which something was measured.
func writeTargets(w io.Writer, rows []row) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	headed := false
	for _, t := range targets {
		v := judge(t, rows)
		if v.met == "-" {
			continue
		}
		if !headed {
			fmt.Fprint(tw, "\nweft\tof\ttarget\treached\tmet\n")
			headed = true
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", t.what, t.who, v.target, v.reached, v.met)
	}
	return tw.Flush()
}

func find(rows []row, name string) (row, bool) {
	for _, r := range rows {
		if r.name == name {
			return r, true
		}
	}
	return row{}, false
}

// number prints about three significant digits.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// ratio is the median of r's ratios to base in the same round; NaN if there is
// none.
func ratio(r, base row, m int) float64 {
	var ratios []float64
	for i := range min(len(r.rounds), len(base.rounds)) {
		if v, b := r.rounds[i][m], base.rounds[i][m]; b > 0 && !math.IsNaN(v) {
			ratios = append(ratios, v/b)
		}
	}
	if len(ratios) == 0 {
		return math.NaN()
	}
	slices.Sort(ratios)
	return quantile(ratios, 0.5)
}

// writeJSON prints one object: the machine, the units, and for each form and
// transport the median and spread of each metric.
func writeJSON(w io.Writer, forms []form, rounds int) error {
	type value struct {
		Median float64 `json:"median"`
		Spread float64 `json:"spread"`
	}
	type transport struct {
		Name    string           `json:"name"`
		Ends    string           `json:"ends"`
		Metrics map[string]value `json:"metrics"`
	}
	report := struct {
		Go         string            `json:"go"`
		Platform   string            `json:"platform"`
		CPUs       int               `json:"cpus"`
		Rounds     int               `json:"rounds"`
		Units      map[string]string `json:"units"`
		Transports []transport       `json:"transports"`
	}{runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, runtime.NumCPU(), rounds, map[string]string{}, nil}
	for _, m := range metrics {
		report.Units[m.name] = m.unit
	}
	for _, f := range forms {
		for _, r := range f.rows {
			t := transport{r.name, f.name, map[string]value{}}
			for i, m := range metrics {
				t.Metrics[m.name] = value{r.median[i], r.spread[i]}
			}
			report.Transports = append(report.Transports, t)
		}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(report)
}
