package metrics

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var update = flag.Bool("update", false, "write the list of metrics to docs/metrics.md")

const (
	document  = "../docs/metrics.md"
	dashboard = "../packaging/grafana/weft.json"
)

// An entry is one metric as it is listed.
type entry struct {
	group, name, kind, help string
	labels                  []string
}

// listed returns all metrics of this package.
func listed() []entry {
	all := []entry{{"The program", buildInfo.name, "gauge", buildInfo.help, buildInfo.labels}}
	all = list(all, "Relays", relayFamilies)
	all = list(all, "Nodes", nodeFamilies)
	return list(all, "Peers of a node, if asked for", peerFamilies)
}

func list[S any](all []entry, group string, families []family[S]) []entry {
	kinds := map[prometheus.ValueType]string{prometheus.CounterValue: "counter", prometheus.GaugeValue: "gauge"}
	for _, f := range families {
		all = append(all, entry{group, f.name, kinds[f.kind], f.help, f.allLabels()})
	}
	return all
}

// table is the list in Markdown.
func table() string {
	var b strings.Builder
	group := ""
	for _, e := range listed() {
		if e.group != group {
			group = e.group
			fmt.Fprintf(&b, "\n### %s\n\n| name | type | labels | is |\n|---|---|---|---|\n", group)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.name, e.kind, strings.Join(e.labels, ", "), strings.ReplaceAll(e.help, "|", `\|`))
	}
	return b.String() + "\n"
}

var generated = regexp.MustCompile(`(?s)(<!-- begin: [^\n]* -->\n)(.*)(<!-- end -->\n)`)

// docs/metrics.md lists what there is; -update writes it.
func TestDocumentListsAllMetrics(t *testing.T) {
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	parts := generated.FindSubmatchIndex(b)
	if parts == nil {
		t.Fatalf("%s has no room for the list", document)
	}
	want := string(b[:parts[4]]) + table() + string(b[parts[5]:])
	switch {
	case string(b) == want:
	case !*update:
		t.Errorf("%s lists other metrics than there are; run go test ./metrics -run Lists -update", document)
	default:
		if err := os.WriteFile(document, []byte(want), 0o600); err != nil {
			t.Error(err)
		}
	}
}

var (
	weftName   = regexp.MustCompile(`\bweft_\w+`)
	otherName  = regexp.MustCompile(`\b(?:go|process)_\w+`)
	codeOfDocs = regexp.MustCompile("(?s)```promql\n(.*?)```")
)

// checkNames complains about metrics in PromQL that there are not.
func checkNames(t *testing.T, where, promql string) {
	t.Helper()
	known := make(map[string]bool)
	for _, e := range listed() {
		known[e.name] = true
	}
	names := weftName.FindAllString(promql, -1)
	if len(names)+len(otherName.FindAllString(promql, -1)) == 0 {
		t.Errorf("%s asks for nothing: %s", where, promql)
	}
	for _, name := range names {
		if !known[name] {
			t.Errorf("%s asks for %s, which there is not", where, name)
		}
	}
}

func TestAlertsAskForWhatThereIs(t *testing.T) {
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	blocks := codeOfDocs.FindAllSubmatch(b, -1)
	if len(blocks) == 0 {
		t.Errorf("%s has no alerts", document)
	}
	for _, m := range blocks {
		checkNames(t, document, string(m[1]))
	}
}

// A panel of the dashboard, or a row with panels.
type panel struct {
	ID         int
	Type       string
	Title      string
	Panels     []panel
	Datasource struct{ UID string }
	GridPos    struct{ H, W, X, Y int }
	Targets    []struct{ Expr, RefID string }

	FieldConfig struct{ Defaults struct{ Unit string } }
}

func TestDashboardAsksForWhatThereIs(t *testing.T) {
	b, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title, UID string
		Panels     []panel
		Templating struct {
			List []struct{ Name, Type string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" || d.Title == "" || d.UID == "" {
		t.Errorf("variables %+v, title %q, uid %q", d.Templating.List, d.Title, d.UID)
	}
	ids, places, rows := make(map[int]bool), make(map[[2]int]string), 0
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels are number %d", p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := places[at]; other != "" || at[0] >= 24 {
					t.Fatalf("panel %q is where %q is, or off the page", p.Title, other)
				}
				places[at] = p.Title
			}
		}
		if p.Type == "row" {
			rows++
			continue
		}
		if p.Datasource.UID != "${datasource}" || p.FieldConfig.Defaults.Unit == "" || p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d, %q: data source %q, unit %q", p.ID, p.Title, p.Datasource.UID, p.FieldConfig.Defaults.Unit)
		}
		for _, target := range p.Targets {
			checkNames(t, p.Title, target.Expr)
		}
	}
	if rows < 2 {
		t.Errorf("%d rows", rows)
	}
}
