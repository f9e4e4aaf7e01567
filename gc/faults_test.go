package gc_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/gc"
	"github.com/statelatch/statelatch/lock"
)

// fixture is a bucket with every kind of lock history, some states, and what should be left of it.
func fixture(t *testing.T) (s *store, left int) {
	t.Helper()
	s = newStore()
	s.now = start
	for key, h := range map[string]string{"free": "p†m†", "held": "mmp†p", "marker": "†", "markers": "p††", "new": "m"} {
		s.history(t, statelatch.Ref{Bucket: "b", Key: key}, h)
	}
	s.put(t, "free", "1")
	s.put(t, "free", "2")
	s.now = s.now.Add(time.Hour)
	return s, 4 // two locks, two versions of a state
}

// Each request of a run in turn meets each fault, once or from then on. Whatever happens, no key reads differently at
// any moment, also when a copy arrives that the network held back, and another run finishes the work.
func TestCollect_EveryFaultAtEveryRequest(t *testing.T) {
	t.Parallel()
	faults := []faultbucket.Fault{
		faultbucket.LoseRequest(), faultbucket.LoseReply(), faultbucket.Late(3), faultbucket.Late(faultbucket.Held),
		faultbucket.Duplicate(2), faultbucket.Duplicate(faultbucket.Held), faultbucket.Resend(),
		faultbucket.Answer(403), faultbucket.Answer(404), faultbucket.Answer(409), faultbucket.Answer(500), faultbucket.Answer(503),
		faultbucket.AnswerAfter(500), faultbucket.AnswerAfter(403),
	}
	s, left := fixture(t)
	count := faultbucket.New(s, faultbucket.Options{})
	if _, _, err := collect(t, count, gc.Options{Workers: 1, OlderThan: time.Minute}); err != nil || len(s.versions(t, "")) != left {
		t.Fatalf("without faults: %v, and %v is left, want %d", err, s.versions(t, ""), left)
	}
	requests := len(count.Requests())
	if requests < 20 {
		t.Fatalf("only %d requests: the test tests nothing", requests)
	}
	for _, fault := range faults {
		for n := 1; n <= requests; n++ {
			for _, forever := range []bool{false, true} {
				name := fmt.Sprintf("%s at request %d, forever %v", fault, n, forever)
				synctest.Test(t, func(t *testing.T) {
					s, left := fixture(t)
					seen := 0
					rule := faultbucket.Rule{Nth: n, Fault: fault}
					if forever {
						rule = faultbucket.Rule{Fault: fault, Match: func(faultbucket.Request) bool { seen++; return seen >= n }}
					}
					b := faultbucket.New(s, faultbucket.Options{Rules: []faultbucket.Rule{rule}})
					before := s.view(t)
					_, _, err := collect(t, b, gc.Options{Workers: 1, OlderThan: time.Minute})
					if got := s.view(t); got != before {
						t.Errorf("%s (%v): got the view %q, want as before %q", name, err, got, before)
					}
					b.Heal()
					s.lock(t, statelatch.Ref{Bucket: "b", Key: "free"}, 'm') // and then a copy arrives
					now := s.view(t)
					b.Deliver()
					if got := s.view(t); got != now {
						t.Errorf("%s: got the view %q after a late copy, want %q", name, got, now)
					}
					s.lock(t, statelatch.Ref{Bucket: "b", Key: "free"}, '†')
					s.now = s.now.Add(time.Hour)
					if _, _, err := collect(t, b, gc.Options{Workers: 1, OlderThan: time.Minute}); err != nil || len(s.versions(t, "")) != left {
						t.Errorf("%s: the next run: %v, and %v is left, want %d", name, err, s.versions(t, ""), left)
					}
					for _, r := range b.Requests() {
						if r.Op == faultbucket.OpPut || r.Op == faultbucket.OpDelete && r.VersionID == "" {
							t.Errorf("%s: %s of %s without a version ID", name, r.Op, r.Key)
						}
					}
					s.check(t)
				})
			}
		}
	}
}

// A lock is taken just before any of the requests, released, or both: it stays as it is.
func TestCollect_LockAtEveryRequest(t *testing.T) {
	t.Parallel()
	for _, meanwhile := range []string{"p", "p†", "p†p", "mmm"} {
		for n := 1; n <= 9; n++ { // as many as there are: a plan of one, two listings, four removals, and some more for the second
			s := newStore()
			s.now = start
			s.history(t, app, "p†m†")
			var want string
			b := faultbucket.New(s, faultbucket.Options{Rules: []faultbucket.Rule{{
				Nth: n, Fault: faultbucket.DelayWith(func(context.Context) error {
					s.history(t, app, meanwhile)
					want = s.view(t)
					return nil
				}),
			}}})
			if _, _, err := collect(t, b, gc.Options{Workers: 1}); err != nil {
				t.Fatal(err)
			}
			if got := s.view(t); got != want {
				t.Errorf("%q at request %d: got the view %q, want %q", meanwhile, n, got, want)
			}
			s.check(t)
		}
	}
}

