// Package otelweft makes OpenTelemetry spans of what a node dials and accepts.
//
//	client := &http.Client{Transport: &http.Transport{
//		DialContext: otelweft.DialContext(node, nil),
//	}}
//	ln, err := node.Listen(80)
//	...
//	err = http.Serve(otelweft.Listener(ln, nil), handler)
//
// A dial is a span "weft dial" of kind client, a child of the one in its context. It
// lasts as long as the dial, and has an event for each way that was tried in vain, as
// overlay.DialError lists them, if no way was found. An accepted conn is a span "weft
// accept" of kind server and of no length, and the root of a trace of its own. Packet
// conns make no spans.
//
// Spans stay in this process: nothing about them goes over the wire, neither to the peer
// nor to relays, and so a dial and the accept at its other end are in two traces.
// Programs that want one trace send its context in what they say over the conn, as
// the instrumentations of HTTP and gRPC do.
//
// # Attributes
//
// Where the semantic conventions of OpenTelemetry have a name, that is used:
//
//	server.address, server.port                 what was dialled
//	network.protocol.name                       "weft"
//	network.peer.address, network.peer.port     the other node's ID and port
//	network.local.address, network.local.port   this node's
//	error.type                                  why there is no conn: unknown_node, no_relay, not_allowed,
//	                                            refused, unanswered, canceled, _OTHER
//	weft.peer.names                             the names in the other node's certificate
//	weft.path                                   the way to it, in words, at that moment
//
// The event "weft dial attempt" has weft.target, weft.path and exception.message. Errors
// and paths have addresses of relays and peers in them: who may see the traces learns those.
//
// It is a module of its own, so that programs that do not use OpenTelemetry do not get it.
package otelweft

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftnet/weft/overlay"
)

// scope is the name under which spans are made.
const scope = "github.com/weftnet/weft/overlay/otelweft"

// The names of spans, events and attributes that are weft's own.
const (
	dialSpan     = "weft dial"
	acceptSpan   = "weft accept"
	attemptEvent = "weft dial attempt"

	targetKey = attribute.Key("weft.target")
	pathKey   = attribute.Key("weft.path")
	namesKey  = attribute.Key("weft.peer.names")
)

// protocol is network.protocol.name.
const protocol = "weft"

// maxText bounds an error, path or address in a span, in bytes. Names are short as they are.
const maxText = 1024

// A ContextDialer dials: an [overlay.Node], for instance.
type ContextDialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// DialContext returns a function that dials as d does and makes a span of each dial.
// The conns are d's, unwrapped. provider makes the spans; nil is the global one of
// package otel. Multiple goroutines may call the function.
func DialContext(d ContextDialer, provider trace.TracerProvider) func(ctx context.Context, network, addr string) (net.Conn, error) {
	tracer := tracerOf(provider)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, span := tracer.Start(ctx, dialSpan, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(dialled(addr)...))
		defer span.End()
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			fail(span, err)
			return nil, err
		}
		if span.IsRecording() {
			span.SetAttributes(connected(c)...)
		}
		return c, nil
	}
}

// Listener returns a listener that accepts from ln and makes a span of each conn, and
// of each error but that of a closed listener. The conns are ln's, unwrapped. provider
// is as for [DialContext].
func Listener(ln net.Listener, provider trace.TracerProvider) net.Listener {
	return &listener{ln, tracerOf(provider)}
}

type listener struct {
	net.Listener
	tracer trace.Tracer
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if errors.Is(err, net.ErrClosed) {
		return nil, err
	}
	_, span := l.tracer.Start(context.Background(), acceptSpan, trace.WithSpanKind(trace.SpanKindServer), trace.WithNewRoot())
	defer span.End()
	if err != nil {
		fail(span, err)
		return nil, err
	}
	if span.IsRecording() {
		span.SetAttributes(connected(c)...)
	}
	return c, nil
}

func tracerOf(provider trace.TracerProvider) trace.Tracer {
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	return provider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
}

// dialled describes what is dialled.
func dialled(addr string) []attribute.KeyValue {
	attrs := []attribute.KeyValue{semconv.NetworkProtocolName(protocol)}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return append(attrs, semconv.ServerAddress(short(addr)))
	}
	attrs = append(attrs, semconv.ServerAddress(short(host)))
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		attrs = append(attrs, semconv.ServerPort(int(n)))
	}
	return attrs
}

// connected describes a conn. Of one that is none of the overlay's it says nothing.
func connected(c net.Conn) []attribute.KeyValue {
	peer, ok := overlay.PeerOf(c)
	if !ok {
		return nil
	}
	attrs := []attribute.KeyValue{semconv.NetworkProtocolName(protocol), semconv.NetworkPeerAddress(peer.ID.String())}
	if a, ok := c.RemoteAddr().(overlay.Addr); ok {
		attrs = append(attrs, semconv.NetworkPeerPort(int(a.Port)))
	}
	if a, ok := c.LocalAddr().(overlay.Addr); ok {
		attrs = append(attrs, semconv.NetworkLocalAddress(a.Node.String()), semconv.NetworkLocalPort(int(a.Port)))
	}
	if len(peer.Names) > 0 {
		attrs = append(attrs, namesKey.StringSlice(peer.Names))
	}
	if path, ok := overlay.PathOf(c); ok {
		attrs = append(attrs, pathKey.String(short(path)))
	}
	return attrs
}

// fail says in a span why there is no conn, and what was tried.
func fail(span trace.Span, err error) {
	if !span.IsRecording() {
		return
	}
	if tried, ok := errors.AsType[*overlay.DialError](err); ok {
		for _, a := range tried.Attempts {
			attrs := []attribute.KeyValue{targetKey.String(short(a.Target)), semconv.ExceptionMessage(short(a.Err.Error()))}
			if a.Path != "" {
				attrs = append(attrs, pathKey.String(short(a.Path)))
			}
			span.AddEvent(attemptEvent, trace.WithAttributes(attrs...))
		}
	}
	span.SetAttributes(errorType(err))
	span.SetStatus(codes.Error, short(err.Error()))
}

// errorType is error.type: few words, so that spans can be counted by it.
func errorType(err error) attribute.KeyValue {
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, overlay.ErrNoRelay):
		return semconv.ErrorTypeKey.String("no_relay")
	case errors.Is(err, overlay.ErrUnknownNode):
		return semconv.ErrorTypeKey.String("unknown_node")
	case errors.Is(err, overlay.ErrNotAllowed):
		return semconv.ErrorTypeKey.String("not_allowed")
	case errors.Is(err, overlay.ErrRefused):
		return semconv.ErrorTypeKey.String("refused")
	case errors.Is(err, context.Canceled):
		return semconv.ErrorTypeKey.String("canceled")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, overlay.ErrPeerLost), timeout != nil && timeout.Timeout():
		return semconv.ErrorTypeKey.String("unanswered")
	}
	return semconv.ErrorTypeOther
}

// short bounds a text, which others may have had a say in, and makes it valid UTF-8, which
// exporters insist on.
func short(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.ToValidUTF8(s, "")
}
