// Package linkdial dials links, whatever the scheme of their address: over TCP
// or in WebSockets, with or without TLS, and through HTTP proxies.
package linkdial
