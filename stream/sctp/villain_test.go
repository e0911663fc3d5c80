package sctp

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/datachannel"
	psctp "github.com/pion/sctp"

	"github.com/weftnet/weft/stream"
	"github.com/weftnet/weft/stream/streamtest/memsession"
)

// A villain is a peer that speaks SCTP by itself, without the rules of the
// layer.
type villain struct {
	t     *testing.T
	sess  *memsession.Session
	assoc *psctp.Association
}

// wire is a villain's connection.
type wire struct {
	net.Conn // nil: pion needs nothing else
	sess     *memsession.Session
	ctx      context.Context
	cancel   context.CancelFunc
}

func (w *wire) Read(b []byte) (int, error) {
	in := make([]byte, maxPacket+wholeHeader)
	n, err := w.sess.ReceiveDatagram(w.ctx, in)
	if err != nil {
		return 0, io.EOF
	}
	return copy(b, in[wholeHeader:n]), nil
}

func (w *wire) Write(b []byte) (int, error) {
	if err := w.sess.SendDatagram(w.ctx, append([]byte{kindWhole}, b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (w *wire) Close() error { w.cancel(); return nil }

func (w *wire) SetReadDeadline(time.Time) error  { w.cancel(); return nil } // to end
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// newVillain returns a villain and the honest mux at the other end, which
// opens conns.
func newVillain(t *testing.T) (*villain, *mux) {
	t.Helper()
	honest, sess := sessions(t)
	own, peers := sess.Greetings()
	w := &wire{sess: sess}
	w.ctx, w.cancel = context.WithCancel(t.Context())
	assoc, err := psctp.ClientWithOptions(append(handshakeOptions(),
		psctp.WithSNAP(own, peers), psctp.WithNetConn(w), psctp.WithLoggerFactory(logger{silent()}),
		psctp.WithMTU(1100), psctp.WithMaxMessageSize(1<<20))...)
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, honest).(*mux)
	t.Cleanup(func() { assoc.Close(); m.Close(); honest.Kill(errLost) })
	return &villain{t, sess, assoc}, m
}

// channel opens a channel as a conn is opened, or as f changes it.
func (v *villain) channel(id uint16, f func(*datachannel.Config)) *datachannel.DataChannel {
	v.t.Helper()
	cfg := openConfig(80, logger{silent()})
	if f != nil {
		f(cfg)
	}
	dc, err := datachannel.Dial(v.assoc, id, cfg)
	if err != nil {
		v.t.Fatal(err)
	}
	return dc
}

func (v *villain) say(dc *datachannel.DataChannel, b []byte) {
	v.t.Helper()
	if _, err := dc.WriteDataChannel(b, true); err != nil {
		v.t.Fatal(err)
	}
}

func TestAPeerThatBreaksTheProtocolLosesAllConns(t *testing.T) {
	for name, act := range map[string]func(*villain){
		"unordered channel": func(v *villain) {
			v.channel(1, func(c *datachannel.Config) { c.ChannelType = datachannel.ChannelTypeReliableUnordered })
		},
		"no port":          func(v *villain) { v.channel(1, func(c *datachannel.Config) { c.Label = "http" }) },
		"another protocol": func(v *villain) { v.channel(1, func(c *datachannel.Config) { c.Protocol = "chat" }) },
		"no DCEP": func(v *villain) {
			st, _ := v.assoc.OpenStream(1, psctp.PayloadTypeWebRTCBinary)
			_, _ = st.Write([]byte("hello"))
		},
		"unknown message": func(v *villain) { v.say(v.channel(1, nil), []byte{77}) },
		"beyond the window": func(v *villain) {
			dc := v.channel(1, nil)
			for range startWindow/maxMessage + 1 {
				_, _ = dc.Write(make([]byte, maxMessage))
			}
		},
		"too long a message": func(v *villain) { _, _ = v.channel(1, nil).Write(make([]byte, maxMessage+1)) },
		"bytes after fin": func(v *villain) {
			dc := v.channel(1, nil)
			v.say(dc, message{op: opFin}.append(nil))
			_, _ = dc.Write([]byte("more"))
		},
		"abort": func(v *villain) { go v.assoc.Abort("for fun") },
	} {
		t.Run(name, func(t *testing.T) {
			v, m := newVillain(t)
			c, err := m.Open(testContext(t), 80, stream.OpenOptions{EarlyData: true})
			if err != nil {
				t.Fatal(err)
			}
			act(v)
			c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, errProtocol) || strings.Contains(err.Error(), "EOF") {
				t.Errorf("Read: %v", err)
			}
			if _, err := m.Open(testContext(t), 80, stream.OpenOptions{}); !errors.Is(err, errProtocol) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

// What a peer may get wrong without harm to other conns.
func TestAPeersOddChannelsHarmOnlyThemselves(t *testing.T) {
	for name, act := range map[string]func(*villain){
		"reset without a word": func(v *villain) { _ = v.channel(1, nil).Close() },
		"last number":          func(v *villain) { v.channel(lastNumber, nil) },
		"a number of ours":     func(v *villain) { v.channel(200, nil) },
		"garbage": func(v *villain) {
			for _, b := range [][]byte{nil, {9}, {kindWhole}, {kindWhole, 1, 2, 3}, {kindFragment, 1}, make([]byte, 1100)} {
				_ = v.sess.SendDatagram(v.t.Context(), b)
			}
		},
		"many requests": func(v *villain) {
			for id := uint16(1); id < 2*requestBacklog+100; id += 2 {
				v.channel(id, nil)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			v, m := newVillain(t)
			c, err := m.Open(testContext(t), 80, stream.OpenOptions{EarlyData: true})
			if err != nil {
				t.Fatal(err)
			}
			st, err := v.assoc.AcceptStream()
			if err != nil {
				t.Fatal(err)
			}
			dc, err := datachannel.Server(st, &datachannel.Config{LoggerFactory: logger{silent()}})
			if err != nil {
				t.Fatal(err)
			}
			act(v)
			if _, err := dc.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Now().Add(time.Minute))
			b := make([]byte, 5)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
}

func TestAPeerWithoutAGreetingIsAnError(t *testing.T) {
	a, b := memsession.New()
	for name, greeting := range map[string][]byte{"none": nil, "garbage": []byte("hello")} {
		own, _ := Layer{}.Greeting()
		a.Greet(own)
		b.Greet(greeting)
		if m, err := (Layer{}).Start(a, silent()); err == nil {
			m.Close()
			t.Errorf("%s: started", name)
		}
	}
}
