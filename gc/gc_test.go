package gc_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/gc"
)

// What stays of a history, one entry an hour; the store's time is an hour after the last.
func TestCollect_B30_WhatStays(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for _, tc := range []struct {
		name    string
		history string
		older   time.Duration
		ours    bool
		stays   string
	}{
		{"free for long: nothing", "p†p†p†", 0, false, ""},
		{"a lock that is held", "p†p†p", 0, false, "v000005"},
		{"a lease that is held", "mmmm", 0, false, "v000004"},
		{"nothing but a marker", "†", 0, false, ""},
		{"markers over markers", "p†††", 0, false, ""},
		{"only the lock that is held", "p", 0, false, "v000001"},
		{"what was superseded less than 2h30m ago", "p†p†p†", 150 * time.Minute, false, "v000004† v000005 v000006†"},
		{"what is exactly that old", "p†p†p†", 2 * hour, false, "v000004† v000005 v000006†"},
		{"a young marker", "p†", 90 * time.Minute, false, "v000001 v000002†"},
		{"all of it, too young", "p†p†", 100 * hour, false, "v000001 v000002† v000003 v000004†"},
		{"ours: from the first plain lock on", "m†mm†p†m†", 0, true, "v000006 v000007† v000008 v000009†"},
		{"ours: all ours", "m†m†", 0, true, ""},
		{"ours: none ours", "p†p†", 0, true, "v000001 v000002† v000003 v000004†"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStore()
			s.now = start
			s.history(t, app, tc.history)
			all := len(s.versions(t, ""))
			want := strings.Fields(tc.stays)
			before := s.view(t)
			p, r, err := collect(t, s, gc.Options{OlderThan: tc.older, Ours: tc.ours})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.versions(t, ""); !slices.Equal(got, want) {
				t.Errorf("got %v left, want %v", got, want)
			}
			if p.Total() != r.Removed {
				t.Errorf("got %+v removed, want what was planned: %+v", r.Removed, p.Total())
			}
			if got := r.Removed.Versions + r.Removed.Markers; got != all-len(want) || p.Kept != len(want) {
				t.Errorf("got %d removed and %d kept of %d, want %d kept", got, p.Kept, all, len(want))
			}
			if after := s.view(t); after != before {
				t.Errorf("got the view %q, want as before %q", after, before)
			}
			s.check(t)
		})
	}
}

