package listener

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/weftnet/weft/internal/identity"
)

func someKey(t testing.TB) identity.PublicKey {
	t.Helper()
	k, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k.Public()
}

func TestParseAddr(t *testing.T) {
	key := someKey(t)
	tests := []struct {
		addr string
		want identity.Target
		port uint16
	}{
		{"00000000000000a1:80", identity.Target{ID: 0xa1}, 80},
		{"9F3A000000000001:65535", identity.Target{ID: 0x9f3a000000000001}, 65535},
		{"9f3a000000000001.weft:1", identity.Target{ID: 0x9f3a000000000001}, 1},
		{key.String() + ":443", identity.Target{Key: key}, 443},
		{strings.ToUpper(key.String()) + ".WEFT:443", identity.Target{Key: key}, 443},
		{"kv-1:80", identity.Target{Name: "kv-1"}, 80},
		{"KV-1.weft.:80", identity.Target{Name: "kv-1"}, 80},
		{"kv-1.example.org:80", identity.Target{Name: "kv-1.example.org"}, 80},
		{"[kv-1]:80", identity.Target{Name: "kv-1"}, 80},
	}
	for _, tt := range tests {
		target, port, err := ParseAddr(tt.addr)
		if err != nil || target != tt.want || port != tt.port {
			t.Errorf("ParseAddr(%q) = %v, %d, %v; want %v, %d", tt.addr, target, port, err, tt.want, tt.port)
		}
	}
}

func TestParseAddrSaysWhatIsWrong(t *testing.T) {
	tests := []struct{ addr, want string }{
		{"", "want <id>:<port>"},
		{"kv-1", "want <id>:<port>"},
		{"a:b:c", "want <id>:<port>"},
		{":80", "host is missing"},
		{".weft:80", "host is missing"},
		{"kv-1:", "port must be a number"},
		{"kv-1:0", "port must be a number"},
		{"kv-1:http", "port must be a number"},
		{"kv-1:-1", "port must be a number"},
		{"kv-1:65536", "port must be a number"},
		{"kv_1:80", "only a to z"},
		{"-kv:80", "dash"},
		{"192.0.2.1:80", "IP address"},
		{"[::1]:80", "only a to z"},
	}
	for _, tt := range tests {
		_, _, err := ParseAddr(tt.addr)
		if _, ok := errors.AsType[*net.AddrError](err); !ok || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseAddr(%q): error is %v, want a *net.AddrError with %q", tt.addr, err, tt.want)
		}
	}
}

func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{"00000000000000a1:80", "kv-1.weft:80", "[::1]:80", someKey(f).String() + ":443", ":", "é:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		target, port, err := ParseAddr(addr)
		if err != nil {
			return
		}
		again, _, err := ParseAddr(net.JoinHostPort(target.String(), "1"))
		if err != nil || again != target || port == 0 {
			t.Errorf("ParseAddr(%q) = %+v, %d; the target's own name parses as %+v, %v", addr, target, port, again, err)
		}
	})
}

func TestAddrsOfConnsCanBeDialled(t *testing.T) {
	addr := Addr{Node: 0xabc, Port: 443}
	target, port, err := ParseAddr(addr.String())
	if err != nil || target.ID != addr.Node || port != addr.Port {
		t.Errorf("ParseAddr(%q) = %v, %d, %v", addr, target, port, err)
	}
}
