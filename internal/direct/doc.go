// Package direct finds direct paths between two nodes that have a session over
// a relay: which addresses they tell each other (SPEC.md section 5.16), and when
// both send to them, so that the NATs and firewalls before them take what comes
// for an answer.
//
// It follows libp2p's DCUtR and RFC 8445 in that both sides begin at the same
// time, told over the relay, and in what a candidate is. It differs in that the
// probes are the session's own path challenges, so nothing is added that an
// attacker could forge, and in that an attempt that failed is repeated with one
// side, then the other beginning first: some NATs let through only one order.
//
// An [Agent] is a state machine without I/O, clock or goroutines. Its owner tells
// it what happened and calls Advance when it is time, and the agent calls back
// what is to be sent.
package direct
