// Package wslink carries the frames of a link in WebSocket messages (RFC 6455),
// so that a relay can stand behind an ordinary HTTPS front and nodes get
// through where nothing else passes.
//
// Preface and frames are what they are on TCP, cut into binary messages. A
// writer puts whole frames into a message; a reader takes the messages'
// contents as one stream of bytes, and where one message ends means nothing to
// it. A close frame ends a direction as FIN does.
package wslink
