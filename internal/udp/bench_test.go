package udp

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/weftnet/weft/internal/frame"
)

// BenchmarkThroughput sends packets one way over loopback. No more are on
// their way at once than fit into small receive buffers, so that none is lost; an operation is a packet that
// has arrived.
func BenchmarkThroughput(b *testing.B) {
	const inFlight = 128
	for _, k := range kinds {
		for _, n := range []int{1200, 1400} {
			b.Run(fmt.Sprintf("%s/%d", k.name, n), func(b *testing.B) {
				var arrived atomic.Int64
				more := make(chan struct{}, 1)
				to := open(b, k.config(b, Config{Addr: loopback4, OnFrame: func(_ *Flow, f *frame.Frame) {
					f.Release()
					if arrived.Add(1)%(inFlight/4) == 0 {
						select {
						case more <- struct{}{}:
						default:
						}
					}
				}}))
				from := open(b, k.config(b, Config{Addr: loopback4}))
				fl := from.Flow(to.LocalAddr())
				total := int64(b.N+inFlight-1) / inFlight * inFlight
				b.SetBytes(int64(n))
				b.ReportAllocs()
				b.ResetTimer()
				for sent := int64(0); arrived.Load() < total; {
					for ; sent < total && sent-arrived.Load() < inFlight; sent++ {
						if err := fl.Send(frame.New(n)); err != nil {
							b.Fatal(err)
						}
					}
					<-more
				}
				b.StopTimer()
				c := from.Counters()
				b.ReportMetric(float64(c.FramesOut)/float64(max(c.Writes, 1)), "packets/write")
			})
		}
	}
}