// While locks are taken, renewed and released all the time, and two gcs remove everything that they may, every holder
// is alone and keeps its lock, and no lock comes back to life.
func TestCollect_BesideLockers(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			s := newStore()
			network := func(n uint64) *faultbucket.Bucket {
				random := rand.New(rand.NewPCG(seed, n))
				var mu sync.Mutex
				return faultbucket.New(s, faultbucket.Options{Rules: []faultbucket.Rule{{Fault: faultbucket.DelayWith(func(ctx context.Context) error {
					mu.Lock()
					d := time.Duration(random.IntN(400)) * time.Millisecond
					mu.Unlock()
					select {
					case <-time.After(d):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})}}})
			}
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			var holders [2]atomic.Int32
			var tenures, removed atomic.Int64
			var all sync.WaitGroup
			for n := range uint64(4) {
				all.Go(func() {
					random := rand.New(rand.NewPCG(seed, 100+n))
					m := &lock.Manager{
						Bucket: network(n), Tier: lock.TierFull, Boot: func() time.Duration { return time.Since(began) },
						Fence: func(context.Context, statelatch.Ref) error { return nil },
					}
					for ctx.Err() == nil {
						key := random.IntN(len(holders))
						req := lock.Request{Operation: "test", Who: "me", Wait: time.Minute}
						if random.IntN(2) == 0 {
							req.TTL = 8 * time.Second
						}
						tenure, err := m.Acquire(ctx, statelatch.Ref{Bucket: "b", Key: fmt.Sprintf("k%d", key)}, req)
						if errors.Is(err, statelatch.ErrLocked) || ctx.Err() != nil {
							if tenure != nil {
								tenure.Abandon()
							}
							continue
						}
						if err != nil {
							t.Errorf("seed %d: Acquire: %v", seed, err)
							return
						}
						if h := holders[key].Add(1); h != 1 {
							t.Errorf("seed %d: %d holders of k%d", seed, h, key)
						}
						time.Sleep(time.Duration(random.IntN(10_000)) * time.Millisecond)
						holders[key].Add(-1)
						if _, err := tenure.Release(context.WithoutCancel(ctx)); err != nil {
							t.Errorf("seed %d: Release: %v", seed, err)
						}
						tenures.Add(1)
						time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
					}
				})
			}
			for n := range uint64(2) {
				all.Go(func() {
					b := network(50 + n)
					for ctx.Err() == nil {
						p, err := gc.Find(ctx, b, whole, gc.Options{})
						var r gc.Result
						if err == nil {
							r, err = gc.Collect(ctx, b, p, 2, nil)
						}
						if err != nil && ctx.Err() == nil {
							t.Errorf("seed %d: gc: %v", seed, err)
						}
						removed.Add(int64(r.Removed.Versions + r.Removed.Markers))
					}
				})
			}
			all.Wait()
			if tenures.Load() < 50 || removed.Load() < 100 {
				t.Errorf("seed %d: %d tenures and %d versions removed: the test tests nothing", seed, tenures.Load(), removed.Load())
			}
			s.check(t)
			if _, _, err := collect(t, s, gc.Options{}); err != nil || len(s.versions(t, "")) > 0 {
				t.Errorf("seed %d: in the end: %v, and %v is left, want nothing", seed, err, s.versions(t, ""))
			}
		})
	}
}

func TestCollectSnapshots(t *testing.T) {
	t.Parallel()
	s, _ := snapshotStore(t)
	for range 2 { // the second time there is nothing to do
		old, err := gc.Find(t.Context(), s, whole, gc.Options{KeepSnapshots: 2})
		if err != nil {
			t.Fatal(err)
		}
		r, err := gc.Collect(t.Context(), s, old, 0, nil)
		if err != nil || r.Removed != old.Total() {
			t.Fatalf("got %+v, %v; want %+v", r, err, old.Total())
		}
		want := []string{
			"a", "a.history/20260103T000000Z-00000000000000000003-" + md5, "a.history/20260104T000000Z-00000000000000000004-" + md5,
			"a.history/readme", "b.history/20260101T000000Z-00000000000000000001-" + md5,
		}
		if got := keys(t, s); !slices.Equal(got, want) {
			t.Errorf("got %v left, want %v", got, want)
		}
	}
}

// A snapshot that is not what was listed stays.
func TestCollectSnapshots_Replaced(t *testing.T) {
	t.Parallel()
	s, first := snapshotStore(t)
	old, err := gc.Find(t.Context(), s, whole, gc.Options{KeepSnapshots: 1})
	if err != nil || len(old.Snapshots) != 3 {
		t.Fatalf("got %v, %v; want 3", old, err)
	}
	put(t, s, first, "other content")
	r, err := gc.Collect(t.Context(), s, old, 0, nil)
	if err != nil || r.Removed.Versions != 2 || r.Keys != 3 || !slices.Contains(keys(t, s), first) {
		t.Errorf("got %+v, %v, %v left; want 2 removed, and not %s", r, err, keys(t, s), first)
	}
}

func keys(t *testing.T, b bucket.Bucket) []string {
	t.Helper()
	var all []string
	for obj, err := range b.List(t.Context(), bucket.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, obj.Key)
	}
	return all
}
