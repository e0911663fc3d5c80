package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// settle lets a second pass in a bubble, and what is due in it happen.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// What sessions did still counts when they have ended. The first is that with the relay.
func TestTotalsOutliveSessions(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		client := l.ready("client", Config{})
		var last SessionTotals
		for i := range 3 {
			server := l.ready(fmt.Sprint("server", i), Config{})
			ca, cb := l.pair(client, server)
			roundTripBetween(t, ca, cb)
			now := client.Status().Totals
			if now.Sessions != uint64(i+2) || now.BytesSent <= last.BytesSent || now.BytesReceived <= last.BytesReceived ||
				now.PacketsSent <= last.PacketsSent || now.PacketsReceived <= last.PacketsReceived {
				t.Errorf("with session %d: %+v, %+v before", i, now, last)
			}
			last = now
			_, _ = ca.Close(), cb.Close()
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			settle()
			st := client.Status()
			if st.Totals.BytesSent < last.BytesSent || st.Totals.Sessions != last.Sessions || len(st.Peers) != 1 {
				t.Errorf("after session %d: %+v with %d peers, %+v before", i, st.Totals, len(st.Peers), last)
			}
			last = st.Totals
		}
	})
}

// A dial that comes late for a session does not count it twice.
func TestASessionIsCountedOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.ready("a", Config{}), l.ready("b", Config{})
		ca, cb := l.pair(a, b)
		sess := a.ep.Session(b.ID())
		_, _ = ca.Close(), cb.Close()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		settle()
		before := a.Status().Totals
		a.peerSession(sess)
		settle()
		if now := a.Status().Totals; now.Sessions != before.Sessions || now.PacketsReceived >= 2*before.PacketsReceived {
			t.Errorf("%+v, %+v before", now, before)
		}
	})
}

func TestDialsAreCountedByHowTheyEnd(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		server, client := l.ready("server", Config{}), l.ready("client", Config{})
		l.echo(server)
		at := server.ID().String()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for _, addr := range []string{at + ":7", at + ":8", "nobody:7", "no address"} {
			if c, err := client.Dial(t.Context(), addr); err == nil {
				_ = c.Close()
			}
		}
		if _, err := client.Dial(gone, newKey(t).Public().String()+":7"); err == nil {
			t.Error("dialled with a dead context")
		}
		want := DialTotals{Connected: 1, Refused: 1, UnknownNode: 1, Canceled: 1, Failed: 1}
		if got := client.Status().Dials; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

func TestFieldOfADial(t *testing.T) {
	var totals DialTotals
	attempts := func(errs ...error) error {
		e := new(DialError)
		for _, err := range errs {
			e.Attempts = append(e.Attempts, Attempt{Err: err})
		}
		return dialError("a:1", e)
	}
	for name, tt := range map[string]struct {
		err  error
		want *uint64
	}{
		"none":                          {nil, &totals.Connected},
		"no relay":                      {attempts(noRelay(context.DeadlineExceeded)), &totals.NoRelay},
		"no relay that serves the node": {attempts(&kindError{ErrNotAllowed, noRelay(io.EOF)}), &totals.NoRelay},
		"not allowed":                   {attempts(&kindError{ErrNotAllowed, ErrRefused}), &totals.NotAllowed},
		"refused":                       {attempts(ErrPeerRestarted, ErrRefused), &totals.Refused},
		"lost":                          {attempts(ErrPeerLost), &totals.Unanswered},
		"late":                          {attempts(context.DeadlineExceeded), &totals.Unanswered},
		"cancelled":                     {attempts(errors.Join(context.Canceled)), &totals.Canceled},
		"wrong peer":                    {attempts(ErrWrongPeer), &totals.Failed},
		"closed":                        {dialError("a:1", net.ErrClosed), &totals.Failed},
	} {
		if got := totals.field(tt.err); got != tt.want {
			t.Errorf("%s: %v counts elsewhere", name, tt.err)
		}
	}
}
