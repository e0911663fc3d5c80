package overlay

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/native"
	"github.com/weftnet/weft/stream/sctp"
)

func TestDialReachesANodeByIDKeyAndName(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server := l.ready("server", Config{Name: "KV-1"})
		l.echo(server)
		for _, host := range []string{
			server.ID().String(), server.Key().String(), "kv-1", "KV-1.weft", server.ID().String() + ".weft",
		} {
			client := l.ready("client", Config{})
			c, err := client.Dial(t.Context(), host+":7")
			if err != nil {
				t.Fatalf("%s: %v", host, err)
			}
			roundTrip(t, c)
			if want := (Addr{Node: server.ID(), Port: 7}); c.RemoteAddr() != net.Addr(want) {
				t.Errorf("%s: RemoteAddr is %v, want %v", host, c.RemoteAddr(), want)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDialToAnUnknownNodeFailsInOneRoundTripToTheRelay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		client := l.ready("client", Config{})
		for _, host := range []string{"0123456789abcdef", newKey(t).Public().String(), "nobody"} {
			began := time.Now()
			_, err := client.Dial(t.Context(), host+":80")
			checkDialError(t, err, ErrUnknownNode)
			if took := time.Since(began); took != 2*delay {
				t.Errorf("%s: took %v, want %v", host, took, 2*delay)
			}
		}
	})
}

func TestDialToAPortWithoutListenerIsRefusedInOneRoundTrip(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server, client := l.ready("server", Config{}), l.ready("client", Config{})
		l.echo(server)
		warm, err := client.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer warm.Close()
		began := time.Now()
		_, err = client.Dial(t.Context(), server.ID().String()+":8")
		checkDialError(t, err, ErrRefused)
		if errors.Is(err, ErrNotAllowed) {
			t.Errorf("%v is ErrNotAllowed", err)
		}
		if took := time.Since(began); took != 4*delay {
			t.Errorf("took %v, want %v", took, 4*delay)
		}
	})
}

// inLabWithEachLayer runs f with nodes of each layer that works in a bubble.
func inLabWithEachLayer(t *testing.T, f func(t *testing.T, l *lab, cfg Config)) {
	for _, layer := range []stream.Layer{native.Layer{}, sctp.Layer{}} {
		t.Run(layer.Name(), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) { f(t, l, Config{Reliability: layer}) })
		})
	}
}

func TestColdDialTakesTwoRoundTripsAndWarmDialOne(t *testing.T) {
	inLabWithEachLayer(t, func(t *testing.T, l *lab, cfg Config) {
		server, client := l.ready("server", cfg), l.ready("client", cfg)
		l.echo(server)
		for i, want := range []time.Duration{2 * 4 * delay, 4 * delay, 4 * delay} {
			began := time.Now()
			c, err := client.Dial(t.Context(), server.ID().String()+":7")
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took.Truncate(time.Microsecond) != want {
				t.Errorf("dial %d took %v, want %v", i, took, want)
			}
			c.Close()
		}
	})
}

func TestDialWithEarlyDataTakesNoRoundTripOnAWarmSession(t *testing.T) {
	inLabWithEachLayer(t, func(t *testing.T, l *lab, cfg Config) {
		server, client := l.ready("server", cfg), l.ready("client", cfg)
		l.echo(server)
		warm, err := client.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer warm.Close()
		began := time.Now()
		c, err := Dialer{EarlyData: true}.Dial(t.Context(), client, server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
		roundTrip(t, c)
		// The clock is exact; sctp lets it tick to take what has come.
		if took := time.Since(began); took.Truncate(time.Microsecond) != 4*delay {
			t.Errorf("the first answer took %v, want %v", took, 4*delay)
		}
	})
}

func TestDialWithoutARelaySaysWhyWhenTheContextEnds(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		client := l.node("client", Config{Relays: []string{"relay:1", "tcp://relay:2"}})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err := client.Dial(ctx, "0123456789abcdef:80")
		checkDialError(t, err, ErrNoRelay)
		if !errors.Is(err, context.DeadlineExceeded) || !err.(net.Error).Timeout() {
			t.Errorf("%v is no timeout", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %v, want the context's 3 s", took)
		}
		for _, want := range []string{"relay:1", "tcp://relay:2", "connection refused"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
	})
}

func TestDialWaitsForTheRelay(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server := l.ready("server", Config{})
		l.echo(server)
		client := l.node("client", Config{}) // not ready yet
		c, err := client.Dial(t.Context(), server.ID().String()+":7")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		roundTrip(t, c)
	})
}

