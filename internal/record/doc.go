// Package record is what a node signs about itself for the directory that
// relays share: at which relay it is attached, under which names, and where
// else it may be reached. The node makes the signature when it registers, its
// relay passes it on, and every other relay can check it, so that no relay can
// claim a node that is not its own.
package record
