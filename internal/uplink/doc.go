// Package uplink is a node's side of a relay. An [Uplink] keeps one relay
// reachable: a link that a [link.Dialer] brings back when it breaks, a session
// with the relay that moves onto each new link, and a control stream on which
// the node is registered. A [Set] is the uplinks to all configured relays.
//
// Nothing is polled: an uplink acts when a link comes up or breaks, when its
// session or control stream ends, and after a failure when its back-off is
// over.
package uplink
