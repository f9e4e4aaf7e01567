package boltstore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

const day = 24 * time.Hour

// rule is an enabled rule with no size filter.
func rule(change func(*s3model.LifecycleRule)) s3model.LifecycleRule {
	r := s3model.LifecycleRule{Enabled: true, SizeAbove: -1, SizeBelow: -1}
	change(&r)
	return r
}

func setRules(tb testing.TB, s *Store, rules ...s3model.LifecycleRule) {
	tb.Helper()
	if err := s.UpdateSettings(tb.Context(), "b", func(x *s3model.Settings) { x.Lifecycle = rules }); err != nil {
		tb.Fatal(err)
	}
}

func sweep(tb testing.TB, s *Store) {
	tb.Helper()
	if err := s.Sweep(tb.Context()); err != nil {
		tb.Fatalf("Sweep: %v", err)
	}
}

func TestOver_RoundsUpToMidnight(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	due := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	if over(since.UnixNano(), 1, due.Add(-1)) || !over(since.UnixNano(), 1, due) {
		t.Errorf("one day from %v: want it over at %v exactly", since, due)
	}
	midnight := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	if !over(midnight.UnixNano(), 1, midnight.Add(day)) {
		t.Error("one day from a midnight: want it over at the next one")
	}
}

func TestStore_Sweep_Noncurrent(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Enabled)
	setRules(t, s, rule(func(r *s3model.LifecycleRule) { r.Prefix = "k"; r.NoncurrentDays = 2; r.NewerNoncurrentVersions = 1 }))
	put(t, s, "other", "0")
	put(t, s, "other", "1")
	put(t, s, "k", "0")
	clock.Advance(10 * day) // age counts from when a version became noncurrent, not from its writing
	put(t, s, "k", "1")
	put(t, s, "k", "2")
	clock.Advance(day)
	put(t, s, "k", "3")
	sweep(t, s)
	const all = "k=3* k=2 k=1 k=0 other=1* other=0"
	if got := versionsOf(t, s); got != all {
		t.Fatalf("too early: got %q", got)
	}
	clock.Advance(2 * day)
	sweep(t, s)
	if got := versionsOf(t, s); got != "k=3* k=2 other=1* other=0" {
		t.Fatalf("0 and 1 are over: got %q", got)
	}
	clock.Advance(100 * day)
	sweep(t, s)
	if got := versionsOf(t, s); got != "k=3* k=2 other=1* other=0" {
		t.Fatalf("the newest noncurrent version is kept whatever its age: got %q", got)
	}
	if n := smallBodyCount(t, s); n != 4 {
		t.Errorf("small bodies: got %d, want 4", n)
	}
}

// What becomes current again by the removal of its successor is not noncurrent any more.
func TestStore_Sweep_PromotedVersionStays(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Enabled)
	setRules(t, s, rule(func(r *s3model.LifecycleRule) { r.NoncurrentDays = 1 }))
	put(t, s, "k", "0")
	marker := remove(t, s, "k", "")
	clock.Advance(10 * day)
	remove(t, s, "k", marker.VersionID)
	sweep(t, s)
	if got := versionsOf(t, s); got != "k=0*" {
		t.Fatalf("got %q", got)
	}
	put(t, s, "k", "1")
	sweep(t, s)
	if got := versionsOf(t, s); got != "k=1* k=0" {
		t.Fatalf("noncurrent for a moment only: got %q", got)
	}

	// The same for a delete marker.
	remove(t, s, "m", "")
	top := put(t, s, "m", "1")
	clock.Advance(10 * day)
	remove(t, s, "m", top.VersionID)
	put(t, s, "m", "2")
	sweep(t, s)
	if got := versionsOf(t, s); got != "k=1* m=2* m=marker" {
		t.Fatalf("a marker that was noncurrent for a moment only: got %q", got)
	}
}

func TestStore_Sweep_LoneMarkers(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Enabled)
	put(t, s, "lock", "0")
	remove(t, s, "lock", "")
	remove(t, s, "lock", "")
	remove(t, s, "never", "")
	put(t, s, "used", "0")
	setRules(
		t, s,
		rule(func(r *s3model.LifecycleRule) { r.ExpireLoneDeleteMarkers = true }),
		rule(func(r *s3model.LifecycleRule) { r.NoncurrentDays = 1 }),
	)
	sweep(t, s)
	if got := versionsOf(t, s); got != "lock=marker* lock=marker lock=0 used=0*" {
		t.Fatalf("only the lone marker goes: got %q", got)
	}
	clock.Advance(2 * day)
	sweep(t, s)
	if got := versionsOf(t, s); got != "used=0*" {
		t.Fatalf("a marker that became lone goes in the same sweep: got %q", got)
	}
}

