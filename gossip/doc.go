// Package gossip is what relays know and tell each other about nodes: which node
// is attached to which relay, under which names. The [Directory] is that
// knowledge, in memory and bounded; a relay fills it with the nodes whose
// identity a session has proven to it, and answers lookups from it. The
// [Backbone] keeps the directories of many relays the same and carries datagrams
// between relays that have no link to each other.
package gossip
