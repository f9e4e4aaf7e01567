package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

// growth is how many versions are in the store of the benchmarks of growth, and how many pairs are compared. Worth
// measuring is that with STATELATCH_FULL; the other shows that the benchmarks still run.
func growth() (versions, pairs int) {
	if full() {
		return 1_000_000, 30
	}
	if testing.Short() {
		return 1_000, 1
	}
	return 3_000, 3
}

// filled is a store of n versions of n/100 keys, of which a lifecycle rule removes 7 of 10.
func filled(b *testing.B, n int) *Store {
	b.Helper()
	s, clock := newStore(b, s3model.Enabled)
	addBucket(b, s, "written", s3model.Unversioned)
	setRules(b, s, rule(func(r *s3model.LifecycleRule) {
		r.Prefix, r.NoncurrentDays, r.NewerNoncurrentVersions = "state/", 1, 29
	}))
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
	clock.Advance(3 * day)
	return s
}

// copyStore copies a store at rest, as a crash would leave it.
func copyStore(b *testing.B, s *Store) (dir string) {
	b.Helper()
	dir = b.TempDir()
	for _, name := range []string{dbFile, keyFile} {
		from, err := os.Open(filepath.Join(s.dir, name))
		if err != nil {
			b.Fatal(err)
		}
		to, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			_, err = io.Copy(to, from)
		}
		if err = errors.Join(err, to.Close(), from.Close()); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// puts is how many bodies of 4 KiB so many clients store in a second.
func puts(b *testing.B, s *Store, clients int) float64 {
	b.Helper()
	content := pattern(4<<10, 1)
	var count atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for c := range clients {
		wg.Go(func() {
			for time.Since(begin) < 100*time.Millisecond {
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
	return float64(count.Load()) / time.Since(begin).Seconds()
}

// ratio is how much faster one of two things is than the other: the median of pairs, for others work on the machine, too.
func ratio(pairs int, one, other func() float64) float64 {
	var all []float64
	for i := range pairs {
		if i%2 == 0 {
			all = append(all, one()/other())
		} else {
			base := other()
			all = append(all, one()/base)
		}
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// A lifecycle rule removes 7 of 10 versions: how fast writes are meanwhile, against times in which it rests; how fast they
// are after it, against a store without it; and what openings cost.
func BenchmarkSweep(b *testing.B) {
	for _, clients := range []int{1, 32} {
		if clients > 1 && testing.Short() {
			continue
		}
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			for range b.N {
				n, pairs := growth()
				s := filled(b, n)
				before := filled(b, n) // of the same history, which bbolt remembers pages by

				var halt sync.RWMutex
				s.rest = func(ctx context.Context, d time.Duration) {
					rest(ctx, d)
					halt.RLock()
					halt.RUnlock() //nolint:staticcheck // waiting is all it is for
				}
				swept := make(chan time.Duration)
				halt.Lock()
				go func() {
					begin := time.Now()
					if err := s.Sweep(context.Background()); err != nil {
						b.Error(err)
					}
					swept <- time.Since(begin)
				}()
				during := ratio(pairs, func() float64 {
					halt.Unlock()
					defer halt.Lock()
					return puts(b, s, clients)
				}, func() float64 { return puts(b, s, clients) })
				halt.Unlock()
				took := <-swept
				after := ratio(pairs, func() float64 { return puts(b, s, clients) },
					func() float64 { return puts(b, before, clients) })
				b.ReportMetric(during, "during:before")
				b.ReportMetric(after, "after:before")
				b.ReportMetric(float64(took.Microseconds())/float64(n)*10/7, "µs/removed")
				reportOpenings(b, s)
			}
		})
	}
}

// reportOpenings opens a copy of the store as a crash left it, and the closed store, which is compacted, twice.
func reportOpenings(b *testing.B, s *Store) {
	b.Helper()
	crashed := copyStore(b, s)
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
	const size = 1000
	versions := 10_000
	if testing.Short() {
		versions = 2 * size
	}
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

// One client's writes against what the disk does at most: 4 KiB that are appended to a file and synced.
func BenchmarkPutOfDisk(b *testing.B) {
	s, _ := newStore(b, s3model.Enabled)
	addBucket(b, s, "written", s3model.Enabled)
	file, err := os.Create(filepath.Join(b.TempDir(), "appended"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	content := pattern(4<<10, 1)
	appends := func() float64 {
		begin, n := time.Now(), 0
		for ; time.Since(begin) < 100*time.Millisecond; n++ {
			if _, err := file.Write(content); err != nil {
				b.Fatal(err)
			}
			if err := file.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		return float64(n) / time.Since(begin).Seconds()
	}
	_, pairs := growth()
	for range b.N {
		b.ReportMetric(ratio(pairs, func() float64 { return puts(b, s, 1) }, appends), "put:disk")
	}
}
