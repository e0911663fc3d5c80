// Package metrics tells Prometheus about nodes and relays.
//
//	registry := prometheus.NewRegistry()
//	registry.MustRegister(metrics.NewNode(node))
//	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
//
// [NewNode] is for an overlay.Node, [NewRelay] for a relay.Server. [Handler] makes
// the whole handler for programs that have no registry of their own, together with
// the metrics of the Go runtime and the process. A relay serves it on its own port,
// to those whom relay.Server.MetricsFrom names:
//
//	server := &relay.Server{Host: node}
//	server.Metrics, err = metrics.Handler(node.Name(), log, metrics.NewRelay(server))
//
// All metrics are listed in docs/metrics.md, with alerts worth having;
// packaging/grafana/weft.json is a dashboard. Their names, labels and meanings are
// kept from version to version.
//
// Nothing is counted twice: collectors read what nodes and relays count anyway, when
// they are asked, and cost nothing in between. No metric has a label by peer, unless
// [NodeConfig].MaxPeers asks for some. Multiple goroutines may use collectors at once,
// and they may be asked after the node or relay has closed.
//
// It is a package apart because of its libraries: who imports overlay or relay alone
// gets none of them.
package metrics