func TestStore_Sweep_Current(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		versioning s3model.Versioning
		want       string
	}{
		{s3model.Unversioned, ""},
		{s3model.Enabled, "k=marker* k=0"},
		{s3model.Suspended, "k=marker(null)*"},
	} {
		for name, change := range map[string]func(*s3model.LifecycleRule){
			"days": func(r *s3model.LifecycleRule) { r.ExpireDays = 3 },
			"date": func(r *s3model.LifecycleRule) { r.ExpireDate = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC) },
		} {
			t.Run(string(tt.versioning)+name, func(t *testing.T) {
				t.Parallel()
				s, clock := newStore(t, tt.versioning)
				setRules(t, s, rule(change))
				put(t, s, "k", "0")
				before := versionsOf(t, s)
				clock.Advance(3*day + 13*time.Hour)
				sweep(t, s)
				if got := versionsOf(t, s); got != before {
					t.Fatalf("an hour too early: got %q", got)
				}
				clock.Advance(time.Hour)
				sweep(t, s)
				if got := versionsOf(t, s); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}

func TestStore_Sweep_Filters(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Unversioned)
	write := func(key string, size int, tags map[string]string) {
		t.Helper()
		_, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: key, Tags: tags}, strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
	}
	write("a/small", 10, nil)
	write("a/medium", 11, nil)
	write("a/large", 20, nil)
	write("b/tagged", 1, map[string]string{"k": "v", "other": ""})
	write("b/halftagged", 1, map[string]string{"k": "v"})
	write("b/wrong", 1, map[string]string{"k": "w", "other": ""})
	write("c/disabled", 1, nil)
	setRules(
		t, s,
		rule(func(r *s3model.LifecycleRule) { r.ExpireDays = 1; r.Prefix = "a/"; r.SizeAbove = 10; r.SizeBelow = 20 }),
		rule(func(r *s3model.LifecycleRule) {
			r.ExpireDays = 1
			r.Prefix = "b/"
			r.Tags = map[string]string{"k": "v", "other": ""}
		}),
		rule(func(r *s3model.LifecycleRule) { r.ExpireDays = 1; r.Prefix = "c/"; r.Enabled = false }),
	)
	clock.Advance(2 * day)
	sweep(t, s)
	page, err := s.List(t.Context(), s3model.ListRequest{Bucket: "b", Max: 100})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(entries(page), " "), "a/large a/small b/halftagged b/wrong c/disabled"; got != want {
		t.Errorf("left: got %q, want %q", got, want)
	}
}

func TestStore_Sweep_Uploads(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Unversioned)
	setRules(t, s, rule(func(r *s3model.LifecycleRule) { r.AbortUploadsAfterDays = 1; r.Prefix = "k" }))
	old := upload(t, s, s3model.PutRequest{})
	putPart(t, s, old, 1, pattern(100000, 1), s3model.Checksum{})
	if _, _, err := s.CreateUpload(t.Context(), s3model.PutRequest{Bucket: "b", Key: "other"}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(2 * day)
	young := upload(t, s, s3model.PutRequest{})
	sweep(t, s)
	all, err := s.ListUploads(t.Context(), "b", "")
	if err != nil || len(all) != 2 || all[0].ID != young || all[1].Key != "other" {
		t.Errorf("uploads left: got %+v, %v", all, err)
	}
	if n := bodyFileCount(t, s); n != 0 {
		t.Errorf("body files left: %d", n)
	}
}

// More versions than one read transaction looks at, of one key and of many.
func TestStore_Sweep_ManyVersions(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Enabled)
	setRules(t, s, rule(func(r *s3model.LifecycleRule) { r.NoncurrentDays = 1; r.NewerNoncurrentVersions = 3 }))
	// Straight into the tables: thousands of durable writes would take their time.
	err := s.update(t.Context(), func(txn *txn) error {
		b, err := txn.bucketOf("b")
		if err != nil {
			return err
		}
		for i := range scanPage + 500 {
			for _, key := range []string{"heartbeat", fmt.Sprintf("k%04d", i/6)} {
				r := &record{ID: randomBytes(idSize), Modified: clock.Now().UnixNano()}
				cur, err := txn.current("b", key)
				if err != nil {
					return err
				}
				if err := txn.insert(b, "b", key, r, cur, clock.Now()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(2 * day)
	sweep(t, s)
	page, err := s.ListVersions(t.Context(), s3model.ListRequest{Bucket: "b", Max: 100000})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, o := range page.Objects {
		count[o.Key]++
	}
	if len(count) != (scanPage+500+5)/6+1 {
		t.Errorf("keys left: got %d", len(count))
	}
	for key, n := range count {
		if n > 4 || key == "heartbeat" && n != 4 {
			t.Fatalf("%s: got %d versions, want the current and 3 noncurrent ones", key, n)
		}
	}
}

// The store sweeps by itself from the moment it is opened.
func TestOpen_Sweeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clock := newTestClock()
	s := mustOpen(t, Config{Dir: dir, Clock: clock.Now})
	addBucket(t, s, "b", s3model.Unversioned)
	put(t, s, "k", "x")
	setRules(t, s, rule(func(r *s3model.LifecycleRule) { r.ExpireDays = 1 }))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(3 * day)
	expired := make(chan struct{}, 10)
	s = mustOpen(t, Config{Dir: dir, Clock: clock.Now, LifecycleInterval: time.Hour, disk: steps(func(op, _ string) error {
		if op == "committed" {
			expired <- struct{}{}
		}
		return nil
	})})
	<-expired
	if got := get(t, s, "k", ""); got != "<NoSuchKey>" {
		t.Errorf("got %s, want it expired", got)
	}
}
