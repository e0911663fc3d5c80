package main

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// openBench returns the two ends of one stream of a transport.
func openBench(b *testing.B, t Transport) (client, server net.Conn) {
	b.Helper()
	pairs, err := t.Start(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := pairs.Close(); err != nil {
			b.Error(err)
		}
	})
	client, server, err = pairs.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return client, server
}

// BenchmarkBulk is one stream with writes of 64 KiB, for profiles.
func BenchmarkBulk(b *testing.B) {
	for _, t := range transports() {
		b.Run(t.Name(), func(b *testing.B) {
			client, server := openBench(b, t)
			buf := make([]byte, writeSize)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			var wg sync.WaitGroup
			wg.Go(func() {
				for range b.N {
					if _, err := client.Write(buf); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ResetTimer()
			if _, err := io.CopyN(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{server}, int64(b.N)*int64(len(buf))); err != nil {
				b.Error(err)
			}
			wg.Wait()
			b.StopTimer()
			_, _ = client.Close(), server.Close()
		})
	}
}

// BenchmarkParallel is 16 streams at once, for profiles.
func BenchmarkParallel(b *testing.B) {
	for _, t := range transports() {
		b.Run(t.Name(), func(b *testing.B) {
			pairs, err := t.Start(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := pairs.Close(); err != nil {
					b.Error(err)
				}
			}()
			b.SetBytes(manyStreams * writeSize)
			b.ReportAllocs()
			b.ResetTimer()
			if _, _, err := transfer(b.Context(), pairs, manyStreams, budget{int64(b.N) * manyStreams * writeSize, time.Hour}); err != nil {
				b.Error(err)
			}
		})
	}
}

// BenchmarkPingPong is 64 bytes there and back, for profiles.
func BenchmarkPingPong(b *testing.B) {
	for _, t := range transports() {
		b.Run(t.Name(), func(b *testing.B) {
			client, server := openBench(b, t)
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = io.Copy(struct{ io.Writer }{server}, struct{ io.Reader }{server}) })
			buf := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, buf); err != nil {
					b.Fatal(err)
				}
			}
			_ = client.Close()
			wg.Wait()
			_ = server.Close()
		})
	}
}
