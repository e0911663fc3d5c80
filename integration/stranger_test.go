//go:build unix

package integration

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

func TestNodesOfOtherNetworksAreToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.relay()
	server := l.server()
	member := l.joined()
	for name, cfg := range map[string]overlay.Config{
		"another secret":                   {Secret: overlay.NewSecret()},
		"another name":                     {Secret: l.secret, Network: "other"},
		"an open network of the same name": {Open: true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Relays, cfg.NoLAN = l.relays, true
			stranger, err := overlay.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer stranger.Close()
			ctx, cancel := context.WithTimeout(l.ctx, 2*time.Second)
			defer cancel()
			if err := stranger.WaitReady(ctx); !explained(err) {
				t.Errorf("WaitReady: %v", err)
			}
			// Its time is up before it begins, but what is wrong is known.
			if c, err := stranger.Dial(ctx, server.addr(portEcho)); c != nil || !explained(err) {
				t.Errorf("Dial: %v, %v", c, err)
			}
		})
	}
	l.speak(l.dial(member, server.addr(portEcho)))
}

// explained reports whether an error tells somebody with a wrong secret what
// to look at.
func explained(err error) bool {
	return errors.Is(err, overlay.ErrNoRelay) && errors.Is(err, context.DeadlineExceeded) &&
		strings.Contains(err.Error(), "check network name, secret")
}

// strangers is how many conns throw bytes at a relay.
const strangers = 1000

func TestARelayThatIsThrownBytesAtServesItsNodes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	server := l.server()
	tap := newTap(t, relay.addr)
	member := l.node(overlay.Config{Relays: []string{tap.addr()}})
	c := l.dial(member, server.addr(portEcho))
	l.speak(c)
	hello, _ := tap.recorded()
	hello = hello[:len("WEFT")+18] // how a member begins

	beginnings := [][]byte{nil, []byte("WEFT"), hello, []byte("GET / HTTP/1.1\r\n"), {0x16, 3, 1, 2, 0}}
	var wg sync.WaitGroup
	turns := make(chan int)
	for range 16 {
		wg.Go(func() {
			for turn := range turns {
				throw(t, relay.addr, beginnings[turn%len(beginnings)])
			}
		})
	}
	for turn := range strangers {
		turns <- turn
	}
	close(turns)
	l.speak(c)
	wg.Wait()
	l.speak(c)
	l.speak(l.dial(l.joined(), server.addr(portEcho)))
}

// throw sends bytes to an address, and random ones after them, and reads until
// the other end has had enough or the bytes are all sent.
func throw(t *testing.T, addr string, beginning []byte) {
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Errorf("the relay does not take conns any more: %v", err)
		return
	}
	defer c.Close()
	bytes := make([]byte, 4096)
	_, _ = rand.Read(bytes)
	_, _ = c.Write(append(beginning[:len(beginning):len(beginning)], bytes...))
	_ = c.(*net.TCPConn).CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(startTimeout))
	_, _ = io.Copy(io.Discard, c)
}

// silent is how many conns say nothing to a relay. From one address it has
// patience with so many and no more.
const silent = 64

func TestARelayWithSilentConnsServesItsNodes(t *testing.T) {
	for name, from := range map[string]string{"from their own address": "127.0.0.1", "from another": "127.0.0.2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if from != "127.0.0.1" && runtime.GOOS != "linux" {
				t.Skip("this system has one loopback address")
			}
			l := newLab(t)
			relay := l.relay()
			server := l.server()
			c := l.dial(l.joined(), server.addr(portEcho))
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			for range silent {
				c, err := dialer.DialContext(l.ctx, "tcp", relay.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
			}
			l.speak(c)
			l.speak(l.dial(l.joined(), server.addr(portEcho)))
		})
	}
}
