package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// plotted are the panels of the plot, in reading order.
var plotted = []struct {
	m     int
	title string
}{
	{bulk, "One stream, MB/s: more is better"},
	{parallel, "16 streams, MB/s: more is better"},
	{bulkCPU, "Processor time per GB: less is better"},
	{requests, "HTTP/2 requests/s: more is better"},
	{rttP50, "Round trip of 64 bytes: less is better"},
	{openP50, "Open a stream, one byte echoed: less is better"},
}

// Lengths of the plot, in pixels.
const (
	plotColumns = 2
	panelWidth  = 470
	barHeight   = 11
	barPitch    = 15
	panelHead   = 40
	panelFoot   = 16
	namesWidth  = 125
	barsWidth   = 275
	margin      = 10
)

// plotStyle has a background of its own, so that the picture can be read on pages
// of either colour.
const plotStyle = `<style>
.bg{fill:#ffffff}text{font:11px sans-serif;fill:#24292f}.title{font-weight:bold;font-size:12px}
.peer{fill:#8c959f}.weft{fill:#0969da}.line{stroke:#57606a;stroke-width:1}
@media (prefers-color-scheme:dark){.bg{fill:#0d1117}text{fill:#e6edf3}.peer{fill:#6e7681}.weft{fill:#58a6ff}.line{stroke:#8b949e}}
</style>`

// writePlot draws bars on a logarithmic scale: each transport's median ratio to
// TCP in the same round, in one panel for each metric.
func writePlot(w io.Writer, f form) {
	tcp, _ := find(f.rows, "tcp")
	height := panelHead + barPitch*len(f.rows) + panelFoot
	lines := (len(plotted) + plotColumns - 1) / plotColumns
	width, total := plotColumns*panelWidth+2*margin, lines*height+2*margin
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="ratios to TCP, both ends in %s">`+"\n%s\n", width, total, width, total, f.name, plotStyle)
	fmt.Fprintf(w, `<rect class="bg" width="%d" height="%d"/>`+"\n", width, total)
	for i, p := range plotted {
		fmt.Fprintf(w, `<g transform="translate(%d,%d)">`+"\n", margin+i%plotColumns*panelWidth, margin+i/plotColumns*height)
		fmt.Fprintf(w, `<text class="title" x="0" y="14">%s</text>`+"\n", p.title)
		writePanel(w, f.rows, tcp, p.m)
		fmt.Fprintln(w, "</g>")
	}
	fmt.Fprintln(w, "</svg>")
}

// writePanel draws the bars of one metric, from the line that stands for TCP.
func writePanel(w io.Writer, rows []row, tcp row, m int) {
	low, high := 0.5, 2.0
	for _, r := range rows {
		if v := ratio(r, tcp, m); v > 0 { // not for NaN
			low, high = min(low, v), max(high, v)
		}
	}
	at := func(v float64) float64 {
		return namesWidth + barsWidth*math.Log(v/low)/math.Log(high/low)
	}
	one, bottom := at(1), panelHead+barPitch*len(rows)
	fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="middle">TCP = 1</text>`+"\n", one, panelHead-8)
	for i, r := range rows {
		y := panelHead + barPitch*i
		fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="end">%s</text>`, namesWidth-6, y+barHeight-2, r.name)
		v := ratio(r, tcp, m)
		if v > 0 {
			class := "peer"
			if strings.HasPrefix(r.name, "weft") {
				class = "weft"
			}
			x := at(v)
			fmt.Fprintf(w, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`, class, min(x, one), y, math.Abs(x-one), barHeight)
		}
		fmt.Fprintf(w, `<text x="%d" y="%d">%s</text>`+"\n", namesWidth+barsWidth+6, y+barHeight-2, number(v))
	}
	fmt.Fprintf(w, `<line class="line" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", one, panelHead-4, one, bottom)
}
