// Package matrix tests what programs do over weft: net/http, HTTP/2, WebSocket
// and gRPC, unmodified, on the listeners and dialers of every reliability layer
// and on every way in which nodes get connected. A subtest's name is its cell:
//
//	go test -run 'TestMatrix/native/relayed/http2/trailers' ./matrix
//
// The cells about conns alone are in stream/streamtest, under the same names.
// Layers that can run inside testing/synctest bubbles do, in fake time. yamux
// cannot and runs in real time, on the same simulated wires.
package matrix
