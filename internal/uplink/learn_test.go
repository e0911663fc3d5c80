package uplink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
)

// tell has a relay tell of others.
func (r *fakeRelay) tell(others ...*fakeRelay) {
	var list []control.Relay
	for _, o := range others {
		list = append(list, control.Relay{ID: o.id(), Addrs: []string{relayAddr(int(o.key[0]))}})
	}
	r.last().Push(control.NewRelays(list))
	synctest.Wait()
}

// configured returns a fleet of which the node is told the first relay only.
func configured(n int) (Config, map[string]*fakeRelay, []*fakeRelay) {
	cfg, relays := fleet(n)
	cfg.Relays = cfg.Relays[:1]
	all := make([]*fakeRelay, n)
	for i := range all {
		all[i] = relays[relayAddr(i+1)]
	}
	return cfg, relays, all
}

// memory is a Memory that forgets nothing and counts.
type memory struct {
	relays []Known
	saves  int
	err    error
}

func (m *memory) Load() ([]Known, error) { return m.relays, m.err }

func (m *memory) Save(relays []Known) error {
	m.relays = relays
	m.saves++
	return m.err
}

func TestLearnedRelayIsTheSpareAndThenHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays, all := configured(4)
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		all[0].tell(all[1], all[2], all[3])
		time.Sleep(time.Minute)
		synctest.Wait()
		wantHome(t, s, relayAddr(1))
		spare := spareOf(t, s)
		if st := s.Status(); len(st) != 2 || st[0].Learned || !st[1].Learned {
			t.Errorf("status %+v", st)
		}
		all[0].crash()
		wantHome(t, s, spare)
		time.Sleep(time.Minute)
		synctest.Wait()
		if next := spareOf(t, s); next == spare || next == relayAddr(1) {
			t.Errorf("the new spare is %s", next)
		}
	})
}

func TestLearnedRelaysOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays, all := configured(3)
		m := new(memory)
		cfg.Memory = m
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		all[0].tell(all[1], all[2])
		all[0].tell(all[1], all[2])
		if len(m.relays) != 2 || m.saves != 1 || m.relays[0].ID != all[1].id() {
			t.Errorf("remembered %+v in %d steps", m.relays, m.saves)
		}
		_ = s.Close()
		all[0].crash()
		all[1].crash()
		again, _ := newTestSet(t, cfg, relays)
		began := time.Now()
		mustReady(t, again)
		wantHome(t, again, relayAddr(3))
		if d := time.Since(began); d > time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestConfiguredRelaysGoBeforeLearnedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays, all := configured(3)
		cfg.Memory = &memory{relays: []Known{{ID: all[1].id(), Addrs: []string{relayAddr(2)}}, {ID: all[2].id(), Addrs: []string{relayAddr(3)}}}}
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		wantHome(t, s, relayAddr(1))
		time.Sleep(time.Minute)
		synctest.Wait()
		wantHome(t, s, relayAddr(1))
		if n := len(all[1].dials) + len(all[2].dials); n != 1 {
			t.Errorf("%d dials of learned relays, want one for the spare", n)
		}
	})
}

func TestNearerLearnedRelayIsFoundInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays, all := configured(10)
		for i, r := range all {
			r.delay = time.Duration(100-i) * time.Millisecond
		}
		all[7].delay = time.Millisecond
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		all[0].tell(all[1:]...)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		wantHome(t, s, relayAddr(8))
		linked := 0
		for _, r := range all {
			linked += r.linked()
			if n := len(r.links); n > 5 {
				t.Errorf("%d links to one relay in 3 hours", n)
			}
		}
		if linked != 2 {
			t.Errorf("%d links", linked)
		}
	})
}

func TestLearnedNodeThatIsNoRelayIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays, all := configured(2)
		all[0].noRelay, all[1].noRelay = true, true // the configured one may be what it likes
		m := new(memory)
		cfg.Memory = m
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		all[0].tell(all[1])
		time.Sleep(time.Minute)
		synctest.Wait()
		wantHome(t, s, relayAddr(1))
		if len(s.Status()) != 1 || len(s.Known()) != 0 || len(m.relays) != 0 || all[1].linked() != 0 {
			t.Errorf("status %+v, known %+v, remembered %+v", s.Status(), s.Known(), m.relays)
		}
	})
}

func TestWhatIsLearnedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays, all := configured(1)
		cfg.Self = 77
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		for from := range 10 {
			list := []control.Relay{
				{ID: cfg.Self, Addrs: []string{"192.0.2.1:1"}},
				{ID: 78, Addrs: []string{"nonsense"}},
				{ID: all[0].id(), Addrs: []string{"192.0.2.1:1"}},
			}
			for i := range 40 {
				list = append(list, control.Relay{ID: identity.NodeID(1000 + 40*from + i), Addrs: []string{fmt.Sprintf("192.0.2.%d:%d", from, i+1)}})
			}
			all[0].last().Push(control.NewRelays(list))
			synctest.Wait()
		}
		known := s.Known()
		if len(known) != maxLearned || known[0].ID != 1000+40*9 || known[40].ID != 1000+40*8 {
			t.Errorf("%d known, the first is %v", len(known), known[0])
		}
		for _, k := range known {
			if k.ID < 1000 {
				t.Errorf("%v is known", k)
			}
		}
	})
}

func TestMemoryThatFailsIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, relays, all := configured(2)
		cfg.Memory = &memory{err: errors.New("disk is full")}
		var log strings.Builder
		logger := logrus.New()
		logger.SetOutput(&log)
		cfg.Logger = logger
		s, _ := newTestSet(t, cfg, relays)
		mustReady(t, s)
		all[0].tell(all[1])
		_ = s.Close()
		if n := strings.Count(log.String(), "disk is full"); n != 2 || strings.Count(log.String(), "level=warning") != 2 {
			t.Errorf("logged %s", log.String())
		}
	})
}

func TestFileMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	path := filepath.Join(dir, "relays.json")
	m := FileMemory(path, [32]byte{1})
	if relays, err := m.Load(); relays != nil || err != nil {
		t.Errorf("without a file: %v, %v", relays, err)
	}
	want := []Known{
		{ID: 1, Addrs: []string{"192.0.2.1:9999", "wss://relay.example.org"}, Seen: time.Unix(1700000000, 0).UTC()},
		{ID: 2, Addrs: []string{"192.0.2.2:9999"}, Seen: time.Unix(1700000001, 0).UTC()},
	}
	for range 2 {
		if err := m.Save(want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := m.Load()
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v (%v)", info, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are left", len(files))
	}
	if relays, err := FileMemory(path, [32]byte{2}).Load(); len(relays) != 0 || err != nil {
		t.Errorf("of another network: %v, %v", relays, err)
	}
}

func TestDamagedFileMemory(t *testing.T) {
	network := strings.Repeat("00", 32)
	many := strings.Repeat(`{"id":"00000000000000ff","addrs":["a:1"]},`, maxLearned+5)
	tests := []struct {
		name, content string
		want          int
		fails         bool
	}{
		{"empty", "", 0, true},
		{"no JSON", "\x00\x01\x02", 0, true},
		{"cut short", `{"network":"` + network + `","relays":[{"id":"000000`, 0, true},
		{"another type", `[1,2]`, 0, true},
		{"a bad ID", `{"network":"` + network + `","relays":[{"id":"x","addrs":["a:1"]}]}`, 0, true},
		{"too long", strings.Repeat(" ", maxMemoryFile+1), 0, true},
		{"one entry of use", `{"network":"` + network + `","relays":[{"addrs":["a:1"]},{"id":"0000000000000001"},` +
			`{"id":"0000000000000002","addrs":["no address","a:1"]}]}`, 1, false},
		{"too many", `{"network":"` + network + `","relays":[` + strings.TrimSuffix(many, ",") + `]}`, maxLearned, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "relays.json")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			m := FileMemory(path, [32]byte{})
			relays, err := m.Load()
			if len(relays) != tt.want || (err != nil) != tt.fails {
				t.Errorf("got %v, %v", relays, err)
			}
			if err := m.Save([]Known{{ID: 1, Addrs: []string{"a:1"}}}); err != nil {
				t.Error(err)
			}
			if relays, err := m.Load(); len(relays) != 1 || err != nil {
				t.Errorf("after it was replaced: %v, %v", relays, err)
			}
		})
	}
}
