package hostile

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/handshake"
	"github.com/weftnet/weft/internal/wire"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// A downgrader stands on the way and replaces bytes of what a client offers. The
// keys of first packets are public, so that he can open and seal them.
type downgrader struct {
	network  [32]byte
	old, new string
	packets  int // that were opened
	changed  int // of them
}

// edit returns a frame with a client's first packets changed.
func (d *downgrader) edit(f *frame.Frame) *frame.Frame {
	var out []byte
	for rest := f.Packet(); len(rest) > 0; {
		h, header, payload, after, err := wire.ParseHeader(rest)
		if err != nil || h.Space != wire.SpaceInitial {
			out = append(out, rest...)
			break
		}
		rest = after
		read, _ := handshake.InitialKeys(d.network, h.Dst, true)
		plain, err := read.Open(nil, header, payload, uint64(h.Number))
		if err != nil { // not the first flight
			out = append(append(out, header...), payload...)
			continue
		}
		d.packets++
		if bytes.Contains(plain, []byte(d.old)) {
			d.changed++
		}
		plain = bytes.ReplaceAll(plain, []byte(d.old), []byte(d.new))
		_, write := handshake.InitialKeys(d.network, h.Dst, false)
		out = append(out, write.Seal(header[:len(header):len(header)], header, plain, uint64(h.Number))...)
	}
	g := addressed(f.Src(), f.Dst(), out)
	f.Release()
	return g
}

// A relay takes out of a node's offer what it does not like: what both sides
// authenticate in the end is what each has seen, so that no session comes about. A
// relay that changes nothing, but could have, is not noticed.
func TestARelayDowngradesAnOffer(t *testing.T) {
	for name, d := range map[string]downgrader{
		"nothing":                       {old: "weft/1/", new: "weft/1/"},
		"the post-quantum key exchange": {old: "\x11\xec", new: "\x1a\x1a"},
		"the first cipher suites":       {old: "\x13\x01\x13\x02", new: "\x1a\x1a\x1a\x1a"},
		"TLS 1.3":                       {old: "\x03\x04", new: "\x03\x03"},
		"the protocol's version":        {old: "weft/1/", new: "weft/0/"},
		"the transport parameters":      {old: "\x00\x39", new: "\x1a\x1a"},
		"the reliability layer":         {old: "native", new: "yamuxx"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.relay("relay", &relay.Server{})
				client, server := w.node("alice", overlay.Config{}, r), w.node("bob", overlay.Config{}, r)
				ln, err := server.Listen(7)
				if err != nil {
					w.Fatal(err)
				}
				defer ln.Close()
				d.network = client.RelayHost().Credentials.Network().ID()
				w.onPath(client, r, &onPath{up: func(f *frame.Frame) []*frame.Frame {
					if f.Dst() == server.ID() {
						f = d.edit(f)
					}
					return []*frame.Frame{f}
				}})
				ctx, cancel := context.WithTimeout(w.Context(), 15*time.Second)
				defer cancel()
				c, err := client.Dial(ctx, server.ID().String()+":7")
				if (err == nil) != (d.old == d.new) || d.packets == 0 || d.changed == 0 {
					w.Errorf("%d of %d first packets were changed; the dial: %v", d.changed, d.packets, err)
				}
				if err == nil {
					_ = c.Close()
					return
				}
				if talksTo(client, server.ID()) || talksTo(server, client.ID()) {
					w.Error("there is a session")
				}
			})
		})
	}
}
