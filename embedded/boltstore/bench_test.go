package boltstore

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/statelatch/statelatch/s3/s3model"
)

// Every Put is durable when it returns, so these figures depend on the disk.

// each runs op b.N times, shared by exactly so many clients.
func each(b *testing.B, clients int, op func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := op(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func benchmarkPut(b *testing.B, size, clients int, e s3model.Encryption) {
	b.Helper()
	s, _ := newStore(b, s3model.Enabled)
	content := pattern(size, 1)
	b.SetBytes(int64(size))
	each(b, clients, func(i int64) error {
		// 100 keys, so that a long run keeps versions of states rather than states.
		req := s3model.PutRequest{Bucket: "b", Key: fmt.Sprintf("state/%d", i%100), Encryption: e}
		_, err := s.Put(b.Context(), req, bytes.NewReader(content))
		return err
	})
}

func benchmarkGet(b *testing.B, size, clients int, e s3model.Encryption) {
	b.Helper()
	s, _ := newStore(b, s3model.Enabled)
	_, err := s.Put(b.Context(), s3model.PutRequest{Bucket: "b", Key: "k", Encryption: e}, bytes.NewReader(pattern(size, 1)))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	each(b, clients, func(int64) error {
		_, r, err := s.Get(b.Context(), s3model.ReadRequest{Bucket: "b", Key: "k"})
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		if n, err := io.Copy(io.Discard, r); err != nil || n != int64(size) {
			return fmt.Errorf("read %d bytes: %w", n, err)
		}
		return nil
	})
}

func forClients(b *testing.B, size int, run func(*testing.B, int, int, s3model.Encryption)) {
	b.Helper()
	for _, clients := range []int{1, 32} {
		for name, e := range map[string]s3model.Encryption{"plain": {}, "AES256": {SSES3: true}} {
			b.Run(fmt.Sprintf("clients=%d/%s", clients, name), func(b *testing.B) { run(b, size, clients, e) })
		}
	}
}

func BenchmarkPut4KiB(b *testing.B)  { forClients(b, 4<<10, benchmarkPut) }
func BenchmarkGet4KiB(b *testing.B)  { forClients(b, 4<<10, benchmarkGet) }
func BenchmarkPut16MiB(b *testing.B) { forClients(b, 16<<20, benchmarkPut) }
func BenchmarkGet16MiB(b *testing.B) { forClients(b, 16<<20, benchmarkGet) }
