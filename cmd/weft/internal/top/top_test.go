package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newModel() *Model {
	return &Model{
		Bytes: func(n uint64) string { return fmt.Sprintf("%d B", n) },
		Trip:  func(ms float64) string { return fmt.Sprintf("%.0f ms", ms) },
	}
}

// nodes are what there is after some seconds.
func nodes(seconds int) []Node {
	n := uint64(seconds)
	return []Node{
		{ID: "aa", Title: "node laptop (aa)", Lines: []string{"home r1:9999"}, At: now.Add(time.Duration(seconds) * time.Second), Peers: []Peer{
			{ID: "01", Name: "files", Path: "udp 192.0.2.1:1", RTT: 3, Streams: 2, Received: 1000 * n, Sent: 10 * n, Packets: 100, Lost: 5},
			{ID: "02", Name: "kv-1", Path: "relay r1:9999", RTT: 30, Streams: 9, Received: 10 * n, Sent: 500 * n},
			{ID: "03", Name: "\x1b[2Jevil", Path: "relay r2:9999", RTT: 1},
		}},
		{ID: "bb", Title: "node relay (bb)", At: now},
	}
}

func TestView(t *testing.T) {
	t.Parallel()
	m := newModel()
	if got := m.Lines(80, 0); !slices.Equal(got, []string{"no node runs here"}) {
		t.Errorf("at first: %q", got)
	}
	m.Update(nodes(10), nil)
	m.Update(nodes(12), nil)
	want := `[1/2] node laptop (aa)  12:00:12  in 1010 B/s  out 510 B/s
home r1:9999
PEER*                PATH                  TRIP    LOST      IN/S     OUT/S  STREAMS
?[2Jevil             relay r2:9999         1 ms     0 %     0 B/s     0 B/s       0
files                udp 192.0.2.1:1       3 ms     5 %  1000 B/s    10 B/s       2
kv-1                 relay r1:9999        30 ms     0 %    10 B/s   500 B/s       9`
	want = strings.ReplaceAll(want, "   0 B/s     0 B/s       0", "     0 B       0 B        0")
	want = strings.ReplaceAll(want, "1000 B/s    10 B/s", "  1000 B      10 B ")
	want = strings.ReplaceAll(want, "  10 B/s   500 B/s", "    10 B     500 B ")
	if got := strings.Join(m.Lines(85, 0), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	m.Update(nil, errors.New("no answer"))
	if got := m.Lines(85, 0); got[0] != "no answer" || len(got) != 7 {
		t.Errorf("with an error: %q", got)
	}
}

// order is who is listed, from above.
func order(m *Model) (names []string) {
	for _, line := range m.Lines(100, 0)[3:] {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

func TestKeysSort(t *testing.T) {
	t.Parallel()
	m := newModel()
	m.Update(nodes(0), nil)
	m.Update(nodes(1), nil)
	const evil = "?[2Jevil"
	for _, tt := range []struct {
		keys string
		want []string
	}{
		{"n", []string{evil, "files", "kv-1"}},
		{"n", []string{"kv-1", "files", evil}},
		{"p", []string{"kv-1", evil, "files"}},
		{"t", []string{"kv-1", "files", evil}},
		{"tt", []string{"kv-1", "files", evil}},
		{"t", []string{evil, "files", "kv-1"}},
		{"l", []string{"files", "kv-1", evil}},
		{"i", []string{"files", "kv-1", evil}},
		{"o", []string{"kv-1", "files", evil}},
		{"s", []string{"kv-1", "files", evil}},
		{"x", []string{"kv-1", "files", evil}},
	} {
		for _, k := range tt.keys {
			m.Key(Key(k))
		}
		if got := order(m); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.keys, got, tt.want)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	m := newModel()
	m.Update(nodes(0), nil)
	for width := range 120 {
		for height := 1; height < 12; height++ {
			lines := m.Lines(width, height)
			if len(lines) > height {
				t.Fatalf("%d lines of %d", len(lines), height)
			}
			for _, line := range lines {
				if n := len([]rune(line)); width > 0 && n > width {
					t.Fatalf("%d characters of %d: %q", n, width, line)
				}
			}
		}
	}
	first := func() string { return strings.Fields(m.Lines(100, 5)[3])[0] }
	for _, tt := range []struct {
		key  Key
		want string
	}{{KeyUp, "?[2Jevil"}, {KeyDown, "files"}, {KeyDown, "kv-1"}, {KeyDown, "kv-1"}, {KeyUp, "files"}} {
		if m.Key(tt.key); first() != tt.want {
			t.Errorf("at the top is %s, want %s", first(), tt.want)
		}
	}
}

func TestNodesAreChosen(t *testing.T) {
	t.Parallel()
	m := newModel()
	m.Key(KeyRight) // nothing is there
	m.Update(nodes(0), nil)
	title := func() string { return m.Lines(100, 0)[0] }
	for _, tt := range []struct {
		key  Key
		want string
	}{{KeyRight, "[2/2] node relay"}, {KeyRight, "[1/2] node laptop"}, {KeyLeft, "[2/2] node relay"}} {
		if m.Key(tt.key); !strings.HasPrefix(title(), tt.want) {
			t.Errorf("it shows %s, want %s", title(), tt.want)
		}
	}
	m.Update(nodes(0)[:1], nil) // the other one has ended
	if !strings.HasPrefix(title(), "node laptop") {
		t.Errorf("it shows %s", title())
	}
}

func TestAPeerThatBeginsAnewCountsFromNothing(t *testing.T) {
	t.Parallel()
	if r := perSecond(100, 10, 1); r != 0 {
		t.Errorf("got %v", r)
	}
	if r := perSecond(0, 10, 0); r != 0 {
		t.Errorf("got %v", r)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]Key{
		"q": {KeyQuit}, "\x03": {KeyQuit}, "nt": {'n', 't'}, "\x1b[A\x1b[B\x1bOC\x1b[D": {KeyUp, KeyDown, KeyRight, KeyLeft},
		"\x1b[1;5A": {KeyUp}, "\x1b[5~n": {'n'}, "\x1b": nil, "\x1b[1;": nil, "ä\x00\xff": nil,
	} {
		if got, _ := keysOf([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
	if _, rest := keysOf([]byte("n\x1b[")); string(rest) != "\x1b[" {
		t.Errorf("the rest is %q", rest)
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("\x1b[1;5Aq"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, rest := keysOf(b); len(rest) >= maxSequence {
			t.Errorf("%d bytes are kept", len(rest))
		}
	})
}

// A fake is a terminal.
type fake struct {
	mu     sync.Mutex
	text   strings.Builder
	width  atomic.Int64
	writes int
}

func (f *fake) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	return f.text.Write(b)
}

func (f *fake) take() (string, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.text.Reset()
	return f.text.String(), f.writes
}

func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, keys := io.Pipe()
		screen := new(fake)
		screen.width.Store(100)
		asked := 0
		done := make(chan error, 1)
		go func() {
			done <- Run(t.Context(), Screen{in, screen, func() (int, int) { return int(screen.width.Load()), 10 }}, newModel(), time.Second, func(context.Context) ([]Node, error) {
				asked++
				return nodes(asked), nil
			})
		}()
		synctest.Wait()
		if text, _ := screen.take(); !strings.HasPrefix(text, enter+home) || !strings.Contains(text, "12:00:01") {
			t.Errorf("drawn: %q", text)
		}
		time.Sleep(2500 * time.Millisecond)
		text, before := screen.take()
		if !strings.Contains(text, "12:00:03") || strings.Contains(text, "12:00:04") {
			t.Errorf("drawn: %q", text)
		}
		screen.width.Store(20)
		time.Sleep(resizeEvery + time.Millisecond)
		if text, after := screen.take(); after != before+1 || !strings.Contains(text, "…") {
			t.Errorf("when the size has changed: %q", text)
		}
		_, _ = keys.Write([]byte("s"))
		synctest.Wait()
		_, _ = keys.Write([]byte("q"))
		if err := <-done; err != nil {
			t.Error(err)
		}
		if text, _ := screen.take(); !strings.HasSuffix(text, leave) {
			t.Errorf("it leaves with %q", text)
		}
		_ = keys.Close()
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, keys := io.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := Run(ctx, Screen{in, new(fake), func() (int, int) { return 80, 24 }}, newModel(), time.Second, func(ctx context.Context) ([]Node, error) {
			<-ctx.Done() // a node that hangs
			return nil, ctx.Err()
		})
		if err != nil {
			t.Error(err)
		}
		_ = keys.Close()
	})
}
