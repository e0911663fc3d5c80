package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/frame"
	"github.com/weftnet/weft/internal/simnet"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// preface is how a dialler of a relay's network begins a link.
func (w *world) preface(h *host) []byte {
	hello := w.hello(h, 77)
	b := append([]byte("WEFT"), 1, 0)
	b = append(b, hello.Network[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(hello.Node))
}

// Strangers say that something long is about to follow, and then nothing follows: as
// a frame, as a first packet, as an HTTP request. What is kept for them is what has
// come, and buffers of links; there are as many as one address may have.
func TestLengthsThatNothingFollows(t *testing.T) {
	const strangers, places = 60, 12
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{
			MaxLinksPerAddress: places, MaxPrefacesPerAddress: places, MaxHTTPPerAddress: places,
		})
		b := w.bystanders(r)
		hello := w.preface(r)
		long := func(kind byte) []byte { return append(bytes.Clone(hello), 1<<4|kind, 16, 0xff, 0xff) }
		beginnings := [][]byte{
			long(0), long(1), long(2),
			append(long(0), make([]byte, 30_000)...),
			[]byte("GET / HTTP/1.1\r\nContent-Length: 99999999999\r\nX: "),
			[]byte("GET /link HTTP/1.1\r\nHost: x\r\n"),
			[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00"),
			hello[:10], {0xff, 0xff, 0xff, 0xff}, nil,
		}
		b.withstand(assault{
			play: func(ctx context.Context) {
				for i := range strangers {
					c := w.stream("stranger", r)
					defer c.Close()
					w.wg.Go(func() { _, _ = io.Copy(io.Discard, c) }) // the answer to the preface
					_, _ = c.Write(beginnings[i%len(beginnings)])
				}
				<-ctx.Done()
			},
			may: []cost{
				{"MaxLinksPerAddress", places, perLink + frame.MaxPacket},
				{"MaxPrefacesPerAddress", places, 4 << 10},
				{"MaxHTTPPerAddress", places, 64 << 10},
			},
		})
		if s := r.Stats(); s.Links > places+2 || s.Prefaces > places || s.HTTP > places || s.RefusedBusy+s.RefusedAddress == 0 {
			w.Errorf("limits were not kept, or not reached: %+v", s)
		}
		time.Sleep(relay.DefaultHandshakeTimeout + time.Second)
		if s := r.Stats(); s.Links != 2 || s.Prefaces != 0 || s.HTTP != 0 {
			w.Errorf("something is left: %+v", s)
		}
	})
}

// A member sends garbage to another, over the relay of both: of all kinds of packets,
// with all lengths. The victim drops it and keeps its link to the relay, and so
// do its sessions.
func TestGarbageForANodeEndsNoLink(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim, mallory := w.node("victim", overlay.Config{}, r), w.node("mallory", overlay.Config{}, r)
		b := w.bystanders(r).befriend(w, victim, r)
		link := victim.Status().Relays[0]
		was := victim.RelayHost().Endpoint.Session(r.ID())
		sent := 0
		b.withstand(assault{play: func(ctx context.Context) {
			rng := rand.New(rand.NewPCG(1, 2))
			for ctx.Err() == nil {
				packet := make([]byte, rng.IntN(600))
				for i := range packet {
					packet[i] = byte(rng.Uint32())
				}
				if len(packet) > 2 { // what looks like a packet at first
					packet[0] = []byte{0xc0, 0xd0, 0x40, 0x44, 0x60, 0xff}[rng.IntN(6)]
					packet[1] = byte(rng.IntN(3))
				}
				if w.send(mallory, r, addressed(mallory.ID(), victim.ID(), packet)) == nil {
					sent++
				}
				time.Sleep(2 * time.Millisecond)
			}
		}})
		if got := victim.Status().Relays[0]; !got.Up || got.Since != link.Since || victim.RelayHost().Endpoint.Session(r.ID()) != was {
			w.Errorf("the link to the relay is another: %+v, it was %+v", got, link)
		}
		if st := victim.Status(); len(st.Peers) != 2 || sent < 1000 {
			w.Errorf("%d packets of garbage, peers %+v", sent, st.Peers)
		}
		if h := victim.RelayHost().Endpoint.Handshakes(); h.Unfinished != 0 {
			w.Errorf("garbage began handshakes: %+v", h)
		}
	})
}

// A member asks for conns to thousands of ports on which nobody listens: each is
// refused, and nothing remains of it.
func TestAMemberAsksForAllPorts(t *testing.T) {
	const ports, atOnce = 2000, 50
	inWorld(t, func(w *world) {
		r := w.relay("relay", &relay.Server{})
		victim, mallory := w.node("victim", overlay.Config{}, r), w.node("mallory", overlay.Config{}, r)
		b := w.bystanders(r).befriend(w, victim, r)
		before := victim.Status()
		b.withstand(assault{play: func(ctx context.Context) {
			todo, done := make(chan int), make(chan struct{})
			for range atOnce {
				go func() {
					for n := range todo {
						if _, err := mallory.Dial(w.Context(), fmt.Sprintf("%v:%d", victim.ID(), n)); !errors.Is(err, overlay.ErrRefused) {
							w.Errorf("port %d: %v", n, err)
						}
					}
					done <- struct{}{}
				}()
			}
			for n := range ports {
				todo <- 1 + n
			}
			close(todo)
			for range atOnce {
				<-done
			}
		}})
		after := victim.Status()
		if got := after.NoListener - before.NoListener; got != ports || len(after.Ports) != len(before.Ports) {
			w.Errorf("%d of %d conns were refused; ports %v", got, ports, after.Ports)
		}
		for _, p := range after.Peers {
			if p.ID == mallory.ID() && p.Conns != 0 {
				w.Errorf("%d conns are left", p.Conns)
			}
		}
	})
}

// Somebody sits at the address of a relay, answers in its name or with refusals, and
// goes away after a while. A node does not hold it against the address.
func TestAnImpostorAtARelaysAddress(t *testing.T) {
	for status, name := range []string{"takes everything", "another version", "another network", "busy", "shutting down", "unknown"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				other := w.relay("other", &relay.Server{})
				ln, err := w.net.Listen("relay:9999")
				if err != nil {
					w.Fatal(err)
				}
				var got []*simnet.Conn
				over := make(chan struct{})
				go func() {
					defer close(over)
					for {
						c, err := ln.Accept()
						if err != nil {
							return
						}
						got = append(got, c)
						answer := binary.BigEndian.AppendUint64(append([]byte("WEFT"), 1, byte(status)), uint64(other.ID()))
						_ = c.WritePreface(answer)
						_ = c.WriteFrames([]*frame.Frame{addressed(other.ID(), 0, []byte("garbage"))})
					}
				}()
				victim := w.start("victim", overlay.Config{Relays: []string{"relay:9999"}})
				time.Sleep(5 * time.Minute)
				_ = ln.Close()
				<-over
				for _, c := range got {
					_ = c.Close()
				}
				if up := victim.Status().Relays[0].Up; up || len(got) == 0 {
					w.Errorf("up: %v; the impostor had %d conns", up, len(got))
				}
				r := w.relay("relay", &relay.Server{})
				began := time.Now()
				w.ready(victim)
				if took := time.Since(began); took > 30*time.Second {
					w.Errorf("the relay was used %v after the impostor had gone", took)
				}
				if net.JoinHostPort("relay", "9999") != r.addr {
					w.Errorf("the relay is at %s", r.addr)
				}
			})
		})
	}
}
