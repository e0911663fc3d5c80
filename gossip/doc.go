// Package gossip keeps what relays know about nodes: which node is attached to
// which relay, under which names. The [Directory] is that knowledge, in memory
// and bounded. A relay fills it with the nodes whose identity a session has
// proven to it, and answers lookups from it.
package gossip
