package lock_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
)

var table = flag.Bool("table", false, "print what waiting costs for 1 to 200 waiters and jobs of 0.2 to 60 s")

// process is a store as one process reaches it.
type process struct{ bucket.Bucket }

// drain is what it takes until all of several waiters have done their jobs, one after the other.
type drain struct {
	waiters   int
	job       time.Duration
	together  bool            // in one process
	requests  float64         // a waiter
	ideal     float64         // how many times as long as the jobs alone
	handovers []time.Duration // from the end of one job to the beginning of the next, sorted
}

func (d *drain) String() string {
	return fmt.Sprintf("%3d waiters, jobs of %4v, together %-5v: %6.1f requests a waiter, %.2f x the ideal, hand-over p50 %v p95 %v",
		d.waiters, d.job, d.together, d.requests, d.ideal, d.handover(50), d.handover(95))
}

func (d *drain) handover(percent int) time.Duration {
	return d.handovers[min(len(d.handovers)*percent/100, len(d.handovers)-1)].Round(time.Millisecond)
}

// run is the mean of so many runs. The waiters come within a tenth of a second, while somebody does such a job already;
// a request takes 3 to 7 ms.
func (d *drain) run(t *testing.T, seeds int) {
	t.Helper()
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { d.once(t, rand.New(rand.NewPCG(uint64(seed), 0)), 1/float64(seeds)) })
	}
	slices.Sort(d.handovers)
}

func (d *drain) once(t *testing.T, random *rand.Rand, share float64) {
	t.Helper()
	var mu sync.Mutex
	upTo := func(d time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(random.Int64N(int64(d)))
	}
	store := faultbucket.New(membucket.New("b", membucket.Options{}), faultbucket.Options{Rules: []faultbucket.Rule{
		{Fault: faultbucket.DelayWith(func(context.Context) error {
			time.Sleep(3*time.Millisecond + upTo(4*time.Millisecond))
			return nil
		})},
	}})
	start := time.Now()
	var began, ended []time.Duration
	note := func(times *[]time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		*times = append(*times, time.Since(start))
	}
	do := func(m *lock.Manager) {
		req := request()
		req.Wait = 1000 * time.Hour
		tenure, err := m.Acquire(t.Context(), ref, req)
		if err != nil {
			t.Error(err)
			return
		}
		note(&began)
		time.Sleep(d.job)
		note(&ended)
		if _, err := tenure.Release(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
	var all sync.WaitGroup
	all.Go(func() { do(&lock.Manager{Bucket: &process{store}, Tier: lock.TierFull}) })
	time.Sleep(20 * time.Millisecond)
	before := len(store.Requests())
	shared := &process{store}
	for range d.waiters {
		late := upTo(100 * time.Millisecond)
		all.Go(func() {
			time.Sleep(late)
			m := &lock.Manager{Bucket: shared, Tier: lock.TierFull}
			if !d.together {
				m.Bucket = &process{store}
			}
			do(m)
		})
	}
	all.Wait()
	requests := len(store.Requests()) - before - 1 // the first release
	d.requests += share * float64(requests) / float64(d.waiters)
	d.ideal += share * float64(time.Since(start)) / float64(time.Duration(d.waiters+1)*d.job)
	for i := range d.waiters {
		d.handovers = append(d.handovers, began[i+1]-ended[i])
	}
}

// What waiting costs. Without -table only what is promised is looked at.
func TestManager_Acquire_CostOfWaiting(t *testing.T) {
	t.Parallel()
	const job = 200 * time.Millisecond
	for _, tc := range []struct {
		drain

		requests, ideal float64
		p50, p95        time.Duration // 0: not promised
	}{
		{drain{waiters: 1, job: job}, 6, 1.4, 150 * time.Millisecond, 250 * time.Millisecond},
		{drain{waiters: 1, job: 5 * time.Second}, 13, 1.06, 450 * time.Millisecond, 900 * time.Millisecond},
		{drain{waiters: 3, job: 5 * time.Second}, 22, 1.06, 450 * time.Millisecond, time.Second},
		{drain{waiters: 10, job: job}, 12, 1.3, 100 * time.Millisecond, 250 * time.Millisecond},
		{drain{waiters: 50, job: job}, 19, 1.5, 80 * time.Millisecond, 500 * time.Millisecond},
		{drain{waiters: 200, job: job}, 36, 1.25, 50 * time.Millisecond, 250 * time.Millisecond},
		{drain{waiters: 10, job: job, together: true}, 7, 1.1, 15 * time.Millisecond, 250 * time.Millisecond},
		{drain{waiters: 200, job: job, together: true}, 8, 1.1, 15 * time.Millisecond, 20 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%d waiters of %v, together %v", tc.waiters, tc.job, tc.together), func(t *testing.T) {
			t.Parallel()
			tc.run(t, max(1, 40/tc.waiters))
			if d := &tc.drain; d.requests > tc.requests || d.ideal > tc.ideal || d.handover(50) > tc.p50 || d.handover(95) > tc.p95 {
				t.Errorf("%v; want at most %v, %v, %v and %v", d, tc.requests, tc.ideal, tc.p50, tc.p95)
			}
		})
	}
	if !*table {
		return
	}
	for _, together := range []bool{false, true} {
		for _, waiters := range []int{1, 2, 10, 50, 200} {
			for _, job := range []time.Duration{job, 5 * time.Second, time.Minute} {
				d := drain{waiters: waiters, job: job, together: together}
				d.run(t, max(2, 200/waiters))
				t.Log(&d)
			}
		}
	}
}

// The first of several waiters of a process looks for all; who stands behind is told at once of a release of the
// process, and when the first gives up.
func TestManager_Acquire_Line(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		tenure, err := m.Acquire(t.Context(), ref, request())
		if err != nil {
			t.Fatal(err)
		}
		ctx, giveUp := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			req := request()
			req.Wait = time.Hour
			if _, err := m.Acquire(ctx, ref, req); !errors.Is(err, context.Canceled) {
				t.Errorf("the first one: %v, want the end of its context", err)
			}
		})
		time.Sleep(time.Second)
		var mu sync.Mutex
		var order []int
		entered := func() []int {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(order)
		}
		start := time.Now()
		for i := range 3 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				req := request()
				req.Wait = time.Hour
				tenure, err := m.Acquire(t.Context(), ref, req)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Minute)
				if _, err := tenure.Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Minute)
		before := len(store.Requests())
		giveUp()
		synctest.Wait()
		if got := ops(store.Requests()[before:]); !slices.Equal(got, []string{"get"}) {
			t.Errorf("when the first gives up: requests %q, want a look by the next one", got)
		}
		time.Sleep(time.Second)
		before = len(store.Requests())
		if _, err := tenure.Release(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := store.Requests()[before:]; len(entered()) != 1 || ops(got)[1] != "put if absent" {
			t.Errorf("a release of the process: %d entered, requests %q, want one who creates at once", len(entered()), ops(got))
		}
		all.Wait()
		if took := time.Since(start); took != 4*time.Minute+time.Second || !slices.Equal(entered(), []int{0, 1, 2}) {
			t.Errorf("order %v, in %v, want one after the other without a pause", entered(), took)
		}
	})
}

