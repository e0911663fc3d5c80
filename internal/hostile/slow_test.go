package hostile

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// Many say everything very slowly, in each phase of all that a relay's port speaks.
// Each is cut off in time, they have no more than the places of one address, and
// somebody else gets in at once all the while.
func TestSlownessInEveryPhase(t *testing.T) {
	const each, places = 12, 6
	const (
		preface   = relay.DefaultPrefaceTimeout
		handshake = relay.DefaultHandshakeTimeout
		request   = 30 * time.Second // of net/http, with its body
		idle      = time.Minute      // the same, between requests
	)
	upgrade := strings.Join([]string{
		"GET /link HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", "",
	}, "\r\n")
	const http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	phases := map[string]slowness{
		"before the first byte":      {within: preface},
		"first bytes":                {drip: "WEFT", within: preface},
		"preface":                    {first: func(p []byte) string { return string(p[:12]) }, drip: "\x00", within: preface},
		"a link that says nothing":   {first: func(p []byte) string { return string(p) }, within: handshake},
		"frames of a link":           {first: func(p []byte) string { return string(p) }, drip: "\x00", within: handshake},
		"first packets":              {first: func(p []byte) string { return string(p) + "\x10\x10\x04\xb0" }, drip: "\x00", within: handshake},
		"request line":               {first: plain("GET "), drip: "/", within: preface},
		"header":                     {first: plain("GET / HTTP/1.1\r\nHost: x\r\n"), drip: "X: y\r\n", within: preface},
		"body":                       {first: plain("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"), drip: "z", within: request},
		"between requests":           {first: plain("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), within: idle},
		"second request":             {first: plain("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET "), drip: "/", within: idle},
		"HTTP/2 without a request":   {first: plain(http2), within: idle},
		"HTTP/2 with pings":          {first: plain(http2), drip: "\x00\x00\x08\x06\x00\x00\x00\x00\x00........", within: idle},
		"HTTP/2 headers without end": {first: plain(http2 + "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82"), drip: "\x00\x00\x00\x09\x00\x00\x00\x00\x01", within: idle},
		"WebSocket upgrade":          {first: plain(upgrade[:len(upgrade)-2]), drip: "X: y\r\n", within: preface},
		"WebSocket without preface":  {first: plain(upgrade), within: preface},
		"WebSocket in its preface":   {first: plain(upgrade + "\x82\xfe\x00\x16\x00\x00\x00\x00"), drip: "W", within: preface},
	}
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{
			MaxLinksPerAddress: places, MaxPrefacesPerAddress: places, MaxHTTPPerAddress: places,
		})
		b := w.bystanders(r)
		known := r.Stats()
		b.withstand(assault{
			play: func(context.Context) {
				var all sync.WaitGroup
				for name, p := range phases {
					for range each {
						all.Go(func() {
							if took := w.dawdle(name, r, p); took > p.within+time.Second {
								w.Errorf("%s: cut off after %v, not %v", name, took, p.within)
							}
						})
					}
				}
				time.Sleep(leadIn)
				s := r.Stats()
				if most := places * len(phases); s.Links-known.Links > most || s.Prefaces > most || s.HTTP > most || s.RefusedAddress == 0 || s.RefusedHTTP == 0 {
					w.Errorf("%d links, %d prefaces and %d HTTP conns", s.Links-known.Links, s.Prefaces, s.HTTP)
				}
				began := time.Now()
				w.node("friend", overlay.Config{}, r).Close()
				if took := time.Since(began); took > 2*time.Second {
					w.Errorf("another got in after %v", took)
				}
				all.Wait()
				time.Sleep(time.Second)
			},
			may: []cost{
				{"MaxLinksPerAddress", places * len(phases), perLink},
				{"MaxHTTPPerAddress", places * len(phases), perLink},
				{"the strangers' own ends", each * len(phases), 16 << 10},
				{"a newcomer", 1, perNode + perLink + perSimulatedConn},
			},
		})
		if s := r.Stats(); s.Links != known.Links || s.Prefaces != 0 || s.HTTP != 0 {
			w.Errorf("something is left: %+v", s)
		}
	})
}

// slowness is a way to be slow.
type slowness struct {
	first  func(preface []byte) string // at once
	drip   string                      // over and over, a byte a second
	within time.Duration               // cut off by then
}

// dawdle is slow and returns after how long it was cut off.
func (w *world) dawdle(from string, to *host, s slowness) time.Duration {
	c := w.stream(from, to)
	defer c.Close()
	began := time.Now()
	w.wg.Go(func() {
		if s.first != nil {
			_, _ = io.WriteString(c, s.first(w.preface(to)))
		}
		for i := 0; s.drip != ""; i++ {
			time.Sleep(time.Second)
			if _, err := c.Write([]byte{s.drip[i%len(s.drip)]}); err != nil {
				return
			}
		}
	})
	_, _ = io.Copy(io.Discard, c)
	return time.Since(began)
}

// plain begins a conn without anything of weft's.
func plain(s string) func([]byte) string {
	return func([]byte) string { return s }
}
