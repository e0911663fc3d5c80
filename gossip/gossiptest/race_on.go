//go:build race

package gossiptest

// Race says that the race detector watches. It finds that mesh reads a peer's
// nickname without a lock when a conn ends, while a topology update writes it;
// tests that end conns of mesh while others go on skip themselves then.
const Race = true