// A waiter who stands behind looks all the same, and so does one who watches a lease.
func TestManager_Acquire_Line_BehindOneThatHangs(t *testing.T) {
	t.Parallel()
	for _, takeOver := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.client().dead(t, leased(minute))
			hung := make(chan struct{})
			c := w.client(faultbucket.Rule{Op: faultbucket.OpGet, Nth: 2, Fault: faultbucket.Hold(hung)})
			ctx, giveUp := context.WithCancel(t.Context())
			var all sync.WaitGroup
			all.Go(func() {
				req := request()
				req.Wait = time.Hour
				if _, err := c.Acquire(ctx, ref, req); err == nil {
					t.Error("the one that hangs got the lock")
				}
			})
			time.Sleep(10 * time.Second)
			start := time.Now()
			req := request()
			req.Wait = time.Hour
			if takeOver {
				req = taking(minute, time.Hour)
			} else {
				time.AfterFunc(5*time.Second, func() {
					_, err := w.objects.Delete(context.WithoutCancel(t.Context()), ref.LockKey(), bucket.DeleteOptions{})
					if err != nil {
						t.Error(err)
					}
				})
			}
			tenure, err := c.Acquire(t.Context(), ref, req)
			if err != nil {
				t.Fatal(err)
			}
			if took, most := time.Since(start), 20*time.Second; !takeOver && took > most {
				t.Errorf("it took %v, want at most %v", took, most)
			} else if most = minute + 2*time.Second; took > most {
				t.Errorf("taking over took %v, want at most %v", took, most)
			}
			tenure.Abandon()
			giveUp()
			close(hung)
			all.Wait()
		})
	}
}

// uncomparable cannot be told from other buckets.
type uncomparable struct {
	bucket.Bucket

	_ []int
}

func TestManager_Acquire_Line_UncomparableBucket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, store := setup()
		put(t, store, engineLock)
		m := &lock.Manager{Bucket: uncomparable{Bucket: store}, Tier: lock.TierFull}
		req := request()
		req.Wait = 2 * time.Second
		if _, err := m.Acquire(t.Context(), ref, req); !errors.Is(err, statelatch.ErrLocked) {
			t.Errorf("got %v, want ErrLocked", err)
		}
		if _, err := m.Status(t.Context(), ref); err != nil {
			t.Error(err)
		}
		if _, _, err := m.ForceUnlock(t.Context(), ref, engineID, request()); err != nil {
			t.Error(err)
		}
	})
}
