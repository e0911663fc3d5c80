// Package integration tests relays, servers and clients as processes of their
// own that meet on loopback TCP, and does to them what happens to processes:
// they are killed, stopped, restarted and lied to. A relay or a server is the
// test binary itself in another role; the client mostly is the test.
//
// The package needs signals and so a Unix. With the race detector the one big
// transfer is shorter, unless WEFT_BIG=1 asks for all of it.
package integration
