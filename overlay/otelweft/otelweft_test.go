package otelweft_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlay/otelweft"
)

// recording returns a provider and what it has made so far.
func recording(t *testing.T) (*trace.TracerProvider, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) })
	return provider, exporter
}

// only returns the one span of a name.
func only(t *testing.T, exporter *tracetest.InMemoryExporter, name string) tracetest.SpanStub {
	t.Helper()
	var found []tracetest.SpanStub
	for _, s := range exporter.GetSpans() {
		if s.Name == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans %q", len(found), name)
	}
	return found[0]
}

// texts are attributes as they are read.
func texts(attrs []attribute.KeyValue) map[string]string {
	all := make(map[string]string)
	for _, a := range attrs {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// check compares some attributes.
func check(t *testing.T, attrs []attribute.KeyValue, want map[string]string) {
	t.Helper()
	got := texts(attrs)
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
}

func TestDialAndAcceptAreSpans(t *testing.T) {
	cfg := newNetwork(t)
	cfg.Name = "server"
	server := newNode(t, cfg)
	cfg.Name = "client"
	client := newNode(t, cfg)
	ln, err := server.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	provider, spans := recording(t)
	traced := otelweft.Listener(ln, provider)
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := traced.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
	c, err := otelweft.DialContext(client, provider)(ctx, "tcp", "server:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	theirs := <-accepted
	defer theirs.Close()
	parent.End()
	for _, conn := range []net.Conn{c, theirs} {
		if _, ok := overlay.PeerOf(conn); !ok {
			t.Errorf("nobody is at the other end of a %T", conn)
		}
	}

	dial := only(t, spans, "weft dial")
	if dial.Parent.SpanID() != parent.SpanContext().SpanID() || dial.SpanKind != api.SpanKindClient || dial.Status.Code != codes.Unset || len(dial.Events) != 0 {
		t.Errorf("the dial is %+v", dial)
	}
	check(t, dial.Attributes, map[string]string{
		"server.address": "server", "server.port": "80", "network.protocol.name": "weft",
		"network.peer.address": server.ID().String(), "network.peer.port": "80",
		"network.local.address": client.ID().String(), "weft.peer.names": `["server"]`,
	})
	accept := only(t, spans, "weft accept")
	if accept.Parent.IsValid() || accept.SpanContext.TraceID() == dial.SpanContext.TraceID() || accept.SpanKind != api.SpanKindServer {
		t.Errorf("the accept is %+v", accept)
	}
	check(t, accept.Attributes, map[string]string{
		"network.protocol.name": "weft", "network.peer.address": client.ID().String(),
		"network.local.address": server.ID().String(), "network.local.port": "80", "weft.peer.names": `["client"]`,
	})
	for _, s := range []tracetest.SpanStub{dial, accept} {
		if path := texts(s.Attributes)["weft.path"]; path == "" {
			t.Errorf("%s has no path", s.Name)
		}
	}
	if err := traced.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := traced.Accept(); !errors.Is(err, net.ErrClosed) || len(spans.GetSpans()) != 3 {
		t.Errorf("a closed listener: %v, %d spans", err, len(spans.GetSpans()))
	}
}

func TestADialThatFailsSaysWhatWasTried(t *testing.T) {
	cfg := newNetwork(t)
	server, client := newNode(t, cfg), newNode(t, cfg)
	key, err := overlay.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx      context.Context
		addr     string
		want     string
		attempts int
	}{
		"nobody":      {t.Context(), "nobody:80", "unknown_node", 1},
		"no listener": {t.Context(), server.ID().String() + ":81", "refused", 1},
		"cancelled":   {gone, key.Public().String() + ":81", "canceled", 1},
		"no address":  {t.Context(), "no address", "_OTHER", 0},
	} {
		t.Run(name, func(t *testing.T) {
			provider, spans := recording(t)
			c, err := otelweft.DialContext(client, provider)(tt.ctx, "tcp", tt.addr)
			if err == nil {
				_ = c.Close()
				t.Fatal("no error")
			}
			s := only(t, spans, "weft dial")
			if s.Status.Code != codes.Error || s.Status.Description != err.Error() || len(s.Events) != tt.attempts {
				t.Errorf("status %+v and %d events, for %v", s.Status, len(s.Events), err)
			}
			check(t, s.Attributes, map[string]string{"error.type": tt.want})
			for _, e := range s.Events {
				got := texts(e.Attributes)
				if e.Name != "weft dial attempt" || got["weft.target"] == "" || got["exception.message"] == "" || got["weft.path"] == "" {
					t.Errorf("event %+v", e)
				}
			}
		})
	}
}

// A fake dials with a result that is known before.
type fake struct {
	conn net.Conn
	err  error
}

func (f fake) DialContext(context.Context, string, string) (net.Conn, error) { return f.conn, f.err }

func (f fake) Accept() (net.Conn, error) { return f.conn, f.err }
func (f fake) Close() error              { return nil }
func (f fake) Addr() net.Addr            { return overlay.Addr{} }

func TestErrorTypes(t *testing.T) {
	attempt := func(errs ...error) error {
		e := new(overlay.DialError)
		for _, err := range errs {
			e.Attempts = append(e.Attempts, overlay.Attempt{Target: "t", Err: err})
		}
		return &net.OpError{Op: "dial", Net: "overlay", Err: e}
	}
	for want, err := range map[string]error{
		"no_relay":     attempt(errors.Join(overlay.ErrNoRelay, overlay.ErrNotAllowed)),
		"unknown_node": attempt(overlay.ErrUnknownNode),
		"not_allowed":  attempt(errors.Join(overlay.ErrNotAllowed, overlay.ErrRefused)),
		"refused":      attempt(overlay.ErrPeerRestarted, overlay.ErrRefused),
		"canceled":     attempt(context.Canceled),
		"unanswered":   attempt(context.DeadlineExceeded),
		"_OTHER":       errors.New(strings.Repeat("long ", 1000)),
	} {
		provider, spans := recording(t)
		if _, got := otelweft.DialContext(fake{err: err}, provider)(t.Context(), "tcp", "x:1"); !errors.Is(got, err) {
			t.Errorf("the error is %v", got)
		}
		s := only(t, spans, "weft dial")
		check(t, s.Attributes, map[string]string{"error.type": want})
		if len(s.Status.Description) > 1100 {
			t.Errorf("%d bytes of status", len(s.Status.Description))
		}
	}
}

// Conns that are none of the overlay, and spans that nobody wants, do no harm.
func TestOtherConnsAndNoProvider(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	provider, spans := recording(t)
	if c, err := otelweft.DialContext(fake{conn: a}, provider)(t.Context(), "tcp", "a:1"); c != a || err != nil {
		t.Errorf("dialled %v, %v", c, err)
	}
	if c, err := otelweft.Listener(fake{conn: b}, provider).Accept(); c != b || err != nil {
		t.Errorf("accepted %v, %v", c, err)
	}
	if _, err := otelweft.Listener(fake{err: io.ErrUnexpectedEOF}, provider).Accept(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the error is %v", err)
	}
	all := spans.GetSpans()
	if len(all) != 3 || all[2].Status.Code != codes.Error || slices.ContainsFunc(all, func(s tracetest.SpanStub) bool { return texts(s.Attributes)["network.peer.address"] != "" }) {
		t.Errorf("spans are %+v", all)
	}
	if c, err := otelweft.DialContext(fake{conn: a}, nil)(t.Context(), "tcp", "a:1"); c != a || err != nil {
		t.Errorf("without a provider: %v, %v", c, err)
	}
	if _, err := otelweft.DialContext(fake{err: io.EOF}, nil)(t.Context(), "tcp", "a:1"); !errors.Is(err, io.EOF) {
		t.Errorf("without a provider: %v", err)
	}
}
