// Package control is the small protocol between a node and its relay: who the
// node is known as, where another node is, what address the relay sees, and
// what the relay has to say unasked. It runs on one stream of the session
// between the two, which the node opens, so both ends are authenticated and
// nothing in it needs sealing. A node signs only what its relay passes on.
//
// # Framing
//
// The stream carries messages back to back:
//
//	0..1  length of the body in bytes, big endian, at most 16384
//	2..3  kind, big endian
//	4..7  request number, big endian; 0 in messages that nobody asked for
//	8..   body: one CBOR map (RFC 8949) with unsigned integer keys
//
// A node numbers its requests as it likes, except with 0; the relay answers
// each request once, with the request's number, in the order of the requests.
// Whoever receives a body key it does not know ignores it. A relay answers a
// request of an unknown kind with Failed (code 1); every other message of an
// unknown kind is ignored. A message that breaks the framing, is not
// well-formed CBOR, repeats a key, nests deeper than 4, or exceeds one of the
// limits below makes the receiver reset the stream with [CodeMalformed].
//
// # Messages
//
//	kind  name        from   body
//	1     Register    node   1: names [text], 2: candidates [text], 3: epoch uint, 4: sequence uint,
//	                          5: signature bytes(64), 6: certificate bytes
//	2     Registered  relay  1: observed address text, 2: relay name text, 3: relay version text
//	3     Lookup      node   exactly one of 1: node ID uint, 2: key bytes(32), 3: name text
//	4     Found       relay  1: records [{1: node ID uint, 2: key bytes(32), 3: names [text]}]
//	5     NotFound    relay  empty
//	6     Observe     node   empty
//	7     Observed    relay  1: observed address text
//	8     Failed      relay  1: code uint, 2: reason text, 3: epoch uint
//	64    Throttled   relay  1: frames dropped uint, 2: bytes per second uint, 3: packets per second uint
//	65    GoingAway   relay  1: grace in milliseconds uint
//	66    Relays      relay  1: relays [{1: node ID uint, 2: addresses [text]}]
//
// An absent key means zero, empty text or an empty list. Limits: 16 names of
// 253 bytes, 32 candidates and addresses of 128 bytes, 8 records, reasons of
// 256 bytes, relay names and versions of 253 and 64 bytes, certificates of 6144
// bytes, 64 relays with 1 to 4 addresses each.
package control
