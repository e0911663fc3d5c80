package main

import (
	"testing"
	"time"
)

// openBench connects both ends of a transport.
func openBench(b *testing.B, t Transport) *ends {
	b.Helper()
	e, err := connect(b.Context(), t, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	if _, err = firstByte(b.Context(), e); err == nil {
		err = e.settle(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// benchTransfer is what n streams take for b.N writes of 64 KiB each.
func benchTransfer(b *testing.B, n int) {
	for _, t := range transports() {
		b.Run(t.Name(), func(b *testing.B) {
			e := openBench(b, t)
			b.SetBytes(int64(n) * writeSize)
			b.ReportAllocs()
			b.ResetTimer()
			if _, _, err := transfer(b.Context(), e, n, budget{bytes: int64(b.N) * int64(n) * writeSize, time: time.Hour}); err != nil {
				b.Error(err)
			}
		})
	}
}

// BenchmarkBulk is one stream with writes of 64 KiB, for profiles.
func BenchmarkBulk(b *testing.B) { benchTransfer(b, 1) }

// BenchmarkParallel is 16 streams at once, for profiles.
func BenchmarkParallel(b *testing.B) { benchTransfer(b, manyStreams) }

// BenchmarkPingPong is 64 bytes there and back, for profiles.
func BenchmarkPingPong(b *testing.B) {
	for _, t := range transports() {
		b.Run(t.Name(), func(b *testing.B) {
			e := openBench(b, t)
			if err := e.begin(b.Context(), doEcho, time.Hour); err != nil {
				b.Fatal(err)
			}
			conns, err := dialAll(b.Context(), e, 1)
			defer closeAll(conns)
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, pingSize)
			b.ReportAllocs()
			for b.Loop() {
				if err := exchange(conns[0], buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen is a dial, one byte there and back, and a close.
func BenchmarkOpen(b *testing.B) {
	for _, t := range transports() {
		b.Run(t.Name(), func(b *testing.B) {
			e := openBench(b, t)
			if err := e.begin(b.Context(), doEcho, time.Hour); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := openOnce(b.Context(), e); err != nil {
					b.Fatal(err)
				}
				if err := e.await(b.Context(), 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
