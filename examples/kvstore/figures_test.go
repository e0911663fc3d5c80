package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftnet/weft/examples/internal/testnet"
	"github.com/weftnet/weft/examples/kvstore/kvv1"
)

// TestFigures prints the table of the README: nodes in processes of their own, with
// one relay, all on this machine. WEFT_DOCS=1 go test -run TestFigures -v ./kvstore
func TestFigures(t *testing.T) {
	if os.Getenv("WEFT_DOCS") == "" {
		t.Skip("WEFT_DOCS is not set")
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 64
	t.Log("| nodes | one more joins | put p50 / p99 | get p50 / p99 | 32 clients put | 32 clients get | idle CPU of a node |")
	for _, size := range []int{2, 5, 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) { figures(t, size) })
	}
}

func figures(t *testing.T, size int) {
	cfg := testnet.Start(t)
	nodes := []*process{startProcess(t, cfg, "kv-1", "")}
	nodes[0].waitMembers(1)
	var joins []time.Duration
	for i := 1; i < size; i++ {
		begin := time.Now()
		nodes = append(nodes, startProcess(t, cfg, fmt.Sprint("kv-", i+1), "kv-1"))
		nodes[i].waitMembers(i + 1)
		joins = append(joins, time.Since(begin))
	}
	for _, p := range nodes {
		p.waitMembers(size)
	}
	busy := cpu(t, nodes)
	begin := time.Now()
	_ = wait(t.Context(), 20*time.Second)
	idle := (cpu(t, nodes) - busy).Seconds() / time.Since(begin).Seconds() / float64(size)

	put := func(ctx context.Context, i int) error {
		_, err := nodes[rand.IntN(size)].client().Put(ctx, &kvv1.PutRequest{Key: fmt.Append(nil, "key ", i), Value: make([]byte, 100)})
		return err
	}
	get := func(ctx context.Context, i int) error {
		_, err := nodes[rand.IntN(size)].client().Get(ctx, &kvv1.GetRequest{Key: fmt.Append(nil, "key ", i)})
		return err
	}
	puts, gets := latencies(t, put), latencies(t, get)
	putRate, getRate := rate(t, put), rate(t, get)
	t.Logf("| %d | %v | %v / %v | %v / %v | %.0f/s | %.0f/s | %.2f %% |", size, percentile(joins, 50).Round(10*time.Millisecond),
		percentile(puts, 50), percentile(puts, 99), percentile(gets, 50), percentile(gets, 99), putRate, getRate, 100*idle)
}

// latencies does an operation a thousand times, one after the other.
func latencies(t *testing.T, do func(context.Context, int) error) (took []time.Duration) {
	for i := range 1100 {
		begin := time.Now()
		if err := do(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	return took[100:] // the first ones make conns
}

// rate does as many operations as 32 clients can in some seconds.
func rate(t *testing.T, do func(context.Context, int) error) float64 {
	begin, end := time.Now(), time.Now().Add(5*time.Second)
	counts := make([]int, 32)
	var working sync.WaitGroup
	for c := range counts {
		working.Go(func() {
			for time.Now().Before(end) {
				if err := do(t.Context(), rand.IntN(1000)); err != nil {
					t.Error(err)
					return
				}
				counts[c]++
			}
		})
	}
	working.Wait()
	all := 0
	for _, n := range counts {
		all += n
	}
	return float64(all) / time.Since(begin).Seconds()
}

func percentile(of []time.Duration, p int) time.Duration {
	slices.Sort(of)
	return of[(len(of)-1)*p/100].Round(10 * time.Microsecond)
}

// cpu is the processor time that processes have used.
func cpu(t *testing.T, nodes []*process) (used time.Duration) {
	for _, p := range nodes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			t.Skip("no /proc here")
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, field := range fields[11:13] { // utime and stime, in hundredths of a second
			ticks, _ := strconv.Atoi(field)
			used += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return used
}
