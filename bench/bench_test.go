package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// small keeps a whole run of the transports below a second or two.
var small = []string{"-rounds", "1", "-bytes", "2097152", "-time", "30ms", "-idle", "20", "-transports", "tcp,tls,weft"}

// tiny is enough to fill every column.
var tiny = budget{bytes: 2 << 20, time: 20 * time.Millisecond, idle: 10, crowd: 2}

// TestMain is the server's process in tests that need one.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	if err := obey(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func TestEveryTransportFillsEveryColumn(t *testing.T) {
	for _, tr := range append(transports(), farTransports()[:len(layers)]...) {
		t.Run(tr.Name(), func(t *testing.T) {
			t.Parallel() // what is measured does not matter here
			s, err := measureOnce(t.Context(), tr, options{budget: tiny}, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			checkSample(t, s)
		})
	}
}

func TestTransportsFillEveryColumnInTwoProcesses(t *testing.T) {
	for _, tr := range transports() {
		if _, ok := tr.(apart); !ok || !slices.Contains([]string{"tcp", "yamux-tls", "quic-go", "libp2p-relay-tls", "weft", "weft-udp"}, tr.Name()) {
			continue
		}
		t.Run(tr.Name(), func(t *testing.T) {
			t.Parallel() // what is measured does not matter here
			s, err := measureOnce(t.Context(), tr, options{budget: tiny, processes: true}, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			checkSample(t, s)
		})
	}
}

func TestServersProcessSaysWhatWentWrong(t *testing.T) {
	c, err := startChild(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.call(t.Context(), order{Do: doServe, Transport: "pigeon"}); err == nil || !strings.Contains(err.Error(), "pigeon") {
		t.Errorf("error %v does not name the transport", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.call(t.Context(), order{Do: doUsage}); err == nil {
		t.Error("a process that has ended obeys")
	}
}

func checkSample(t *testing.T, s sample) {
	t.Helper()
	for _, m := range []int{bulk, parallel, rttP50, rttP99, openP50, startup, cold, requests} {
		if s[m] <= 0 {
			t.Errorf("%s is %v, want more than 0", metrics[m].name, s[m])
		}
	}
	if s[rttP50] > s[rttP99] {
		t.Errorf("median round trip %v is above the 99th percentile %v", s[rttP50], s[rttP99])
	}
}

func TestTableHasRatiosAgainstBaselines(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), small, &out, t.Output()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bulk", "MB/s", "tls / tcp", "tcp / tls", "weft / tcp"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestFilesHaveTablesAndPlots(t *testing.T) {
	dir := t.TempDir()
	if err := run(t.Context(), append(small, "-both", "-out", dir), io.Discard, t.Output()); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(dir, "bench.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| weft |", "| weft / tcp |", "one process", "two processes", "| met |", "× tls |"} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("document lacks %q:\n%s", want, doc)
		}
	}
	for _, name := range []string{"pictures/bench-one-process.svg", "pictures/bench-two-processes.svg"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		bars := 0
		for d := xml.NewDecoder(f); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
				bars++
			}
		}
		if want := 1 + 3*len(plotted); bars != want {
			t.Errorf("%s has %d rectangles, want %d", name, bars, want)
		}
	}
}

func TestTargetsAreJudged(t *testing.T) {
	rows := make([]row, 3)
	for i, v := range []float64{10, 30, 20} {
		var s sample
		s[bulk] = v
		rows[i] = row{name: []string{"a", "b", "weft"}[i], rounds: []sample{s}, median: s}
	}
	others := []string{"a", "b"}
	for _, c := range []struct {
		target       target
		reached, met string
	}{
		{target{m: bulk, who: "weft", others: others, want: 0.6, atLeast: true}, "0.67", "yes"},
		{target{m: bulk, who: "weft", others: others, want: 0.7, atLeast: true}, "0.67", "no"},
		{target{m: bulk, who: "weft", others: others, want: 2}, "2.00", "yes"},
		{target{m: bulk, who: "weft", others: others, want: 1.9}, "2.00", "no"},
		{target{m: bulk, who: "weft", want: 20}, "20.0", "yes"},
		{target{m: cold, who: "weft", others: others, want: 2}, "-", "-"},
		{target{m: cold, who: "weft", want: 2}, "-", "-"},
		{target{m: idleGo, who: "weft", want: 0}, "0.00", "yes"},
		{target{m: bulk, who: "weft", others: []string{"c"}, want: 2}, "-", "-"},
		{target{m: bulk, who: "c", others: others, want: 2}, "-", "-"},
	} {
		if v := judge(c.target, rows); v.reached != c.reached || v.met != c.met {
			t.Errorf("%+v: reached %s, met %s; want %s and %s", c.target, v.reached, v.met, c.reached, c.met)
		}
	}
}

func TestTargetsNameTransports(t *testing.T) {
	for _, target := range targets {
		for _, name := range append(target.others, target.who) {
			if _, err := choose(transports(), name); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAFailedRoundIsLeftOut(t *testing.T) {
	rounds := []sample{failed(), failed(), {}}
	rounds[2][bulk] = 5
	if median, _ := medians(rounds); median[bulk] != 5 {
		t.Errorf("median %v, want 5", median[bulk])
	}
	base := row{rounds: []sample{{}, failed(), {}}}
	base.rounds[0][bulk], base.rounds[2][bulk] = 1, 10
	if got := ratio(row{rounds: rounds}, base, bulk); got != 0.5 {
		t.Errorf("ratio %v, want 0.5", got)
	}
}

func TestJSONNamesUnits(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), append(small, "-json", "-transports", "tcp"), &out, t.Output()); err != nil {
		t.Fatal(err)
	}
	var report struct {
		Units      map[string]string
		Transports []struct {
			Name    string
			Metrics map[string]struct{ Median float64 }
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil {
		t.Fatal(err)
	}
	if report.Units["bulk"] != "MB/s" || len(report.Transports) != 1 || report.Transports[0].Metrics["bulk"].Median <= 0 {
		t.Errorf("unexpected report:\n%s", out.String())
	}
}

func TestBadArgumentsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "0"}, {"-bytes", "1"}, {"-time", "0s"}, {"-idle", "0"}, {"-transports", "pigeon"}, {"-nonsense"}, {"-far", "-both"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestMedians(t *testing.T) {
	rounds := make([]sample, 3)
	rounds[0][bulk], rounds[1][bulk], rounds[2][bulk] = 30, 10, 20
	median, spread := medians(rounds)
	if median[bulk] != 20 || spread[bulk] != 1 {
		t.Errorf("median %v, spread %v; want 20 and 1", median[bulk], spread[bulk])
	}
	if median[rttP50] != 0 || spread[rttP50] != 0 {
		t.Error("a metric that is always 0 must stay 0")
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	r, base := row{rounds: make([]sample, 3)}, row{rounds: make([]sample, 3)}
	for i, v := range [][2]float64{{10, 100}, {30, 10}, {20, 10}} {
		r.rounds[i][bulk], base.rounds[i][bulk] = v[0], v[1]
	}
	if got := ratio(r, base, bulk); got != 2 {
		t.Errorf("ratio %v, want 2", got)
	}
	if got := ratio(r, base, cold); !math.IsNaN(got) {
		t.Errorf("ratio to nothing is %v, want NaN", got)
	}
}
