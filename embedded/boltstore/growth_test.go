package boltstore

import (
	"bytes"
	"context"
	"crypto/cipher"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/s3/s3model"
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

// A store that was closed is opened without looking at every page, unless a panic may have left pages on no list.
func TestStore_Close_ListsFreePages(t *testing.T) {
	t.Parallel()
	closed, killed := makeStore(t)
	panicked := closedStore(t)
	s := mustOpen(t, Config{Dir: panicked})
	if errs := gather(t, s, func(*txn) error { panic("bug") }, write("k")); errs[1] != nil {
		t.Fatal(errs)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		dir    string
		listed bool
	}{"closed": {closed, true}, "killed": {killed, false}, "panicked": {panicked, false}} {
		if got := layoutOf(t, tt.dir).listed; got != tt.listed {
			t.Errorf("%s: free pages listed: got %t, want %t", name, got, tt.listed)
		}
	}

	// Who finds it missing writes it, and who changes nothing then writes nothing.
	s = mustOpen(t, Config{Dir: killed})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if l := layoutOf(t, killed); !l.listed {
		t.Error("killed, opened and closed: the free pages are not listed")
	}
	before := fingerprint(t, closed)
	s = mustOpen(t, Config{Dir: closed})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after := fingerprint(t, closed); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("opened and closed, the directory changed from %v to %v", before, after)
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

// groupedPuts stores 4 KiB under each of so many keys, in one transaction.
func groupedPuts(t *testing.T, s *Store, clients int, content []byte) {
	t.Helper()
	g := block(s)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			req := s3model.PutRequest{Bucket: "b", Key: fmt.Sprint("state/", i), Encryption: s3model.Encryption{SSES3: true}}
			if _, err := s.Put(context.Background(), req, bytes.NewReader(content)); err != nil {
				t.Error(err)
			}
		})
	}
	for len(s.queue) < clients { // bounded by the test's timeout; they are on their way
		runtime.Gosched()
	}
	close(g.release)
	wg.Wait()
}

// raced says whether the race detector runs, which allocates itself and empties pools.
var raced bool

// What a write of 4 KiB allocates, alone and of many clients. Not parallel: other tests would be measured as well.
func TestStore_Put_Allocates(t *testing.T) { //nolint:paralleltest // see above
	if raced {
		t.Skip("the race detector allocates, too: .ci/run has a step without it")
	}
	for clients, limit := range map[int]uint64{1: 80 << 10, 32: 25 << 10} {
		s, _ := newStore(t, s3model.Enabled)
		s.db.NoSync = true
		content := pattern(4<<10, 1)
		for range 1000/clients + 10 { // as deep as trees of a store are that is in use
			groupedPuts(t, s, clients, content)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const rounds = 50
		for range rounds {
			groupedPuts(t, s, clients, content)
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / uint64(rounds*clients); got > limit {
			t.Errorf("%d clients: a write allocates %d bytes, want at most %d", clients, got, limit)
		}
	}
}

// A write reads the record that it retires, and nothing else, once the bucket's is known.
func TestStore_Put_OpensOneRecord(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	put(t, s, "k", "1")
	count := opened(s)
	put(t, s, "k", "2")
	if n := count.Load(); n != 1 {
		t.Errorf("a write opened %d records, want 1", n)
	}
	count.Store(0)
	for range 3 {
		if _, err := s.GetBucket(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.BucketConfig(t.Context(), "b", "policy"); err != nil {
			t.Fatal(err)
		}
	}
	if n := count.Load(); n != 0 {
		t.Errorf("what is known of a bucket was opened %d times again", n)
	}
}

// What was changed is seen at once by whoever asks after the answer, and what was read before is not kept.
func TestStore_KnownBuckets_AreCurrent(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	ctx := t.Context()
	config := func() string {
		doc, err := s.BucketConfig(ctx, "b", "policy")
		return code(err) + " " + string(doc)
	}
	settings := func() string {
		b, err := s.GetBucket(ctx, "b")
		return code(err) + " " + string(b.Settings.Versioning)
	}
	check := func(what string, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	check("no policy", config(), "OK ")
	for _, doc := range []string{"1", "2"} {
		if err := s.SetBucketConfig(ctx, "b", "policy", []byte(doc)); err != nil {
			t.Fatal(err)
		}
		check("a policy", config(), "OK "+doc)
	}
	check("versioning", settings(), "OK Enabled")
	setVersioning(t, s, "b", s3model.Suspended)
	check("versioning", settings(), "OK Suspended")
	err := s.UpdateSettings(ctx, "b", func(x *s3model.Settings) { x.Versioning = "?" })
	check("a refused change", code(err), "InvalidRequest")
	check("after it", settings(), "OK Suspended")

	since := s.rows.now()
	old, _ := s.rows.get(string(place(bucketTable, []byte("b"))))
	if err := s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	s.rows.put(string(place(bucketTable, []byte("b"))), old, since) // a reader that began before
	check("deleted", settings(), "NoSuchBucket ")
	check("its policy", config(), "NoSuchBucket ")
	_, err = s.Put(ctx, s3model.PutRequest{Bucket: "b", Key: "k"}, strings.NewReader("x"))
	check("a write", code(err), "NoSuchBucket")
	addBucket(t, s, "b", s3model.Unversioned)
	check("a new one", settings(), "OK ")

	// Requests that share a transaction see each other.
	var seen s3model.Versioning
	errs := gather(t, s, func(t *txn) error {
		return t.put(bucketTable, []byte("b"), &bucketRecord{Settings: s3model.Settings{Versioning: s3model.Suspended}})
	}, func(t *txn) error {
		b, err := t.bucketOf("b")
		if err != nil {
			return err
		}
		seen = b.Settings.Versioning
		return t.remove(bucketTable, []byte("b"))
	}, func(t *txn) error {
		_, err := t.bucketOf("b")
		return err
	})
	if errs[0] != nil || errs[1] != nil || code(errs[2]) != "NoSuchBucket" || seen != s3model.Suspended {
		t.Errorf("in one transaction: got %v, and saw %q", errs, seen)
	}
	check("after it", settings(), "NoSuchBucket ")
	addBucket(t, s, "b", s3model.Unversioned)
	check("its policy", config(), "OK ")
}

// A sweep opens every version once to look at it, and those that it removes once more.
func TestStore_Sweep_OpensWhatItRemoves(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Enabled)
	s.db.NoSync = true
	const keys, versions, kept = 3, 100, 30
	for i := range keys * versions {
		put(t, s, fmt.Sprint(i%keys), "x")
	}
	setRules(t, s, rule(func(r *s3model.LifecycleRule) { r.NoncurrentDays, r.NewerNoncurrentVersions = 1, kept-1 }))
	clock.Advance(3 * day)
	count := opened(s)
	sweep(t, s)
	const removed = keys * (versions - kept)
	batches := removed/sweepPage + 1
	if n, limit := int(count.Load()), keys*versions+removed+keys+2*batches+2; n > limit {
		t.Errorf("a sweep that removes %d of %d versions opened %d records, want at most %d", removed, keys*versions, n, limit)
	}
	if got := strings.Count(versionsOf(t, s), "=x"); got != keys*kept {
		t.Errorf("got %d versions, want %d", got, keys*kept)
	}
}
