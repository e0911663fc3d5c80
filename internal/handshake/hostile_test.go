package handshake

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/weftnet/weft/internal/wire"
)

// after brings a new pair to where the side named has received n flights, and
// returns it with the flight that it expects next.
func after(t *testing.T, clientSide bool, n int) (*Conn, flight) {
	t.Helper()
	client, server := newPair(t, newConfig(t, closed, "c"), newConfig(t, closed, "s"))
	from, to := client, server
	for {
		f, _ := take(from)
		if (to == client) == clientSide {
			if n == 0 {
				return to, f
			}
			n--
		}
		if err := deliver(to, f); err != nil {
			t.Fatal(err)
		}
		from, to = to, from
	}
}

func TestGarbageInAnyStateEndsTheHandshake(t *testing.T) {
	garbage := [][]byte{
		{0}, {0xff, 0xff, 0xff, 0xff}, {1, 0, 0, 0}, {20, 0, 0, 0}, {24, 0, 0, 1, 0}, {0, 0, 0, 0},
		bytes.Repeat([]byte{0x16}, 100), bytes.Repeat([]byte{0xff}, maxCrypto+1),
	}
	states := []struct {
		name   string
		client bool
		n      int
	}{{"new client", true, 0}, {"new server", false, 0}, {"server that waits for the client's last flight", false, 1}}
	for _, st := range states {
		for i, g := range garbage {
			for space := range wire.NumSpaces + 1 {
				c, next := after(t, st.client, st.n)
				err := c.Receive(space, g)
				if err == nil {
					// A beginning of something: the rest must not fit.
					err = deliver(c, next)
				}
				if e, ok := errors.AsType[*Error](err); !ok || e.Code == 0 || len(e.Reason) > maxReason {
					t.Errorf("%s, garbage %d in space %v: %v, want an *Error", st.name, i, space, err)
				}
				if c.Done() {
					t.Errorf("%s, garbage %d in space %v: done", st.name, i, space)
				}
				if again := c.Receive(wire.SpaceInitial, []byte{1}); again != err {
					t.Errorf("%s: the error changed from %v to %v", st.name, err, again)
				}
			}
		}
	}
}

func TestFlippedBytesInAFlightNeverCompleteAHandshake(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		client, server := newPair(t, newConfig(t, open, "c"), newConfig(t, open, "s"))
		victim := rng.IntN(3) // which flight
		from, to := client, server
		for n := range 3 {
			f, _ := take(from)
			if n == victim {
				for space := range f {
					if len(f[space]) > 0 {
						f[space][rng.IntN(len(f[space]))] ^= byte(1 + rng.IntN(255))
					}
				}
			}
			if deliver(to, f) != nil {
				break
			}
			from, to = to, from
		}
		if client.Done() && server.Done() {
			t.Errorf("both sides are done although flight %d was changed", victim)
		}
	}
}

func TestTooManyHandshakeBytesAreRefused(t *testing.T) {
	_, server := newPair(t, newConfig(t, open, ""), newConfig(t, open, ""))
	// A ClientHello as long as TLS allows is longer than is allowed here.
	err := server.Receive(wire.SpaceInitial, []byte{1, 0, 0xff, 0xff})
	chunk := make([]byte, 1<<10)
	for received := 4; err == nil; received += len(chunk) {
		if received > maxCrypto {
			t.Fatalf("%d bytes were accepted", received)
		}
		err = server.Receive(wire.SpaceInitial, chunk)
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != codeCryptoBufferExceeded {
		t.Errorf("error %v, want code %#x", err, codeCryptoBufferExceeded)
	}
}

// RFC 9001 section 6: QUIC has key updates of its own.
func TestTLSKeyUpdateIsRefused(t *testing.T) {
	client, server := newPair(t, newConfig(t, open, ""), newConfig(t, open, ""))
	if _, _, err := run(client, server); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Conn{client, server} {
		err := c.Receive(wire.SpaceApp, []byte{24, 0, 0, 1, 0})
		if e, ok := errors.AsType[*Error](err); !ok || e.Code < codeCryptoError {
			t.Errorf("error %v, want a TLS alert", err)
		}
	}
}

func FuzzReceive(f *testing.F) {
	credentials := newConfig(f, closed, "c")
	peer := newConfig(f, closed, "s")
	client, server := newPair(f, credentials, peer)
	for _, dir := range [][2]*Conn{{client, server}, {server, client}, {client, server}} {
		fl, _ := take(dir[0])
		for space := range wire.NumSpaces {
			f.Add(byte(space), fl[space], byte(space), []byte(nil))
		}
		if err := deliver(dir[1], fl); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, space1 byte, data1 []byte, space2 byte, data2 []byte) {
		client, server := newPair(t, credentials, peer)
		for _, c := range []*Conn{client, server} {
			for _, in := range []struct {
				space byte
				data  []byte
			}{{space1, data1}, {space2, data2}} {
				err := c.Receive(wire.Space(in.space), in.data)
				if _, ok := errors.AsType[*Error](err); err != nil && !ok {
					t.Errorf("error %T: %v", err, err)
				}
			}
			if c.Done() {
				t.Error("done with recorded or invented bytes")
			}
		}
	})
}
