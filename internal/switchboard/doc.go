// Package switchboard moves datagrams by 64-bit node ID between the links of
// one node: it delivers what is for the node itself, on a relay forwards what
// is for others, and refuses everything else, telling the sender why.
//
// A [Port] is one attached link. It begins unbound: the neighbour may only talk
// to this node. [Switch.Bind] says that the neighbour has proven who it is; then
// frames from it are forwarded and frames to it go there. A [Route] finds the
// way to a peer anew for each frame.
package switchboard
