package overlay

import (
	"sync"
	"testing"
	"time"
)

// Whoever comes while a node has as many unfinished handshakes as it allows is
// not answered, but gets in once there is room.
func TestMaxHandshakesBoundsThoseThatAreUnfinished(t *testing.T) {
	for _, test := range []struct {
		limit, late int
	}{{1, 2}, {2, 1}, {0, 0}} {
		inLab(t, func(t *testing.T, l *lab) {
			server := l.ready("server", Config{MaxHandshakes: test.limit})
			ln, err := server.Listen(80)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			var clients []*Node
			for _, host := range []string{"a", "b", "c"} {
				clients = append(clients, l.ready(host, Config{}))
			}
			var wg sync.WaitGroup
			var mu sync.Mutex
			late := 0
			for _, client := range clients {
				wg.Go(func() {
					began := time.Now()
					c, err := client.Dial(t.Context(), ln.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					mu.Lock()
					defer mu.Unlock()
					took := time.Since(began)
					t.Logf("limit %d: a conn after %v", test.limit, took)
					if took > 12*delay { // as many as a handshake and the conn's request need
						late++
					}
				})
			}
			wg.Wait()
			if late != test.late {
				t.Errorf("limit %d: %d of %d came late, want %d", test.limit, late, len(clients), test.late)
			}
		})
	}
}
