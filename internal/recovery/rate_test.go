package recovery

import (
	"testing"
	"time"
)

// A rateBench drives a sampler with packets of 1000 bytes.
type rateBench struct {
	sampler
	t        *testing.T
	now      time.Time
	packets  []*Packet
	inFlight int
}

func (b *rateBench) send() {
	p := &Packet{Number: uint64(len(b.packets)), Size: 1000, Sent: b.now}
	b.onSent(b.now, p, b.inFlight)
	b.inFlight += p.Size
	b.packets = append(b.packets, p)
}

func (b *rateBench) ack(numbers ...int) sample {
	b.rs = sample{}
	for _, n := range numbers {
		b.inFlight -= 1000
		b.onAcked(b.now, b.packets[n])
	}
	b.generate(0)
	return b.rs
}

func (b *rateBench) want(what string, got, want float64) {
	b.t.Helper()
	if got < 0.999*want || got > 1.001*want {
		b.t.Errorf("%s: %.1f bytes a second, want %.1f", what, got, want)
	}
}

func TestDeliveryRate(t *testing.T) {
	b := &rateBench{t: t, now: epoch}
	for range 4 { // a packet every 10 ms
		b.send()
		b.now = b.now.Add(10 * ms)
	}
	b.now = epoch.Add(100 * ms)
	b.want("first packet", b.ack(0).rate, 1000/0.1)
	b.send() // measured from the ACK on
	b.now = epoch.Add(130 * ms)
	b.want("ACK of three in one", b.ack(1, 2, 3).rate, 4000/0.13)
	b.now = epoch.Add(200 * ms)
	rs := b.ack(4)
	b.want("flight since the ACK before", rs.rate, 4000/0.1)
	if rs.delivered != 4000 || rs.priorDelivered != 1000 || rs.txInFlight != 4000 {
		t.Errorf("%+v", rs)
	}
}

// ACKs that come at once do not mean that packets were delivered at once.
func TestDeliveryRateIsNotAboveTheSendRate(t *testing.T) {
	b := &rateBench{t: t, now: epoch}
	for range 11 {
		b.send()
		b.now = b.now.Add(10 * ms)
	}
	b.ack(0)
	b.want("all at once", b.ack(1, 2, 3, 4, 5, 6, 7, 8, 9, 10).rate, 11000/0.11)
}

func TestAppLimitedSamples(t *testing.T) {
	b := &rateBench{t: t, now: epoch}
	b.send()
	b.markAppLimited(b.inFlight)
	b.send()
	b.now = b.now.Add(ms)
	if b.ack(0).appLimited {
		t.Error("what was sent before there was too little is marked")
	}
	b.send()
	b.now = b.now.Add(ms)
	if !b.ack(1).appLimited || !b.ack(2).appLimited {
		t.Error("what was sent after there was too little is not marked")
	}
	b.send()
	b.now = b.now.Add(ms)
	if b.ack(3).appLimited || b.appLimited != 0 {
		t.Error("the mark stays after the gap was acknowledged")
	}
}

func TestLatePacketsCountAsDelivered(t *testing.T) {
	b := &rateBench{t: t, now: epoch}
	b.send()
	b.send()
	b.lost += 1000
	b.onLate(1000)
	b.now = b.now.Add(ms)
	if rs := b.ack(1); rs.lost != 0 || rs.delivered != 2000 {
		t.Errorf("%d lost, %d delivered", rs.lost, rs.delivered)
	}
}
