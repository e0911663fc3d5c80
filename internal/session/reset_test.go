package session

import (
	"errors"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/simnet"
)

// The data are lost and the end arrives; before anybody knows, the stream is
// reset, and the reset is lost, too. The acknowledgement of the end must not be
// taken for one of the whole stream.
func TestResetAfterTheEndIsRepeatedUntilItArrives(t *testing.T) {
	// The acknowledgement comes 110 ms after the end was sent; the data count as
	// lost a little later.
	for name, await := range map[string]time.Duration{
		"before the end is acknowledged": 109 * time.Millisecond,
		"once the end is acknowledged":   111 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newPair(t, ten, simnet.Impairment{Delay: 100 * time.Millisecond}, 1, 1200)
				defer p.close()
				a, b := p.dial(t)
				x, y := open(t, a, b)
				if err := y.CloseWrite(); err != nil { // so that this direction alone is left
					t.Fatal(err)
				}
				<-time.After(time.Second)
				losing := func(f func()) {
					p.aOut.wire.Set(simnet.Impairment{Down: true})
					f()
					<-time.After(time.Millisecond)
					p.aOut.wire.Set(ten)
				}

				losing(func() { _, _ = x.Write(make([]byte, 600)) })
				if err := x.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				<-time.After(await)
				losing(func() { _ = x.Reset(7) })
				if err := y.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				n, err := y.Read(make([]byte, 1000))
				if reset, ok := errors.AsType[*ResetError](err); !ok || reset.Code != 7 {
					t.Errorf("the peer read %d bytes and %v, want the reset", n, err)
				}
			})
		})
	}
}