func TestFind_Sum(t *testing.T) {
	t.Parallel()
	s := newStore()
	s.now = start
	s.history(t, app, "p†m†p")
	p, err := gc.Find(t.Context(), s, whole, gc.Options{OlderThan: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	plain, managed := info.Marshal(), info.MarshalManaged(statelatch.Managed{Nonce: "n", Seq: 1})
	want := gc.Sum{Versions: 2, Markers: 2, Bytes: int64(len(plain) + len(managed)), Oldest: start, Newest: start.Add(3 * time.Hour)}
	if got := p.Total(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if want := start.Add(5*time.Hour - time.Minute); !p.Before.Equal(want) || !p.Versioned || p.Kept != 1 {
		t.Errorf("got Before %v, Versioned %v, Kept %d; want %v, true, 1", p.Before, p.Versioned, p.Kept, want)
	}
	if got := s.versions(t, ""); len(got) != 5 {
		t.Errorf("Find left %v, want all 5", got)
	}
}

// States and everything else but lock objects keep all their versions; what is outside of the scope stays.
func TestCollect_Scope(t *testing.T) {
	t.Parallel()
	s := newStore()
	s.now = start
	others := []string{app.Key, app.Key + ".tflock.bak", app.Key + ".tflock/x", app.HistoryPrefix() + "x", ".tflock", statelatch.ProbePrefix + "x.tflock"}
	for _, key := range others {
		s.put(t, key, "1")
		s.put(t, key, "2")
	}
	outside := statelatch.Ref{Bucket: "b", Key: "application/terraform.tfstate"}
	workspace := statelatch.Ref{Bucket: "b", Key: "env:/ws/app/terraform.tfstate"}
	s.history(t, outside, "p†")
	s.history(t, workspace, "p†")
	s.history(t, app, "p†")
	p, err := gc.Find(t.Context(), s, statelatch.Scope{Bucket: "b", Prefix: "app"}, gc.Options{WorkspacePrefix: "env:"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gc.Collect(t.Context(), s, p, 0, nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range others {
		if got := s.exactly(t, key); got != 2 {
			t.Errorf("%s has %d versions, want 2", key, got)
		}
	}
	for ref, want := range map[statelatch.Ref]int{outside: 2, workspace: 0, app: 0} {
		if got := s.exactly(t, ref.LockKey()); got != want {
			t.Errorf("%s has %d versions, want %d", ref.LockKey(), got, want)
		}
	}
	s.check(t)
}

func TestFind_Unversioned(t *testing.T) {
	t.Parallel()
	b := membucket.New("b", membucket.Options{})
	p, err := gc.Find(t.Context(), b, whole, gc.Options{})
	if err != nil || p.Versioned || len(p.Keys) != 0 {
		t.Errorf("got %+v, %v; want an empty plan and no error", p, err)
	}
}

// renamed shows one version under another ID, as a bucket does that has, or had, its versioning switched off.
type renamed struct {
	*store
	id, as  string
	removed bool
}

func (r *renamed) ListVersions(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		for obj, err := range r.store.ListVersions(ctx, opts) {
			if obj.VersionID == r.id {
				obj.VersionID = r.as
			}
			if !yield(obj, err) {
				return
			}
		}
	}
}

func (r *renamed) Head(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
	if opts.VersionID == r.as {
		opts.VersionID = r.id
	}
	return r.store.Head(ctx, key, opts)
}

func (r *renamed) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	r.removed = r.removed || opts.VersionID == r.as
	return r.store.Delete(ctx, key, opts)
}

// While versioning is suspended a new lock takes the place of the version "null": removing that one could remove a live lock.
func TestCollect_NullVersionStays(t *testing.T) {
	t.Parallel()
	for n, stays := range map[int]int{1: 4, 2: 3, 3: 2, 4: 1} {
		for _, as := range []string{"null", ""} {
			s := newStore()
			s.now = start
			s.history(t, app, "p†p†")
			r := &renamed{store: s, id: fmt.Sprintf("v%06d", n), as: as}
			if _, _, err := collect(t, r, gc.Options{}); err != nil {
				t.Fatal(err)
			}
			if got := s.versions(t, ""); len(got) != stays || r.removed {
				t.Errorf("entry %d is %q: got %v left, removed %v; want %d left and that one not removed", n, as, got, r.removed, stays)
			}
			s.check(t)
		}
	}
}

// unclear is a store that calls a superseded version the current one, as if the newest had vanished between two pages.
type unclear struct{ *store }

func (u unclear) ListVersions(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		for obj, err := range u.store.ListVersions(ctx, opts) {
			obj.IsLatest = obj.VersionID == "v000003"
			if !yield(obj, err) {
				return
			}
		}
	}
}

func TestCollect_UnclearWhatIsCurrent(t *testing.T) {
	t.Parallel()
	s := newStore()
	s.now = start
	s.history(t, app, "p†p†")
	p, r, err := collect(t, unclear{s}, gc.Options{})
	if err != nil || len(p.Keys) != 0 || p.Kept != 4 || r.Removed != (gc.Sum{}) {
		t.Errorf("got %+v, %+v, %v; want all kept", p, r, err)
	}
	if p, err = gc.Find(t.Context(), s, whole, gc.Options{}); err != nil {
		t.Fatal(err)
	}
	if r, err = gc.Collect(t.Context(), unclear{s}, p, 0, nil); err != nil || r.Removed != (gc.Sum{}) {
		t.Errorf("got %+v, %v; want nothing removed", r, err)
	}
}

// A store that does not tell its time: the age of nothing is known.
type timeless struct{ *store }

func (t timeless) Head(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
	obj, err := t.store.Head(ctx, key, opts)
	obj.Date = time.Time{}
	return obj, err
}

func TestFind_NoStoreTime(t *testing.T) {
	t.Parallel()
	s := newStore()
	s.now = start
	s.history(t, app, "p†")
	if _, err := gc.Find(t.Context(), timeless{s}, whole, gc.Options{OlderThan: time.Hour}); !errors.Is(err, statelatch.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
	if p, err := gc.Find(t.Context(), timeless{s}, whole, gc.Options{}); err != nil || len(p.Keys) != 1 {
		t.Errorf("whatever the age: got %+v, %v; want one key", p, err)
	}
}

// heedless is a store that drops the version from a delete, or something before it does.
type heedless struct{ *store }

func (h heedless) Delete(ctx context.Context, key string, _ bucket.DeleteOptions) (bucket.Deleted, error) {
	return h.store.Delete(ctx, key, bucket.DeleteOptions{})
}

func TestCollect_StoreDropsVersion(t *testing.T) {
	t.Parallel()
	s := newStore()
	s.now = start
	s.history(t, app, "p†p†p†")
	_, r, err := collect(t, heedless{s}, gc.Options{})
	if !errors.Is(err, statelatch.ErrUnsafeStore) || r.Removed != (gc.Sum{}) {
		t.Errorf("got %+v, %v; want nothing removed and ErrUnsafeStore", r, err)
	}
	if got := len(s.versions(t, "")); got != 7 {
		t.Errorf("got %d versions, want the 6 and one marker: it must stop at once", got)
	}
}

func TestCollect_Denied(t *testing.T) {
	t.Parallel()
	other := statelatch.Ref{Bucket: "b", Key: "other/terraform.tfstate"}
	retained := func(r faultbucket.Request) bool { return r.VersionID == "v000003" }
	for _, tc := range []struct {
		name  string
		match func(faultbucket.Request) bool
		err   error
		left  string
	}{
		{"one version is retained", retained, nil, "v000003 v000004†"},
		{"everything", nil, statelatch.ErrDenied, "v000001 v000002† v000003 v000004† v000005 v000006†"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStore()
			s.now = start
			s.history(t, app, "p†p†")
			s.history(t, other, "p†")
			b := faultbucket.New(s, faultbucket.Options{Rules: []faultbucket.Rule{{
				Op: faultbucket.OpDelete, Match: tc.match, Fault: faultbucket.Answer(403),
			}}})
			_, r, err := collect(t, b, gc.Options{Workers: 1})
			if !errors.Is(err, tc.err) || len(r.Denied) == 0 || r.Keys != 2 {
				t.Errorf("got %v, %+v; want %v, and refusals counted", err, r, tc.err)
			}
			if got := strings.Join(s.versions(t, ""), " "); len(got) != len(tc.left) {
				t.Errorf("got %s left, want %s", got, tc.left)
			}
			s.check(t)
		})
	}
}

// Any history, any age: what is removed is the oldest part of what may go, all of it, and no key reads differently.
func TestCollect_Property(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 7))
		s := newStore()
		s.now = start
		s.put(t, "state", "") // tells the time where there are but markers
		for range random.IntN(40) {
			ref := statelatch.Ref{Bucket: "b", Key: fmt.Sprintf("k%d", random.IntN(3))}
			s.lock(t, ref, []rune("pm†")[random.IntN(3)])
			s.now = s.now.Add(time.Duration(random.IntN(5000)) * time.Second)
		}
		older := time.Duration(1+random.IntN(100_000)) * time.Second
		before := s.view(t)
		type entry struct {
			id               string
			stored, replaced time.Time
			current, marker  bool
		}
		list := func() map[string][]entry {
			m := map[string][]entry{}
			last := bucket.Object{}
			for obj, err := range s.ListVersions(t.Context(), bucket.ListOptions{}) {
				if err != nil {
					t.Fatal(err)
				}
				e := entry{obj.VersionID, obj.LastModified, last.LastModified, obj.IsLatest, obj.DeleteMarker}
				if obj.Key != last.Key {
					e.replaced = obj.LastModified
				}
				m[obj.Key] = append(m[obj.Key], e)
				last = obj
			}
			return m
		}
		was := list()
		if _, _, err := collect(t, s, gc.Options{OlderThan: older}); err != nil {
			t.Fatal(err)
		}
		is := list()
		for key, all := range was {
			left := is[key]
			for i, e := range left {
				if e.id != all[i].id {
					t.Errorf("seed %d: %s: %v is left of %v, want the newest part", seed, key, left, all)
				}
			}
			mayGo := func(e entry) bool { return (!e.current || e.marker) && e.replaced.Before(s.now.Add(-older)) }
			for _, e := range all[len(left):] {
				if !mayGo(e) {
					t.Errorf("seed %d: %s: %+v was removed, older than %v at %v", seed, key, e, older, s.now)
				}
			}
			if n := len(left); n > 0 && mayGo(left[n-1]) {
				t.Errorf("seed %d: %s: %+v is left, older than %v at %v", seed, key, left[n-1], older, s.now)
			}
		}
		if after := s.view(t); after != before {
			t.Errorf("seed %d: got the view %q, want as before %q", seed, after, before)
		}
		s.check(t)
	}
}
