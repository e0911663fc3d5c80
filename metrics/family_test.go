package metrics

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// gathered is what Prometheus gets from collectors: series as it writes them, such
// as weft_relay_nodes{network="weft"}, with their values.
func gathered(t *testing.T, cs ...prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range cs {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

// fill numbers a struct's counters and gauges, those in it included, and returns
// the field that each number is in.
func fill(v reflect.Value, name string, fields map[float64]string) {
	for f, fv := range v.Fields() {
		name, n := name+"."+f.Name, len(fields)+1
		switch {
		case f.Type == reflect.TypeFor[time.Duration]():
			fv.SetInt(int64(time.Duration(n) * time.Second))
		case f.Type.Kind() == reflect.Int:
			fv.SetInt(int64(n))
		case f.Type == reflect.TypeFor[uint64]():
			fv.SetUint(uint64(n))
		case f.Type.Kind() == reflect.Struct && strings.HasPrefix(f.Type.PkgPath(), "github.com/weftnet/weft/"):
			fill(fv, name, fields)
			continue
		default:
			continue
		}
		fields[float64(n)] = name
	}
}

// missing returns the fields whose numbers no metric has.
func missing(fields map[float64]string, all map[string]float64) (names []string) {
	for _, v := range all {
		delete(fields, v)
	}
	for _, name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Whoever adds to Stats adds to /metrics.
func TestEveryCounterOfARelayIsAMetric(t *testing.T) {
	var s relay.Stats
	fields := make(map[float64]string)
	fields[1], fields[2] = "", "" // which are everywhere
	fill(reflect.ValueOf(&s).Elem(), "Stats", fields)
	delete(fields, 1)
	delete(fields, 2)
	all := gathered(t, newCollector(relayFamilies, func() []relay.Stats { return []relay.Stats{s} }, func(*relay.Stats) string { return "weft" }))
	for _, name := range missing(fields, all) {
		t.Errorf("%s is not in relayFamilies", name)
	}
}

// The counters of the backbone are called what the fields of gossip.Stats are.
func TestCountersOfTheBackboneAreCalledAsTheirFields(t *testing.T) {
	var s relay.Stats
	fields := make(map[float64]string)
	fill(reflect.ValueOf(&s.Backbone).Elem(), "", fields)
	all := gathered(t, newCollector(backboneFamilies, func() []relay.Stats { return []relay.Stats{s} }, func(*relay.Stats) string { return "weft" }))
	if len(all) != reflect.TypeFor[gossip.Stats]().NumField() {
		t.Errorf("%d metrics", len(all))
	}
	for series, v := range all {
		name, _, _ := strings.Cut(strings.TrimPrefix(series, "weft_relay_backbone_"), "_total{")
		if got, want := strings.ReplaceAll(name, "_", ""), strings.ToLower(strings.TrimPrefix(fields[v], ".")); got != want {
			t.Errorf("%s is gossip.Stats.%s", series, want)
		}
	}
}

// Not all that a status says of relays and peers are metrics.
var unmeasured = map[string]string{
	"Peer.MinRTT":          "PeerStatus.RTT is there",
	"Peer.PacketsReceived": "what is lost is known of packets sent only",
}

// Whoever adds to Status adds to the node's metrics.
func TestEveryCounterOfANodeIsAMetric(t *testing.T) {
	st := overlay.Status{
		Relays: []overlay.RelayStatus{{Addr: "relay:1", ID: 1, Up: true, Home: true}},
		Peers:  []overlay.PeerStatus{{Peer: overlay.Peer{ID: 2}}},
	}
	fields := map[float64]string{0: "", 1: "", 2: ""}
	fill(reflect.ValueOf(&st).Elem(), "Status", fields)
	fill(reflect.ValueOf(&st.Relays[0]).Elem(), "Relay", fields)
	fill(reflect.ValueOf(&st.Peers[0]).Elem(), "Peer", fields)
	st.Relays[0].ID, st.Peers[0].ID = 1, 2
	for _, n := range []float64{0, 1, 2} {
		delete(fields, n)
	}
	all := gathered(t, NodeConfig{MaxPeers: 1}.collect(func() overlay.Status { return st }))
	for _, name := range missing(fields, all) {
		if unmeasured[name] == "" {
			t.Errorf("%s is not in nodeFamilies, nor unmeasured", name)
		}
	}
}

// OpenMetrics leaves out the end of counters' names, which must not make one of two.
func TestNamesStayApartWithoutTotal(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range listed() {
		name := strings.TrimSuffix(f.name, "_total")
		if seen[name] {
			t.Errorf("two metrics are %s", name)
		}
		seen[name] = true
		if strings.HasSuffix(f.name, "_total") != (f.kind == "counter") || !strings.HasSuffix(f.help, ".") {
			t.Errorf("%s is a %s: %s", f.name, f.kind, f.help)
		}
	}
}
