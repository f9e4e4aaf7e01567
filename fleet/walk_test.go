package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

// shelf is a bucket of which only the listing works, quickly for many keys; every request takes a while.
type shelf struct {
	bucket.Bucket
	keys     []string // in order
	latency  time.Duration
	requests atomic.Int64
	under    atomic.Int64 // way
	most     atomic.Int64 // under way at once
}

func (s *shelf) Name() string { return "b" }

func (s *shelf) List(_ context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		i, found := slices.BinarySearch(s.keys, max(opts.StartAfter, opts.Prefix))
		if found && opts.StartAfter >= opts.Prefix {
			i++
		}
		for {
			s.request()
			for range opts.PageSize {
				if i == len(s.keys) || !strings.HasPrefix(s.keys[i], opts.Prefix) || !yield(bucket.Object{Key: s.keys[i]}, nil) {
					return
				}
				i++
			}
			if i == len(s.keys) {
				return
			}
		}
	}
}

func (s *shelf) request() {
	s.requests.Add(1)
	s.most.Store(max(s.most.Load(), s.under.Add(1)))
	time.Sleep(s.latency)
	s.under.Add(-1)
}

var whole = statelatch.Scope{Bucket: "b"}

// distributions are ways in which states lie in a bucket.
var distributions = map[string]func(i, n int) string{
	"one folder":     func(i, _ int) string { return fmt.Sprintf("states/%06d.tfstate", i) },
	"folder per key": func(i, _ int) string { return fmt.Sprintf("live/account-%05d/terraform.tfstate", i) },
	"teams":          func(i, _ int) string { return fmt.Sprintf("team-%03d/app-%04d/terraform.tfstate", i/1000, i%1000) },
	"uneven": func(i, n int) string {
		switch {
		case i < n/100:
			return fmt.Sprintf("a/%x/terraform.tfstate", i)
		case i < n*9/10:
			return fmt.Sprintf("platform/eu-central-1/prod/cluster-%d/services/%d/terraform.tfstate", i%3, i)
		}
		return fmt.Sprintf("z%d", i)
	},
	"workspaces": func(i, _ int) string { return fmt.Sprintf("env:/ws%d/network/terraform.tfstate", i) },
	"random": func(i, _ int) string {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		return fmt.Sprintf("%08x-%04x/terraform.tfstate", r.Uint32(), r.Uint32()&0xffff)
	},
	"regions": func(i, _ int) string {
		return fmt.Sprintf("%s/%s/%d/main.tfstate", []string{"eu-west-1", "eu-west-2", "us-east-1", "ap-south-1"}[i%4], []string{"dev", "prod", "stage"}[i%3], i)
	},
	"non-ASCII": func(i, _ int) string { return fmt.Sprintf("états/環境-%c%c/x.tfstate", 0x4e00+i/300, 0x3b1+i%300) },
}

// The unit of time is a request: 50 of them one after another list the 50,000 keys. Virtual time.
func TestWalk_Workers_TimeAndRequests(t *testing.T) {
	t.Parallel()
	const n, pages, workers, latency = 50_000, 50, 16, 50 * time.Millisecond
	for name, key := range distributions {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{latency: latency}
				for i := range n {
					s.keys = append(s.keys, key(i, n))
				}
				slices.Sort(s.keys)
				got := make([]string, 0, n)
				var last Progress
				start := time.Now()
				err := Walk(t.Context(), s, whole, WalkOptions{Workers: workers, OnProgress: func(p Progress) { last = p }},
					func(o bucket.Object) error { got = append(got, o.Key); return nil })
				rounds, requests := int(time.Since(start)/latency), int(s.requests.Load())
				slices.Sort(got)
				if err != nil || !slices.Equal(got, s.keys) {
					t.Fatalf("got %d keys, error %v, want the %d of the bucket", len(got), err, n)
				}
				t.Logf("%d requests, in the time of %d", requests, rounds)
				if last != (Progress{Objects: n, Requests: requests}) {
					t.Errorf("progress ends with %+v, want %d objects and %d requests", last, n, requests)
				}
				if requests > pages+maxCuts+requests/3 {
					t.Errorf("%d requests, want %d and at most %d more", requests, pages, maxCuts+requests/3)
				}
				if rounds > pages*3/5 { // most take a third
					t.Errorf("took the time of %d requests, want %d at most", rounds, pages*3/5)
				}
				if most := s.most.Load(); most > workers {
					t.Errorf("%d requests at once, want %d at most", most, workers)
				}
			})
		})
	}
}

