// Package netns tests direct paths on the kernel's own NATs: relays and nodes
// are processes in network namespaces, which veth pairs join and nftables
// divides.
//
// A lab is an internet with two sites. Nothing of it is connected to the
// machine's own network: its devices are made inside its namespaces, its
// addresses are private ones and ones reserved for tests, and no namespace has
// a way out. A lab's namespaces go when its test ends, and those of a test
// binary that was killed when the next one begins.
//
// The package needs Linux, root, and the commands ip, nft and conntrack; where
// one is missing its tests are skipped and say so.
package netns
