package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// A form is how the two sides were run, and what was measured then.
type form struct {
	name string // such as "one process"
	rows []row
}

// plotName is the file of a form's plot, as seen from the document.
func (f form) plotName() string {
	return "pictures/bench-" + strings.ReplaceAll(f.name, " ", "-") + ".svg"
}

// writeFiles writes bench.md, and a plot for each form, into a folder.
func writeFiles(dir string, forms []form, o options) error {
	if err := os.MkdirAll(filepath.Join(dir, "pictures"), 0o755); err != nil { //nolint:gosec // everybody may look
		return err
	}
	var doc strings.Builder
	writeMarkdown(&doc, forms, o, time.Now())
	if err := os.WriteFile(filepath.Join(dir, "bench.md"), []byte(doc.String()), 0o644); err != nil { //nolint:gosec // a document that everybody may read
		return err
	}
	for _, f := range forms {
		var plot strings.Builder
		writePlot(&plot, f)
		if err := os.WriteFile(filepath.Join(dir, f.plotName()), []byte(plot.String()), 0o644); err != nil { //nolint:gosec // a picture that everybody may see
			return err
		}
	}
	return nil
}

// writeMarkdown writes the whole document.
func writeMarkdown(w io.Writer, forms []form, o options, now time.Time) {
	fmt.Fprintf(w, `# Benchmark

Written by `+"`make bench`"+` on %s: %s, %s/%s, %d CPUs. Everything runs on loopback. The transports took turns, %d times each; the tables show medians,
and medians of the ratios within a round. Processor time and memory are those of both ends and of what is between them. %s.

`, now.UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.rounds, versions())
	fmt.Fprint(w, "| column | unit | is |\n|---|---|---|\n")
	for _, m := range metrics {
		fmt.Fprintf(w, "| %s | %s | %s |\n", m.name, m.unit, m.title)
	}
	for _, f := range forms {
		fmt.Fprintf(w, "\n## Both ends in %s\n\n![what was measured as multiples of TCP](%s)\n\n", f.name, f.plotName())
		writeMarkdownTable(w, "", f.rows, func(r row, m int) float64 {
			if unmeasured(r, m) {
				return notMeasured
			}
			return r.median[m]
		})
		if tcp, ok := find(f.rows, "tcp"); ok {
			fmt.Fprint(w, "\nRatios to TCP in the same round:\n\n")
			writeMarkdownTable(w, " / tcp", f.rows, func(r row, m int) float64 { return ratio(r, tcp, m) })
		}
		fmt.Fprint(w, "\nTargets:\n\n| weft is measured by | target | reached | met |\n|---|---|---|---|\n")
		for _, t := range targets {
			v := judge(t, f.rows)
			fmt.Fprintf(w, "| %s: %s | %s | %s | %s |\n", t.who, t.what, v.target, v.reached, v.met)
		}
	}
}

// writeMarkdownTable writes a line for each row and a column for each metric.
func writeMarkdownTable(w io.Writer, suffix string, rows []row, value func(r row, m int) float64) {
	fmt.Fprint(w, "| |")
	for _, m := range metrics {
		fmt.Fprintf(w, " %s |", m.name)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---|", len(metrics)))
	for _, r := range rows {
		fmt.Fprintf(w, "| %s%s |", r.name, suffix)
		for m := range metrics {
			fmt.Fprintf(w, " %s |", number(value(r, m)))
		}
		fmt.Fprintln(w)
	}
}

// versions names the modules that weft was compared with.
func versions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "The peers' versions are those in bench/go.mod"
	}
	var list []string
	for _, d := range info.Deps {
		for _, p := range peers {
			if d.Path == p {
				list = append(list, strings.TrimPrefix(d.Path, "github.com/")+" "+d.Version)
			}
		}
	}
	return "Peers: " + strings.Join(list, ", ")
}

// peers are the modules whose versions matter.
var peers = []string{
	"github.com/Arceliar/ironwood",
	"github.com/hashicorp/yamux",
	"github.com/libp2p/go-libp2p",
	"github.com/pion/sctp",
	"github.com/quic-go/quic-go",
	"github.com/weaveworks/mesh",
}