func TestWalk_OneWorker_NoExtraRequest(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 999, 1000, 1001, 2500} {
		s := &shelf{}
		for i := range n {
			s.keys = append(s.keys, fmt.Sprintf("k%06d", i))
		}
		var p Progress
		if err := Walk(t.Context(), s, whole, WalkOptions{Workers: 1, OnProgress: func(now Progress) { p = now }}, func(bucket.Object) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if want := max(1, (n+999)/1000); int(s.requests.Load()) != want || p != (Progress{n, want}) {
			t.Errorf("%d keys: got %d requests and %+v, want %d", n, s.requests.Load(), p, want)
		}
	}
}

// randomKeys are few or many keys that share beginnings, are beginnings of each other, and have characters of all lengths.
func randomKeys(r *rand.Rand) []string {
	letters := []rune("ab019/-.zAZé環\U0001F511\uffff\U0010ffff~ ")[:2+r.IntN(15)]
	var keys []string
	for range []int{0, 1, 2, 20, 200}[r.IntN(5)] {
		key := ""
		if len(keys) > 0 && r.IntN(2) == 0 {
			key = keys[r.IntN(len(keys))]
			key = strings.ToValidUTF8(key[:r.IntN(len(key)+1)], "")
		}
		for range r.IntN(6) {
			key += string(letters[r.IntN(len(letters))])
		}
		if key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

func put(t *testing.T, b bucket.Bucket, key, content string) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, strings.NewReader(content), bucket.PutOptions{}); err != nil {
		t.Error(err)
	}
}

// Whatever the keys, a walk sees what a listing from end to end sees.
func TestWalk_RandomKeys_EqualsListing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		b := membucket.New("b", membucket.Options{Versioned: true})
		for _, key := range randomKeys(r) {
			put(t, b, key, "x")
			for range r.IntN(3) {
				if put(t, b, key, fmt.Sprint(r.Int())); r.IntN(4) == 0 {
					if _, err := b.Delete(t.Context(), key, bucket.DeleteOptions{}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		scope := whole
		scope.Prefix = []string{"", "", "a", "env:/a"}[r.IntN(4)]
		opts := WalkOptions{Workers: 1 + r.IntN(9), Versions: r.IntN(2) == 0, WorkspacePrefix: "a", pageSize: 1 + r.IntN(3)}
		list := b.List
		if opts.Versions {
			list = b.ListVersions
		}
		var want, got []bucket.Object
		for o, err := range list(t.Context(), bucket.ListOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if scope.Covers(o.Key, "a") {
				want = append(want, o)
			}
		}
		if err := Walk(t.Context(), b, scope, opts, func(o bucket.Object) error { got = append(got, o); return nil }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		slices.SortStableFunc(got, func(a, b bucket.Object) int { return strings.Compare(a.Key, b.Key) })
		if !reflect.DeepEqual(got, want) {
			t.Errorf("seed %d: %+v of %q: got %d objects, want %d:\n%v\n%v", seed, opts, scope, len(got), len(want), got, want)
		}
	}
}

func TestWalk_WhileWritten_WhatStaysIsSeenOnce(t *testing.T) {
	t.Parallel()
	b := membucket.New("b", membucket.Options{})
	var stay []string
	for i := range 300 {
		stay = append(stay, fmt.Sprintf("team-%d/%03d", i%7, i))
		put(t, b, stay[i], "x")
	}
	slices.Sort(stay)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("team-%d/%03d.%d", i%9, i%400, w)
				put(t, b, key, "y")
				_, _ = b.Delete(t.Context(), key, bucket.DeleteOptions{})
			}
		})
	}
	for range 8 {
		seen := map[string]int{}
		err := Walk(t.Context(), b, whole, WalkOptions{pageSize: 5}, func(o bucket.Object) error { seen[o.Key]++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range stay {
			if seen[key] != 1 {
				t.Errorf("%q was seen %d times, want once", key, seen[key])
			}
		}
	}
	stop()
	writers.Wait()
}

func TestWalk_Scope_WorkspacesAndProbes(t *testing.T) {
	t.Parallel()
	b := membucket.New("b", membucket.Options{})
	for _, key := range []string{
		"team/a.tfstate", "team/a.tfstate.tflock", "teams/b.tfstate", "env:/dev/team/a.tfstate", "env:/dev/other", "zoo",
		statelatch.ProbePrefix + "1/x",
	} {
		put(t, b, key, "x")
	}
	for scope, want := range map[string][]string{
		"s3://b/team": {"env:/dev/team/a.tfstate", "team/a.tfstate", "team/a.tfstate.tflock"},
		"s3://b":      {"env:/dev/other", "env:/dev/team/a.tfstate", "team/a.tfstate", "team/a.tfstate.tflock", "teams/b.tfstate", "zoo"},
	} {
		parsed, err := statelatch.ParseScope(scope)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = Walk(t.Context(), b, parsed, WalkOptions{WorkspacePrefix: "env:", Workers: 1}, func(o bucket.Object) error { got = append(got, o.Key); return nil })
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, error %v, want %q", scope, got, err, want)
		}
	}
}

