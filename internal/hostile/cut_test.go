package hostile

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/sctp"
)

// A relay lets the first half of an answer pass and nothing after it, or cuts the
// links. The client never takes it for the whole, whose end is that of the conn.
// integration/matrix does the same to net/http, over all layers.
func TestARelayCutsAnAnswer(t *testing.T) {
	for name, layer := range map[string]stream.Layer{"native": native.Layer{}, "sctp": sctp.Layer{}} {
		for how, cut := range map[string]func(w *world, victim, r *host){
			"silently": func(w *world, victim, r *host) {
				w.onPath(victim, r, &onPath{up: func(f *frame.Frame) []*frame.Frame {
					f.Release()
					return nil
				}})
			},
			"for good":   func(_ *world, _, r *host) { _ = r.Server.Close() },
			"at its end": func(_ *world, victim, _ *host) { go victim.Close() },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				inWorld(t, func(w *world) {
					r, other := w.relay("relay", &relay.Server{}), w.relay("other", &relay.Server{})
					cfg := overlay.Config{Reliability: layer, PeerTimeout: 5 * time.Second}
					victim, client := w.node("victim", cfg, r), w.node("mallory", cfg, r)
					b := w.bystanders(other)
					w.serve(victim, func(c net.Conn) {
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
						_, _ = io.Copy(io.Discard, c) // the rest never comes
						_ = c.(stream.Conn).Reset(stream.CodeApplication)
					})
					b.withstand(assault{play: func(ctx context.Context) {
						c, err := client.Dial(ctx, victim.ID().String()+":7")
						if err != nil {
							w.Error(err)
							return
						}
						defer c.Close()
						head := make([]byte, 40)
						if n, err := c.Read(head); err != nil {
							w.Errorf("%q, %v", head[:n], err)
						}
						cut(w, victim, r)
						_ = c.SetReadDeadline(time.Now().Add(patience))
						if _, err := io.WriteString(c, "more, please"); err != nil {
							w.Error(err)
						}
						if rest, err := io.ReadAll(c); err == nil || errors.Is(err, io.EOF) {
							w.Errorf("the answer seems to end with %q: %v", rest, err)
						}
					}, may: []cost{{"what two nodes without a relay keep", 2, perSession}}})
				})
			})
		}
	}
}
