package control

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftnet/weft/internal/identity"
)

func TestNewRelaysFits(t *testing.T) {
	longest := make([]string, MaxRelayAddrs+1)
	for i := range longest {
		longest[i] = fmt.Sprintf("%d%s", i, strings.Repeat("x", MaxAddr-1))
	}
	var many []Relay
	for i := range 2 * MaxRelays {
		many = append(many, Relay{ID: identity.NodeID(1<<63 + uint64(i)), Addrs: []string{"[2001:db8::1]:9999"}})
	}
	tests := []struct {
		name string
		in   []Relay
		want int // relays
	}{
		{"none", nil, 0},
		{"no ID", []Relay{{Addrs: []string{"a:1"}}}, 0},
		{"no address", []Relay{{ID: 1}}, 0},
		{"address too long", []Relay{{ID: 1, Addrs: []string{strings.Repeat("x", MaxAddr+1)}}}, 0},
		{"one of two addresses too long", []Relay{{ID: 1, Addrs: []string{strings.Repeat("x", MaxAddr+1), "a:1"}}}, 1},
		{"too many", many, MaxRelays},
		{"too many addresses", []Relay{{ID: 1, Addrs: longest}}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := NewRelays(tt.in)
			if len(m.Relays) != tt.want {
				t.Errorf("got %d relays, want %d", len(m.Relays), tt.want)
			}
			if _, err := encode(0, m); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("too many bytes", func(t *testing.T) {
		for i := range many {
			many[i].Addrs = longest
		}
		m := NewRelays(many)
		b, err := encode(0, m)
		if err != nil {
			t.Fatal(err)
		}
		if spare := MaxBody + headerLen - len(b); spare > MaxRelayAddrs*(MaxAddr+relayAddrHead)+relayHead {
			t.Errorf("%d bytes stayed unused, in which another relay has room", spare)
		}
	})
}
