// Package uplink is a node's side of its relays. An [Uplink] keeps one relay
// reachable: a link that a [link.Dialer] brings back when it breaks, a session
// with the relay that moves onto each new link, and a control stream. A [Set]
// has two of them in use, of all the relays that it knows: home, where the node
// is registered, and a spare that takes over when home ends. See tend.go for
// which are in use, and home.go for which is home.
//
// Next to nothing is polled: an uplink acts when a link comes up or breaks, when
// its session or control stream ends, and after a failure when its back-off is
// over; home and spare are measured every half minute.
package uplink