func TestDialRefusesWhatIsNoAddress(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		client := l.ready("client", Config{})
		for _, addr := range []string{"", "kv-1", "kv-1:", "kv-1:0", "kv-1:http", ":80", "a b:80", "192.0.2.1:80"} {
			if _, err := client.Dial(t.Context(), addr); err == nil {
				t.Errorf("%q: no error", addr)
			}
		}
		if _, err := client.DialContext(t.Context(), "udp", "kv-1:80"); err == nil {
			t.Error("network udp: no error")
		}
		_, err := client.Dial(t.Context(), client.ID().String()+":80")
		checkDialError(t, err, ErrSelf)
	})
}

func TestNamesOfSeveralNodesAreAmbiguous(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{Name: "twin"}), l.ready("b", Config{Name: "twin"})
		client := l.ready("client", Config{})
		_, err := client.Dial(t.Context(), "twin:80")
		checkDialError(t, err, ErrAmbiguousName)
		for _, n := range []*Node{a, b} {
			if !strings.Contains(err.Error(), n.ID().String()) {
				t.Errorf("%q does not name %v", err, n.ID())
			}
		}
	})
}

func TestDialsFromBothSidesAtOnceBothWork(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		l.echo(a)
		l.echo(b)
		var wg sync.WaitGroup
		for range 10 {
			for _, pair := range [][2]*Node{{a, b}, {b, a}} {
				wg.Go(func() {
					c, err := pair[0].Dial(t.Context(), pair[1].ID().String()+":7")
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					roundTrip(t, c)
				})
			}
		}
		wg.Wait()
	})
}

func TestManyDialsShareOneHandshake(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server, client := l.ready("server", Config{Name: "s"}), l.ready("client", Config{})
		l.echo(server)
		var wg sync.WaitGroup
		for _, host := range []string{server.ID().String(), server.Key().String(), "s"} {
			wg.Go(func() {
				c, err := client.Dial(t.Context(), host+":7")
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				roundTrip(t, c)
			})
		}
		wg.Wait()
		if n := len(client.ep.Sessions()); n != 2 {
			t.Errorf("%d sessions, want one with the server and one with the relay", n)
		}
	})
}

func TestDialsSucceedWhileThePeerEndsAnIdleSession(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const idle = 10 * time.Second
		server, client := l.ready("server", Config{IdleTimeout: idle}), l.ready("client", Config{})
		l.echo(server)
		for late := -2 * delay; late < 10*delay; late += delay / 2 {
			c, err := client.Dial(t.Context(), server.ID().String()+":7")
			if err != nil {
				t.Fatalf("%v after the session's end: %v", late, err)
			}
			roundTrip(t, c)
			c.Close()
			time.Sleep(idle + late)
		}
	})
}

func TestDialEndsWithItsContextWhateverItWaitsFor(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		client := l.ready("client", Config{})
		server := l.ready("server", Config{})
		l.net.Cut("server") // the relay does not know yet
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := client.Dial(ctx, server.ID().String()+":80")
			failed <- err
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		select {
		case err := <-failed:
			t.Fatalf("failed early: %v", err)
		default:
		}
		cancel(cause)
		checkDialError(t, <-failed, cause)
	})
}

func TestTwoNetworksAtOneRelayAddressNeverMeet(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for name, cfg := range map[string]Config{
			"another name":   {Network: "other"},
			"another secret": {Secret: NewSecret()},
		} {
			stranger := l.node("stranger", cfg)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := stranger.WaitReady(ctx)
			cancel()
			if !errors.Is(err, ErrNoRelay) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			if !strings.Contains(err.Error(), "does not serve this network") {
				t.Errorf("%s: %q does not say that the relay serves another network", name, err)
			}
		}
	})
}

// checkDialError checks the type of a dial's error and that it matches want.
func checkDialError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	op, ok := err.(*net.OpError)
	if !ok || op.Op != "dial" || op.Net != "overlay" || op.Addr == nil {
		t.Errorf("error %#v is no *net.OpError of a dial", err)
	}
	failed, ok := errors.AsType[*DialError](err)
	if !ok || len(failed.Attempts) == 0 || failed.Attempts[0].Target == "" {
		t.Errorf("error %v has no *DialError with attempts", err)
	}
	t.Log(err)
}
