package stores

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/lock"
)

// openBench starts "statelatch serve" in a process of its own and opens its bucket.
func openBench(b *testing.B) bucket.Bucket {
	b.Helper()
	s := embeddedStore(b)
	opened, err := s3bucket.Open(b.Context(), "terraform-state", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: s.url}, UsePathStyle: true, AccessKey: s.accessKey, SecretKey: s.secretKey,
	})
	if err != nil {
		b.Fatal(err)
	}
	return opened
}

// BenchmarkLockUnlock is one acquire and one release: a durable create and a durable delete.
func BenchmarkLockUnlock(b *testing.B) {
	locks := lock.Manager{Bucket: openBench(b), Tier: lock.TierFull}
	ref := statelatch.Ref{Bucket: "terraform-state", Key: "bench/terraform.tfstate"}
	for b.Loop() {
		held, err := locks.Acquire(b.Context(), ref, lock.Request{Operation: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := held.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkObjects puts and gets whole objects through the wire, the signature and the disk.
func BenchmarkObjects(b *testing.B) {
	store := openBench(b)
	for _, size := range []int{4 << 10, 16 << 20} {
		content := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		for _, clients := range []int{1, 32} {
			name := fmt.Sprintf("%dKiB/%dclients", size>>10, clients)
			b.Run("put/"+name, func(b *testing.B) {
				parallel(b, clients, size, func(client int) error {
					_, err := store.Put(b.Context(), fmt.Sprintf("bench/%d/%d", size, client), bytes.NewReader(content), bucket.PutOptions{})
					return err
				})
			})
			b.Run("get/"+name, func(b *testing.B) {
				parallel(b, clients, size, func(int) error {
					_, body, err := store.Get(b.Context(), fmt.Sprintf("bench/%d/%d", size, 0), bucket.ReadOptions{})
					if err != nil {
						return err
					}
					defer body.Close()
					_, err = io.Copy(io.Discard, body)
					return err
				})
			})
		}
	}
}

// parallel shares b.N calls among so many clients.
func parallel(b *testing.B, clients, size int, do func(client int) error) {
	b.Helper()
	b.SetBytes(int64(size))
	var next, left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, clients)
	b.ResetTimer()
	for range clients {
		go func() {
			client := int(next.Add(1)) - 1
			for left.Add(-1) >= 0 {
				if err := do(client); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// BenchmarkStatusColdStart is the whole process: start, find the credentials, ask, print, exit.
func BenchmarkStatusColdStart(b *testing.B) {
	w := rig.NewWorld(b)
	w.Serve()
	for b.Loop() {
		if r := w.Statelatch("status", "s3://terraform-state/bench/terraform.tfstate"); r.Code != 0 {
			b.Fatal(r)
		}
	}
}

// BenchmarkServeColdStart is from the start of the process to the ready store, on a new directory.
func BenchmarkServeColdStart(b *testing.B) {
	for b.Loop() {
		w := rig.NewWorld(b)
		_ = w.Serve().Cmd.Process.Kill()
	}
}

// BenchmarkHandover is how long after a release a waiter that polls has the lock: the median and the 95th percentile,
// in ms. Meaningful with -benchtime 50x or more.
func BenchmarkHandover(b *testing.B) {
	locks := lock.Manager{Bucket: openBench(b), Tier: lock.TierFull}
	ref := statelatch.Ref{Bucket: "terraform-state", Key: "handover/terraform.tfstate"}
	var took []time.Duration
	for b.Loop() {
		held, err := locks.Acquire(b.Context(), ref, lock.Request{Operation: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		won := make(chan time.Time)
		go func() {
			next, err := locks.Acquire(b.Context(), ref, lock.Request{Operation: "bench", Wait: 30 * time.Second})
			if err != nil {
				b.Error(err)
				close(won)
				return
			}
			won <- time.Now()
			if _, err := next.Release(b.Context()); err != nil {
				b.Error(err)
			}
			close(won)
		}()
		time.Sleep(rand.N(3 * time.Second))
		if _, err := held.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
		released := time.Now()
		took = append(took, (<-won).Sub(released))
		<-won
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Milliseconds()), "p95-ms")
	b.ReportMetric(0, "ns/op")
}
