package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/weftnet/weft/overlay"
)

const (
	// worse is by how much an attack on others may slow anybody down.
	worse = 0.2
	// leadIn is how long an attack goes on before it is measured.
	leadIn = 2 * time.Second
	// warmUp is the transfer after which a session knows its path.
	warmUp = 3 * time.Second
	// measured is the length of a transfer, and trips the number of round trips.
	measured = 2 * time.Second
	trips    = 25
	// chunk is how much is written at a time.
	chunk = 16 << 10
	// share is what the friend of an attacked node offers, in bytes a second: it
	// shares the node's link with the attacker, and a fair share is half.
	share = bandwidth / 4
	// confidence is in each round trip, and nobody else may see it.
	confidence = "what bystanders say to each other is nobody's business"
)

// A pair is two honest nodes that talk.
type pair struct {
	w        *world
	name     string
	from, to *host
	rate     int // bytes a second that are offered; 0: as many as pass

	bulk, sink net.Conn // one direction
	talk, far  net.Conn // comes back
	sent       int      // of bulk
	direct     bool     // the path is to be direct
}

// A stretch is how a pair was off for a while.
type stretch struct {
	throughput float64 // bytes a second
	latency    time.Duration
}

// newPair connects two nodes and lets their session get to know its path.
func (w *world) newPair(from, to *host, rate int) *pair {
	w.Helper()
	w.secrets(confidence)
	p := &pair{w: w, name: from.name + " and " + to.name, from: from, to: to, rate: rate}
	p.bulk, p.sink = w.connect(from, to)
	p.talk, p.far = w.connect(from, to)
	w.wg.Go(func() { _, _ = io.Copy(p.far, p.far) })
	w.atEnd(func() { _, _, _, _ = p.bulk.Close(), p.sink.Close(), p.talk.Close(), p.far.Close() })
	p.direct = w.placed[from.name] != nil && w.placed[to.name] != nil
	p.transfer(warmUp)
	if p.isDirect() != p.direct {
		w.Fatalf("%s: a direct path: %v, want %v", p.name, p.isDirect(), p.direct)
	}
	return p
}

// connect makes a conn and returns both ends.
func (w *world) connect(from, to *host) (dialled, accepted net.Conn) {
	w.Helper()
	ln, err := to.Listen(0)
	if err != nil {
		w.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	dialled, err = from.Dial(ctx, ln.Addr().String())
	if err != nil {
		w.Fatalf("%s dials %s: %v", from.name, to.name, err)
	}
	accepted, err = ln.Accept()
	if err != nil {
		w.Fatal(err)
	}
	return dialled, accepted
}

// pattern is what bystanders send, over and over. Its length is a prime, so that
// what is in the wrong place is wrong.
var pattern = func() []byte {
	const length = 65521
	b := make([]byte, 0, length+chunk)
	for x := uint64(1); len(b) < length; x++ {
		b = binary.LittleEndian.AppendUint64(b, x*0xbf58476d1ce4e5b9^x>>3)
	}
	return append(b[:length], b[:chunk]...)
}()

// content returns the chunk of a flow that begins at off.
func content(off int) []byte { return pattern[off%(len(pattern)-chunk):][:chunk] }

// transfer sends for d and returns how many bytes a second have arrived, each of
// them right.
func (p *pair) transfer(d time.Duration) float64 {
	began, last, from := time.Now(), make(chan int, 1), p.sent
	_, _ = p.bulk.SetDeadline(began.Add(patience)), p.sink.SetDeadline(began.Add(patience))
	go func() {
		over := false
		for n := 0; !over; n += chunk {
			if over = time.Since(began) >= d; over {
				last <- n + chunk
			}
			if _, err := p.bulk.Write(content(from + n)); err != nil {
				p.w.Errorf("%s: write: %v", p.name, err)
				return
			}
			if p.rate > 0 {
				time.Sleep(time.Second * chunk / time.Duration(p.rate))
			}
		}
	}()
	b, got := make([]byte, chunk), 0
	for size := -1; got != size; {
		n, err := io.ReadFull(p.sink, b)
		if err != nil {
			p.w.Errorf("%s: %d bytes of a transfer arrived, and then: %v", p.name, got+n, err)
			break
		}
		if !bytes.Equal(b, content(from+got)) {
			p.w.Errorf("%s: something between bytes %d and %d is not what was sent", p.name, from+got, from+got+chunk)
		}
		got += n
		select {
		case size = <-last:
		default:
		}
	}
	p.sent += got
	return float64(got) / time.Since(began).Seconds()
}

// roundTrips makes some and returns their median.
func (p *pair) roundTrips() time.Duration {
	_ = p.talk.SetDeadline(time.Now().Add(patience))
	var took []time.Duration
	for range trips {
		began := time.Now()
		got := make([]byte, len(confidence))
		if _, err := io.WriteString(p.talk, confidence); err != nil {
			p.w.Errorf("%s: write: %v", p.name, err)
			break
		}
		if _, err := io.ReadFull(p.talk, got); err != nil || string(got) != confidence {
			p.w.Errorf("%s: a round trip gave %q, %v", p.name, got, err)
			break
		}
		took = append(took, time.Since(began))
	}
	if len(took) == 0 {
		return patience
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// measure returns how the pair is off for a while.
func (p *pair) measure() stretch {
	return stretch{throughput: p.transfer(measured), latency: p.roundTrips()}
}

// Bystanders are pairs of honest nodes.
type bystanders []*pair

// bystanders starts a pair at a relay, which the attack does not concern.
func (w *world) bystanders(relays ...*host) bystanders {
	w.Helper()
	a, b := w.node("alice", overlay.Config{}, relays...), w.node("bob", overlay.Config{}, relays...)
	return bystanders{w.newPair(a, b, 0)}
}

// befriend adds a node that talks to one that will be attacked.
func (b bystanders) befriend(w *world, victim *host, relays ...*host) bystanders {
	w.Helper()
	return append(b, w.newPair(w.node("friend", overlay.Config{}, relays...), victim, share))
}

// measure returns how all pairs are off at the same time.
func (b bystanders) measure() []stretch {
	all, done := make([]stretch, len(b)), make(chan struct{}, len(b))
	for i, p := range b {
		go func() {
			all[i] = p.measure()
			done <- struct{}{}
		}()
	}
	for range b {
		<-done
	}
	return all
}

// compare fails the test if one of the pairs is worse off than before.
func (b bystanders) compare(before, after []stretch) {
	for i, p := range b {
		p.w.Helper()
		p.w.Logf("%s: %v; under attack %v", p.name, before[i], after[i])
		if p.isDirect() != p.direct {
			p.w.Errorf("%s: the path has changed; a direct one: %v", p.name, p.isDirect())
		}
		for _, complaint := range after[i].worseThan(before[i]) {
			p.w.Errorf("%s: %s", p.name, complaint)
		}
	}
}

func (s stretch) String() string {
	return fmt.Sprintf("%.2f MB/s, round trips of %v", s.throughput/1e6, s.latency)
}

// worseThan says what is worse by more than it may be.
func (s stretch) worseThan(before stretch) (complaints []string) {
	if s.throughput < before.throughput*(1-worse) {
		complaints = append(complaints, fmt.Sprintf("%.0f bytes a second under attack, %.0f without", s.throughput, before.throughput))
	}
	if float64(s.latency) > float64(before.latency)*(1+worse) {
		complaints = append(complaints, fmt.Sprintf("round trips of %v under attack, %v without", s.latency, before.latency))
	}
	return complaints
}
