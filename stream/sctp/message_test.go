package sctp

import (
	"math"
	"testing"

	"github.com/pion/datachannel"
)

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, want := range []message{
		{opAccept, 0}, {opFin, 0}, {opStop, 0}, {opReset, 0}, {opReset, math.MaxUint32}, {opWindow, math.MaxUint64},
	} {
		got, err := parseMessage(want.append(nil))
		if err != nil || got != want {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
}

func TestUnknownMessagesAreErrors(t *testing.T) {
	for _, b := range [][]byte{
		nil, {0}, {byte(opWindow) + 1}, {255}, {byte(opFin), 0}, {byte(opReset), 1, 2, 3}, {byte(opWindow), 1, 2, 3, 4, 5, 6, 7},
	} {
		if m, err := parseMessage(b); err == nil {
			t.Errorf("%x parsed as %+v", b, m)
		}
	}
}

func TestPortsSurviveTheChannelsLabel(t *testing.T) {
	for _, port := range []uint16{0, 1, 80, 65535} {
		if got, err := parseOpen(openConfig(port, logger{})); err != nil || got != port {
			t.Errorf("%d became %d, %v", port, got, err)
		}
	}
}

func TestOtherChannelsAreNoConns(t *testing.T) {
	with := func(f func(*datachannel.Config)) *datachannel.Config {
		c := openConfig(80, logger{})
		f(c)
		return c
	}
	for name, c := range map[string]*datachannel.Config{
		"no port":       with(func(c *datachannel.Config) { c.Label = "" }),
		"large port":    with(func(c *datachannel.Config) { c.Label = "65536" }),
		"signed port":   with(func(c *datachannel.Config) { c.Label = "+80" }),
		"leading zero":  with(func(c *datachannel.Config) { c.Label = "080" }),
		"protocol":      with(func(c *datachannel.Config) { c.Protocol = "" }),
		"unordered":     with(func(c *datachannel.Config) { c.ChannelType = datachannel.ChannelTypeReliableUnordered }),
		"partial":       with(func(c *datachannel.Config) { c.ChannelType = datachannel.ChannelTypePartialReliableRexmit }),
		"retransmitted": with(func(c *datachannel.Config) { c.ReliabilityParameter = 1 }),
	} {
		if port, err := parseOpen(c); err == nil {
			t.Errorf("%s: parsed as port %d", name, port)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(message{opWindow, 1 << 40}.append(nil))
	f.Add([]byte("too long to be one"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err == nil && string(m.append(nil)) != string(b) {
			t.Errorf("%x parsed as %+v", b, m)
		}
	})
}
