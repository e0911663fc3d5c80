// Package netmon tells which addresses this machine can be reached at, which
// gateway it uses, and when that changes or the machine wakes up.
//
// On Linux the kernel says so (rtnetlink(7)); elsewhere, and where the kernel
// refuses, as in some containers, the addresses are looked at every two seconds.
// Nothing is sent to any network: routes are looked up, and sockets connected
// that send nothing.
package netmon
