package boltstore

import (
	"context"
	"crypto/cipher"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/embedded/s3model"
)

// pageDisk counts the bytes that transactions write to the database.
type pageDisk struct {
	osDisk
	bytes *atomic.Int64
}

func (d pageDisk) update(db *bbolt.DB, change func(*bbolt.Tx) error) error {
	var tx *bbolt.Tx
	err := d.osDisk.update(db, func(t *bbolt.Tx) error { tx = t; return change(t) })
	if err == nil {
		stats := tx.Stats()
		d.bytes.Add(stats.GetPageAlloc())
	}
	return err
}

// What a write costs does not depend on how much was removed before it.
func TestStore_Put_BytesWritten_NotThoseOfFreePages(t *testing.T) {
	t.Parallel()
	d := pageDisk{bytes: &atomic.Int64{}}
	clock := newTestClock()
	s := mustOpen(t, Config{Dir: t.TempDir(), Clock: clock.Now, disk: d})
	addBucket(t, s, "b", s3model.Enabled)
	s.db.NoSync = true
	cost := func() int64 {
		before := d.bytes.Load()
		for range 20 {
			put(t, s, "k", string(pattern(2000, 1)))
		}
		return (d.bytes.Load() - before) / 20
	}
	for i := range 3000 {
		put(t, s, fmt.Sprint("swept/", i%10), string(pattern(2000, 1)))
	}
	before := cost()
	setRules(t, s, rule(func(r *s3model.LifecycleRule) { r.Prefix, r.NoncurrentDays = "swept/", 1 }))
	clock.Advance(3 * day)
	sweep(t, s)
	free := layoutOf(t, s.dir).free
	if free < 1500 {
		t.Fatalf("only %d pages are free", free)
	}
	if after := cost(); after > before+2*4096 {
		t.Errorf("a write was %d bytes, and is %d with %d free pages", before, after, free)
	}
}

// layoutOf inspects the database in dir.
func layoutOf(t *testing.T, dir string) layout {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, dbFile))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	l, err := inspect(file, fileSize(t, file.Name()))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What is found by looking at all pages is what bbolt has on its list.
func TestInspect_FreePages(t *testing.T) {
	t.Parallel()
	closed, killed := makeStore(t)
	for _, dir := range []string{closed, killed} {
		db, err := bbolt.Open(filepath.Join(dir, dbFile), 0o600, &bbolt.Options{NoFreelistSync: true})
		if err != nil {
			t.Fatal(err)
		}
		free := db.Stats().FreePageN
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if l := layoutOf(t, dir); free == 0 || l.free != uint64(free) || l.pages <= l.free || l.pageSize != int64(os.Getpagesize()) {
			t.Errorf("got %+v, bbolt has %d free pages", l, free)
		}
	}
}

// A store that was closed is opened without looking at every page.
func TestStore_Close_ListsFreePages(t *testing.T) {
	t.Parallel()
	closed, killed := makeStore(t)
	for dir, want := range map[string]bool{closed: true, killed: false} {
		file, err := os.Open(filepath.Join(dir, dbFile))
		if err != nil {
			t.Fatal(err)
		}
		size := int64(os.Getpagesize())
		first, ok1 := readMeta(file, 0)
		second, ok2 := readMeta(file, size)
		_ = file.Close()
		if !ok1 || !ok2 {
			t.Fatal("no root")
		}
		if second.commit > first.commit {
			first = second
		}
		if got := first.list != notListed; got != want {
			t.Errorf("free pages listed: got %t, want %t", got, want)
		}
	}
}

