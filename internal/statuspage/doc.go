// Package statuspage is the web page that shows what a node or a relay is doing:
// the network as a graph, traffic over time, sessions, dials and throttled nodes.
//
// The page is three files that are embedded, with nothing from elsewhere, and asks for
// a [Snapshot] each second. A [Handler] answers with it, read-only, under any prefix.
// It knows of nodes nothing but the [Source] that it is made with.
package statuspage
