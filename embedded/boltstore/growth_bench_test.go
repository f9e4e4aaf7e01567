package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statelatch/statelatch/embedded/s3model"
)

// growthVersions is how many versions are in the store of the benchmarks of growth; STATELATCH_FULL makes it one that is
// worth measuring.
func growthVersions() int {
	if full() {
		return 1_000_000
	}
	return 30_000
}

// filled is a store of n versions of n/100 keys, of which a lifecycle rule then removes 7 of 10.
func filled(b *testing.B, n int) (*Store, *testClock) {
	b.Helper()
	s, clock := newStore(b, s3model.Enabled)
	addBucket(b, s, "written", s3model.Unversioned)
	s.db.NoSync = true
	content := pattern(1000, 1)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				key := fmt.Sprintf("state/%d", i%int64(n/100))
				if _, err := s.Put(context.Background(), s3model.PutRequest{Bucket: "b", Key: key}, bytes.NewReader(content)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s.db.NoSync = false
	return s, clock
}

// putsFor is how many bodies of 4 KiB so many clients store in a second, until done: the median of short times, for
// others work on the machine, too.
func putsFor(b *testing.B, s *Store, clients int, done func() bool) float64 {
	b.Helper()
	content := pattern(4<<10, 1)
	var rates []float64
	for slice := 200 * time.Millisecond; !done(); {
		var count atomic.Int64
		var wg sync.WaitGroup
		begin, over := time.Now(), lasting(slice)
		for c := range clients {
			wg.Go(func() {
				for !over() {
					req := s3model.PutRequest{Bucket: "written", Key: fmt.Sprintf("state/%d", c)}
					if _, err := s.Put(context.Background(), req, bytes.NewReader(content)); err != nil {
						b.Error(err)
						return
					}
					count.Add(1)
				}
			})
		}
		wg.Wait()
		rates = append(rates, float64(count.Load())/time.Since(begin).Seconds())
	}
	slices.Sort(rates)
	return rates[len(rates)/2]
}

func lasting(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// A lifecycle rule removes 7 of 10 versions: how fast writes are after it and meanwhile, against before, and what the
// next openings cost.
func BenchmarkSweep(b *testing.B) {
	for _, clients := range []int{1, 32} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				n := growthVersions()
				s, clock := filled(b, n)
				setRules(b, s, rule(func(r *s3model.LifecycleRule) {
					r.Prefix, r.NoncurrentDays, r.NewerNoncurrentVersions = "state/", 1, 29
				}))
				clock.Advance(3 * day)
				const long = 3 * time.Second
				before := putsFor(b, s, clients, lasting(long))
				b.StartTimer()
				var swept atomic.Bool
				var took time.Duration
				go func() {
					begin := time.Now()
					if err := s.Sweep(context.Background()); err != nil {
						b.Error(err)
					}
					took = time.Since(begin)
					swept.Store(true)
				}()
				limit := lasting(5 * time.Second)
				during := putsFor(b, s, clients, func() bool { return swept.Load() || limit() })
				for !swept.Load() {
					time.Sleep(time.Millisecond)
				}
				b.StopTimer()
				after := putsFor(b, s, clients, lasting(long))
				b.ReportMetric(before, "before/s")
				b.ReportMetric(during/before, "during:before")
				b.ReportMetric(after/before, "after:before")
				b.ReportMetric(float64(took.Microseconds())/float64(n)*10/7, "µs/removed")
				reportOpenings(b, s)
			}
		})
	}
}

// reportOpenings opens a copy of the store as a crash left it, and the closed store, which is compacted, twice.
func reportOpenings(b *testing.B, s *Store) {
	b.Helper()
	crashed := b.TempDir()
	for _, name := range []string{dbFile, keyFile} {
		content, err := os.ReadFile(filepath.Join(s.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(crashed, name), content, 0o600)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	open := func(dir string, worthwhile int64) float64 {
		begin := time.Now()
		s, err := Open(Config{Dir: dir, LifecycleInterval: -1, worthwhile: worthwhile})
		took := time.Since(begin)
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
		return float64(took.Milliseconds())
	}
	before, err := os.Stat(filepath.Join(crashed, dbFile))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(open(crashed, 1<<60), "ms/crashed")
	b.ReportMetric(open(crashed, 1<<60), "ms/closed")
	b.ReportMetric(open(crashed, 1), "ms/compacted")
	after, err := os.Stat(filepath.Join(crashed, dbFile))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(after.Size())/float64(before.Size()), "bytes-left")
}

// A page of 1000 versions of one key: the last one of many against the first.
func BenchmarkVersionPages(b *testing.B) {
	s, _ := newStore(b, s3model.Enabled)
	s.db.NoSync = true
	const versions, size = 30_000, 1000
	var middle string
	for i := range versions {
		if o := put(b, s, "k", "x"); i == size {
			middle = o.VersionID
		}
	}
	page := func(marker string) time.Duration {
		begin := time.Now()
		req := s3model.ListRequest{Bucket: "b", Max: size, VersionIDMarker: marker}
		if marker != "" {
			req.KeyMarker = "k"
		}
		got, err := s.ListVersions(b.Context(), req)
		if err != nil || len(got.Objects) != size {
			b.Fatalf("got %d versions, %v", len(got.Objects), err)
		}
		return time.Since(begin)
	}
	var first, last time.Duration
	for b.Loop() {
		first += page("")
		last += page(middle)
	}
	b.ReportMetric(float64(first.Microseconds())/float64(b.N)/1000, "ms/first")
	b.ReportMetric(float64(last.Microseconds())/float64(b.N)/1000, "ms/last")
	b.ReportMetric(float64(last)/float64(first), "last:first")
}
