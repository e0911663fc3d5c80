package tunnel

import (
	"net"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want Spec
	}{
		{"2222=kv-1:22", Spec{Listen: "127.0.0.1:2222", Target: "kv-1:22"}},
		{"0=kv-1.weft:22", Spec{Listen: "127.0.0.1:0", Target: "kv-1.weft:22"}},
		{"*:2222=kv-1:22", Spec{Listen: ":2222", Target: "kv-1:22"}},
		{":2222=kv-1:22", Spec{Listen: ":2222", Target: "kv-1:22"}},
		{"[::1]:2222=kv-1:22", Spec{Listen: "[::1]:2222", Target: "kv-1:22"}},
		{"localhost:2222=9f3a61c0d24be815:22", Spec{Listen: "localhost:2222", Target: "9f3a61c0d24be815:22"}},
		{"udp/5353=kv-1:53", Spec{UDP: true, Listen: "127.0.0.1:5353", Target: "kv-1:53"}},
		{"1080", Spec{Listen: "127.0.0.1:1080"}},
		{"0.0.0.0:1080", Spec{Listen: "0.0.0.0:1080"}},
		{"5432=gate:9000/db.internal:5432", Spec{Listen: "127.0.0.1:5432", Target: "gate:9000", Via: "db.internal:5432"}},
		{"R22=127.0.0.1:22", Spec{Remote: true, Listen: "22", Target: "127.0.0.1:22"}},
		{"R0=[::1]:22", Spec{Remote: true, Listen: "0", Target: "[::1]:22"}},
		{"Rudp/53=127.0.0.1:53", Spec{Remote: true, UDP: true, Listen: "53", Target: "127.0.0.1:53"}},
		{"R9000=*", Spec{Remote: true, Listen: "9000", Target: Any}},
	}
	for _, tt := range tests {
		got, err := parse(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
		again, err := parse(map[bool]string{true: "R"}[got.Remote] + got.String())
		if err != nil || again != got {
			t.Errorf("%s prints as %v, which reads as %+v, %v", tt.text, got, again, err)
		}
	}
}

// parse reads a Spec of either kind: remote ones begin with R.
func parse(text string) (Spec, error) {
	if rest, ok := strings.CutPrefix(text, "R"); ok {
		return ParseRemote(rest)
	}
	return ParseLocal(text)
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                           "is no port",
		"x=kv-1:22":                  "is no port",
		"65536=kv-1:22":              "is no port",
		"022=kv-1:22":                "write it as 22",
		"22=kv-1":                    "the target is not NODE:PORT",
		"22=kv-1:0":                  "the target is not NODE:PORT",
		"22=":                        "the target is not NODE:PORT",
		"udp/53":                     "UDP needs a target",
		"udp/53=kv-1:53/a:1":         "for TCP only",
		"22=gate:9000/":              "the target is not HOST:PORT",
		"22=gate:9000/db":            "the target is not HOST:PORT",
		"::1:22=kv-1:22":             "too many colons",
		"R22":                        "the target is not HOST:PORT",
		"Rx=a:1":                     "is no port of the overlay",
		"R22=a:0":                    "is no port to dial",
		"R22=:22":                    "for this machine say 127.0.0.1",
		"Rudp/53=*":                  "for TCP only",
		"R127.0.0.1:22=127.0.0.1:22": "is no port of the overlay",
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("udp/[::1]:53=kv-1:53/a:1")
	f.Add("R9000=*")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parse(text); err == nil {
			if again, err := parse(map[bool]string{true: "R"}[s.Remote] + s.String()); err != nil || again != s {
				t.Errorf("%q prints as %q, which reads as %+v, %v", text, s, again, err)
			}
		}
	})
}

func TestTargets(t *testing.T) {
	t.Parallel()
	targets, err := ParseTargets([]string{"db.example.org:5432", "*.internal:8000-8099", "10.0.0.0/8:*", "[fd00::1]:22", "192.0.2.1:80"})
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]bool{
		"db.example.org:5432":  true,
		"DB.Example.org.:5432": true,
		"db.example.org:5433":  false,
		"a.internal:8000":      true,
		"a.internal:8099":      true,
		"a.internal:8100":      false,
		"a.b.internal:8000":    false,
		"internal:8000":        false,
		"10.1.2.3:1":           true,
		"::ffff:10.1.2.3:1":    true,
		"11.1.2.3:1":           false,
		"fd00::1:22":           true,
		"fd00::1%eth0:22":      true,
		"fd00::2:22":           false,
		"192.0.2.1:80":         true,
		"192.0.2.1:81":         false,
		"127.0.0.1:22":         false,
	} {
		i := strings.LastIndexByte(target, ':')
		port, _ := net.LookupPort("tcp", target[i+1:])
		if err := targets.Check(target[:i], uint16(port)); (err == nil) != want {
			t.Errorf("%s: %v, want %v", target, err, want)
		}
	}
	if err := (Targets{}).Check("a", 1); err == nil || !strings.Contains(err.Error(), "--allow-target a:1") {
		t.Errorf("without patterns: %v", err)
	}
	for _, text := range []string{"", "a", "a:", "a:0", ":1", "a:2-1", "a:x", "a/b:1", "1.2.3.4/33:1"} {
		if _, err := ParseTargets([]string{text}); err == nil {
			t.Errorf("%q is a pattern", text)
		}
	}
	all, err := ParseTargets([]string{"*:*"})
	if err != nil || all.Check("db.example.org", 1) != nil || all.Check("127.0.0.1", 1) != nil {
		t.Errorf("*:* is not everything: %v", err)
	}
}

func TestHeaderAddr(t *testing.T) {
	t.Parallel()
	got := headerAddr(overlay.Addr{Node: 0x9f3a61c0d24be815, Port: 22})
	if got.String() != "[fd77:6566:7400:0:9f3a:61c0:d24b:e815]:22" {
		t.Errorf("got %v", got)
	}
	if !TLVKey.App() || !TLVName.App() {
		t.Error("the TLVs are not those for applications")
	}
}

func FuzzTargets(f *testing.F) {
	f.Add("*.internal:8000-8099", "a.internal", uint16(8000))
	f.Add("[fd00::]/8:*", "fd00::1", uint16(22))
	f.Fuzz(func(t *testing.T, pattern, host string, port uint16) {
		targets, err := ParseTargets([]string{pattern})
		if err == nil && port == 0 && targets.Check(host, port) == nil {
			t.Errorf("%q allows port 0", pattern)
		}
	})
}
