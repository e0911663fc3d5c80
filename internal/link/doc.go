// Package link moves frames between two neighbours: a node and its relay, or
// two nodes of which one can reach the other. A [Link] runs on a [FrameConn],
// which is a TCP-like conn ([NewStreamConn]) or a simulated one; it has a
// bounded send queue that drops and counts instead of blocking, and notices
// within seconds when the other end is gone. A [Dialer] keeps a link up.
//
// Links neither encrypt nor authenticate: the packets inside frames are sealed
// already, and the node IDs in the preface and in frames are claims that the
// switch above checks.
package link
