//go:build unix

package integration

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A figure measures a program at a port, more being better.
type figure struct {
	name, unit string
	target     int // which of the targets
	measure    func(port string) float64
}

// TestFigures measures programs on loopback, through forwards on a direct path, and
// through forwards over a relay, in turns, and prints the medians as the table of
// docs/forwarding.md. It takes minutes, and a machine that does nothing else.
func TestFigures(t *testing.T) {
	if os.Getenv("WEFT_DOCS") == "" {
		t.Skip("WEFT_DOCS=1 measures what docs/forwarding.md shows")
	}
	w := newWebServer(t)
	l := w.forwardLab
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	w.ctx = ctx
	s := l.newFigures(w)
	iperf, iperfAddr := l.iperf()
	redis, pg := l.redis(), l.startPostgres()
	pgbench := l.tool("pgbench", filepath.Join(pg.bin, "pgbench"))
	at := func(port string) []string { return []string{"-h", "127.0.0.1", "-p", port, "-U", "postgres"} }
	l.run(nil, pgbench, append(at(portOf(t, pg.addr)), "-q", "-i", "-s", "1", "postgres")...)
	targets := []string{iperfAddr, redis, pg.addr, w.http1, w.http2}
	bulk := func(args ...string) func(string) float64 {
		return func(port string) float64 {
			return l.measure(iperf, port, append(args, "-t", "1")...).End.Received.BitsPerSecond / 1e6
		}
	}
	figures := []figure{
		{"iperf3, to the node", "Mbit/s", 0, bulk()},
		{"iperf3, from the node", "Mbit/s", 0, bulk("-R")},
		{"iperf3, 4 conns", "Mbit/s", 0, bulk("-P", "4")},
		{"redis GET, 1 client", "1/s", 1, s.redis("-c", "1", "-n", "5000")},
		{"redis GET, 50 clients", "1/s", 1, s.redis("-c", "50", "-n", "30000")},
		{"redis GET, 50 clients, pipelines of 16", "1/s", 1, s.redis("-c", "50", "-n", "200000", "-P", "16")},
		{"redis GET, a new conn for each, 20 clients", "1/s", 1, s.redis("-c", "20", "-n", "4000", "-k", "0")},
		{"pgbench, selects, 4 clients", "1/s", 2, func(port string) float64 {
			return s.find(`tps = ([0-9.]+) `, l.run(nil, pgbench, append(at(port), "-n", "-S", "-c", "4", "-T", "2", "postgres")...))
		}},
		{"pgbench, TPC-B, 4 clients", "1/s", 2, func(port string) float64 {
			return s.find(`tps = ([0-9.]+) `, l.run(nil, pgbench, append(at(port), "-n", "-c", "4", "-T", "2", "postgres")...))
		}},
		{"h2load HTTP/1.1, 20 clients", "1/s", 3, s.h2load("--h1", "-n", "10000", "-c", "20")},
		{"h2load HTTP/2, 20 clients, 10 streams", "1/s", 4, s.h2load("-n", "20000", "-c", "20", "-m", "10")},
	}
	direct := &forwardLab{lab: l.lab, vars: append(slices.Clone(l.vars), overlay.EnvRelayOnly+"=")}
	ways := [][]string{targets, direct.to(targets...), nil}
	for i := range targets { // nodes of one name would be confused
		port := strconv.Itoa(2000 + i)
		l.forward(1, "forward", "--name", "far-"+strconv.Itoa(i), "-R", port+"="+targets[i])
		ways[2] = append(ways[2], l.forward(1, "forward", "-L", "0=far-"+strconv.Itoa(i)+":"+port)[0])
	}
	s.table(figures, ways)
}

type figures struct {
	*webServer
	rounds int
}

func (l *forwardLab) newFigures(w *webServer) *figures {
	return &figures{webServer: w, rounds: 5}
}

// table prints the medians.
func (s *figures) table(all []figure, ways [][]string) {
	s.t.Helper()
	var b strings.Builder
	b.WriteString("\n| | loopback | direct path | | over a relay | |\n|---|---|---|---|---|---|\n")
	for _, f := range all {
		results := make([][]float64, len(ways))
		for round := range s.rounds + 1 {
			for i, way := range ways {
				v := f.measure(portOf(s.t, way[f.target]))
				if round > 0 { // the first one makes sessions and finds paths
					results[i] = append(results[i], v)
				}
			}
		}
		base := median(results[0])
		fmt.Fprintf(&b, "| %s, %s | %.0f | %.0f | %.0f %% | %.0f | %.0f %% |\n", f.name, f.unit, base,
			median(results[1]), 100*median(results[1])/base, median(results[2]), 100*median(results[2])/base)
		s.t.Log(f.name, results)
	}
	s.t.Log(b.String())
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// find returns the number that a pattern finds.
func (s *figures) find(pattern, text string) float64 {
	s.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		s.t.Fatalf("no %s in %s", pattern, text)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

func (s *figures) redis(args ...string) func(port string) float64 {
	return func(port string) float64 {
		out := s.run(nil, "redis-benchmark", append(args, "-p", port, "-t", "get", "--csv")...)
		rows, err := csv.NewReader(bufio.NewReader(strings.NewReader(out))).ReadAll()
		if err != nil || len(rows) < 2 {
			s.t.Fatalf("redis-benchmark says %s, %v", out, err)
		}
		v, _ := strconv.ParseFloat(rows[1][1], 64)
		return v
	}
}

func (s *figures) h2load(args ...string) func(port string) float64 {
	h2load := s.tool("h2load")
	return func(port string) float64 {
		return s.find(`, ([0-9.]+) req/s`, s.run(nil, h2load, append(args, "http://127.0.0.1:"+port+"/small")...))
	}
}