// While somebody writes, a sweep rests after each of its transactions; else it does not.
func TestStore_Sweep_HeedsWriters(t *testing.T) {
	t.Parallel()
	for _, busy := range []bool{false, true} {
		var s *Store
		commits, rests, sweeping := 0, 0, false
		clock := newTestClock()
		s = mustOpen(t, Config{Dir: t.TempDir(), Clock: clock.Now, disk: steps(func(op, _ string) error {
			if sweeping && op == "committed" {
				commits++
				if busy {
					s.writes.Add(1)
				}
			}
			return nil
		})})
		addBucket(t, s, "b", s3model.Enabled)
		const versions = 5 * sweepPage
		for range versions {
			put(t, s, "k", "x")
		}
		setRules(t, s, rule(func(r *s3model.LifecycleRule) { r.NoncurrentDays = 1 }))
		clock.Advance(3 * day)
		s.rest = func(_ context.Context, d time.Duration) {
			if rests++; d <= 0 {
				t.Errorf("a rest of %v", d)
			}
		}
		sweeping = true
		sweep(t, s)
		sweeping = false
		if got := versionsOf(t, s); got != "k=x*" {
			t.Errorf("after the sweep: got %.40s", got)
		}
		if want := (versions-2)/sweepPage + 1; commits < want {
			t.Errorf("%d versions were removed in %d transactions, want at least %d", versions-1, commits, want)
		}
		if busy && rests < commits || !busy && rests > 0 {
			t.Errorf("busy %t: got %d rests in %d transactions", busy, rests, commits)
		}
	}
}

// countingAEAD counts the records that are opened.
type countingAEAD struct {
	cipher.AEAD
	opened *atomic.Int64
}

func (a countingAEAD) Open(dst, nonce, sealed, data []byte) ([]byte, error) {
	a.opened.Add(1)
	return a.AEAD.Open(dst, nonce, sealed, data)
}

// opened counts the records that s opens from now on.
func opened(s *Store) *atomic.Int64 {
	a := countingAEAD{s.box.aead, &atomic.Int64{}}
	s.box = &box{a}
	return a.opened
}

// A page of the versions of a key costs what is on it, however many newer ones there are.
func TestStore_ListVersions_DeepPageOpensItsOwn(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	s.db.NoSync = true
	const versions, size = 300, 10
	for i := range versions {
		put(t, s, "k", fmt.Sprint(i))
	}
	count := opened(s)
	req := s3model.ListRequest{Bucket: "b", Max: size}
	for i := versions - 1; i >= 0; {
		count.Store(0)
		page, err := s.ListVersions(t.Context(), req)
		if err != nil || len(page.Objects) != size || page.Truncated != (i >= size) {
			t.Fatalf("got %d versions, truncated %t, %v", len(page.Objects), page.Truncated, err)
		}
		if n := count.Load(); n > size+3 { // the bucket, the latest version, the marker
			t.Errorf("the page from version %d on: %d records were opened for %d versions", i, n, size)
		}
		for _, o := range page.Objects {
			if got := get(t, s, "k", o.VersionID); got != fmt.Sprint(i) || o.IsLatest != (i == versions-1) {
				t.Errorf("version %d: got %s, latest %t", i, got, o.IsLatest)
			}
			i--
		}
		req.KeyMarker, req.VersionIDMarker = page.NextKey, page.NextVersionID
	}
}

// The version that a page ended with is the latest again when all newer ones were removed, or gone with them.
func TestStore_ListVersions_NewerOnesGone(t *testing.T) {
	t.Parallel()
	for removed, want := range map[int]string{2: "1 true, 0 false", 1: "1 false, 0 false", 3: "0 true"} {
		s, _ := newStore(t, s3model.Enabled)
		var ids []string
		for i := range 4 {
			ids = append(ids, put(t, s, "k", fmt.Sprint(i)).VersionID)
		}
		for i := range removed {
			remove(t, s, "k", ids[3-i])
		}
		page, err := s.ListVersions(t.Context(), s3model.ListRequest{Bucket: "b", Max: 9, KeyMarker: "k", VersionIDMarker: ids[2]})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range page.Objects {
			got = append(got, fmt.Sprintf("%s %t", get(t, s, "k", o.VersionID), o.IsLatest))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%d removed: got %v, want %s", removed, got, want)
		}
	}
}