func TestWalk_Errors_EndIt(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	s := &shelf{}
	for i := range 20_000 {
		s.keys = append(s.keys, fmt.Sprintf("k%06d", i))
	}
	visits := 0
	err := Walk(t.Context(), s, whole, WalkOptions{}, func(bucket.Object) error {
		if visits++; visits == 1500 {
			return boom
		}
		return nil
	})
	if !errors.Is(err, boom) || visits != 1500 {
		t.Errorf("got %v after %d visits, want the visit's own error and no visit after it", err, visits)
	}

	// A store that ignores where to start, or sorts as it likes, would make walks miss keys and see others twice.
	s.keys[15_000], s.keys[3] = s.keys[3], s.keys[15_000]
	err = Walk(t.Context(), s, whole, WalkOptions{}, func(bucket.Object) error { return nil })
	if !errors.Is(err, statelatch.ErrBroken) {
		t.Errorf("a store that does not list in order: got %v, want %v", err, statelatch.ErrBroken)
	}

	ctx, cancel := context.WithCancel(t.Context())
	b := membucket.New("b", membucket.Options{})
	for i := range 30 {
		put(t, b, fmt.Sprint(i), "x")
	}
	err = Walk(ctx, b, whole, WalkOptions{pageSize: 1}, func(bucket.Object) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	err = Walk(t.Context(), b, whole, WalkOptions{Versions: true}, func(bucket.Object) error { return nil })
	if !errors.Is(err, statelatch.ErrUnsupported) {
		t.Errorf("versions of a bucket without: got %v, want %v", err, statelatch.ErrUnsupported)
	}
}

func TestEach_Errors_EndIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done, under, most atomic.Int64
		items := make([]int, 100)
		start := time.Now()
		err := Each(t.Context(), 10, items, func(context.Context, int) error {
			most.Store(max(most.Load(), under.Add(1)))
			time.Sleep(time.Second)
			under.Add(-1)
			done.Add(1)
			return nil
		})
		if err != nil || done.Load() != 100 || most.Load() != 10 || time.Since(start) != 10*time.Second {
			t.Errorf("got %v, %d done, %d at once, %v; want 100, by 10, in 10 s", err, done.Load(), most.Load(), time.Since(start))
		}
		boom := errors.New("boom")
		done.Store(0)
		err = Each(t.Context(), 3, items, func(ctx context.Context, _ int) error {
			if done.Add(1) == 5 {
				return boom
			}
			return ctx.Err()
		})
		if !errors.Is(err, boom) || done.Load() > 5+3 {
			t.Errorf("got %v after %d items, want the first error and nothing more", err, done.Load())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Each(ctx, 3, items, func(context.Context, int) error { return boom }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if err := Each(t.Context(), 0, nil, func(context.Context, int) error { return boom }); err != nil {
			t.Errorf("no items: got %v", err)
		}
	})
}
