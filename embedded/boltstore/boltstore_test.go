package boltstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch/internal/filelock"
	"github.com/statelatch/statelatch/s3/s3model"
)

// TestMain runs the tests, or one of the children that tests start to be killed or limited.
func TestMain(m *testing.M) {
	if role := os.Getenv("STATELATCH_TEST_CHILD"); role != "" {
		os.Exit(runChild(role))
	}
	os.Exit(m.Run())
}

// full says whether the long forms of tests and benchmarks run.
func full() bool { return os.Getenv("STATELATCH_FULL") != "" }

// testClock is a clock that only moves when told to.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newTestClock() *testClock {
	return &testClock{now: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)}
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func mustOpen(tb testing.TB, cfg Config) *Store {
	tb.Helper()
	if cfg.LifecycleInterval == 0 {
		cfg.LifecycleInterval = -1
	}
	s, err := Open(cfg)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return s
}

// newStore opens a store in a new directory with an empty bucket "b".
func newStore(tb testing.TB, versioning s3model.Versioning) (*Store, *testClock) {
	tb.Helper()
	clock := newTestClock()
	s := mustOpen(tb, Config{Dir: tb.TempDir(), Clock: clock.Now})
	addBucket(tb, s, "b", versioning)
	return s, clock
}

func addBucket(tb testing.TB, s *Store, name string, versioning s3model.Versioning) {
	tb.Helper()
	if err := s.CreateBucket(tb.Context(), name, ""); err != nil {
		tb.Fatalf("CreateBucket: %v", err)
	}
	setVersioning(tb, s, name, versioning)
}

func setVersioning(tb testing.TB, s *Store, bucket string, v s3model.Versioning) {
	tb.Helper()
	if v == s3model.Unversioned {
		return
	}
	if err := s.UpdateSettings(tb.Context(), bucket, func(x *s3model.Settings) { x.Versioning = v }); err != nil {
		tb.Fatalf("UpdateSettings: %v", err)
	}
}

func put(tb testing.TB, s *Store, key, content string) s3model.Object {
	tb.Helper()
	o, err := s.Put(tb.Context(), s3model.PutRequest{Bucket: "b", Key: key}, strings.NewReader(content))
	if err != nil {
		tb.Fatalf("Put %s: %v", key, err)
	}
	return o
}

func remove(tb testing.TB, s *Store, key, version string) s3model.DeleteResult {
	tb.Helper()
	r, err := s.Delete(tb.Context(), s3model.DeleteRequest{Bucket: "b", Key: key, VersionID: version})
	if err != nil {
		tb.Fatalf("Delete %s %s: %v", key, version, err)
	}
	return r
}

// get returns the content of a version, or the code of the refusal in angle brackets.
func get(tb testing.TB, s *Store, key, version string) string {
	tb.Helper()
	return read(tb, s, s3model.ReadRequest{Bucket: "b", Key: key, VersionID: version})
}

func read(tb testing.TB, s *Store, req s3model.ReadRequest) string {
	tb.Helper()
	_, r, err := s.Get(context.Background(), req)
	if err != nil {
		return "<" + code(err) + ">"
	}
	defer func() { _ = r.Close() }()
	content, err := io.ReadAll(r)
	if err != nil {
		return "<reader: " + code(err) + ">"
	}
	return string(content)
}

// code is the S3 code of an error.
func code(err error) string {
	var e *s3model.Error
	switch {
	case err == nil:
		return "OK"
	case errors.As(err, &e):
		return e.Code
	}
	return err.Error()
}

// pattern is n bytes that differ by seed and position.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, 0, n+8)
	r := rand.NewPCG(seed, 1)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

func md5Hex(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// bodyFileCount counts the body files on the disk.
func bodyFileCount(tb testing.TB, s *Store) int {
	tb.Helper()
	names, err := s.files.present()
	if err != nil {
		tb.Fatalf("present: %v", err)
	}
	return len(names)
}

// smallBodyCount counts the bodies in the database.
func smallBodyCount(tb testing.TB, s *Store) int {
	tb.Helper()
	n := 0
	err := s.view(func(t *txn) error {
		return scan(t.Tx, bodyTable, nil, func(_, _ []byte) (bool, error) { n++; return true, nil })
	})
	if err != nil {
		tb.Fatalf("view: %v", err)
	}
	return n
}

// logBuffer collects a log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestOpen_Reopen_KeepsEverything(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	clock := newTestClock()
	s, err := Open(Config{Dir: dir, Clock: clock.Now, LifecycleInterval: -1})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: got mode %v, %v, want 0700", info.Mode(), err)
	}
	addBucket(t, s, "b", s3model.Enabled)
	if err := s.SetBucketConfig(t.Context(), "b", "policy", []byte(`{"x":1}`)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for i, n := range []int{0, 1, 4096, maxInline, maxInline + 1, 300000} {
		key := fmt.Sprintf("k%d", i)
		want[key] = string(pattern(n, uint64(i)))
		o, err := s.Put(t.Context(), s3model.PutRequest{
			Bucket: "b", Key: key, Metadata: map[string]string{"content-type": "x/y"},
			Tags: map[string]string{"t": "1"}, Encryption: s3model.Encryption{SSES3: i%2 == 0},
		}, strings.NewReader(want[key]))
		if err != nil {
			t.Fatalf("Put: %v", err)
		}
		if o.VersionID == "" || o.ETag != md5Hex([]byte(want[key])) || o.Size != int64(n) || !o.LastModified.Equal(clock.Now()) {
			t.Errorf("Put of %d bytes: got %+v", n, o)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: got %v, want nil", err)
	}
	if _, err := s.Head(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k0"}); code(err) != "InternalError" {
		t.Errorf("Head after Close: got %v, want InternalError", err)
	}
	if _, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: "late"}, strings.NewReader("x")); code(err) != "InternalError" {
		t.Errorf("Put after Close: got %v, want InternalError", err)
	}

	s = mustOpen(t, Config{Dir: dir})
	for key, content := range want {
		if got := get(t, s, key, ""); got != content {
			t.Errorf("%s after reopening: got %d bytes, want %d equal ones", key, len(got), len(content))
		}
		o, err := s.Head(t.Context(), s3model.ReadRequest{Bucket: "b", Key: key})
		if err != nil || o.Metadata["content-type"] != "x/y" || o.TagCount != 1 || !o.IsLatest {
			t.Errorf("%s after reopening: got %+v, %v", key, o, err)
		}
	}
	if doc, err := s.BucketConfig(t.Context(), "b", "policy"); string(doc) != `{"x":1}` {
		t.Errorf("BucketConfig: got %q, %v", doc, err)
	}
}

func TestOpen_SecondStore_ErrInUse(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	_, err := Open(Config{Dir: s.dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), s.dir) {
		t.Errorf("second Open: got %v, want ErrInUse naming %s", err, s.dir)
	}
	put(t, s, "k", "still works")

	// Also where the database's own lock is free, as while it is exchanged.
	dir := t.TempDir()
	lock, err := os.Create(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if held, err := filelock.Try(lock); !held || err != nil {
		t.Fatal(held, err)
	}
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Open of a locked directory: got %v, want ErrInUse naming %s", err, dir)
	}
}

func TestStore_Buckets(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Unversioned)
	ctx := t.Context()
	if err := s.CreateBucket(ctx, "b", "eu-west-1"); code(err) != "BucketAlreadyOwnedByYou" {
		t.Errorf("CreateBucket again: got %v", err)
	}
	if err := s.CreateBucket(ctx, "a", "eu-west-1"); err != nil {
		t.Fatal(err)
	}
	all, err := s.ListBuckets(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "a" || all[0].Location != "eu-west-1" || !all[0].Created.Equal(clock.Now()) {
		t.Errorf("ListBuckets: got %+v, %v", all, err)
	}
	for name, err := range map[string]error{
		"GetBucket":       func() error { _, err := s.GetBucket(ctx, "none"); return err }(),
		"DeleteBucket":    s.DeleteBucket(ctx, "none"),
		"BucketConfig":    func() error { _, err := s.BucketConfig(ctx, "none", "x"); return err }(),
		"SetBucketConfig": s.SetBucketConfig(ctx, "none", "x", nil),
		"UpdateSettings":  s.UpdateSettings(ctx, "none", func(*s3model.Settings) {}),
		"Put": func() error {
			_, err := s.Put(ctx, s3model.PutRequest{Bucket: "none", Key: "k"}, strings.NewReader(""))
			return err
		}(),
		"Get":          func() error { _, _, err := s.Get(ctx, s3model.ReadRequest{Bucket: "none", Key: "k"}); return err }(),
		"Delete":       func() error { _, err := s.Delete(ctx, s3model.DeleteRequest{Bucket: "none", Key: "k"}); return err }(),
		"List":         func() error { _, err := s.List(ctx, s3model.ListRequest{Bucket: "none", Max: 1}); return err }(),
		"ListVersions": func() error { _, err := s.ListVersions(ctx, s3model.ListRequest{Bucket: "none", Max: 1}); return err }(),
		"ListUploads":  func() error { _, err := s.ListUploads(ctx, "none", ""); return err }(),
		"CreateUpload": func() error {
			_, _, err := s.CreateUpload(ctx, s3model.PutRequest{Bucket: "none", Key: "k"})
			return err
		}(),
	} {
		if code(err) != "NoSuchBucket" {
			t.Errorf("%s of an absent bucket: got %v, want NoSuchBucket", name, err)
		}
	}

	// A bucket is not empty while an object or a marker alone is in it. Uploads end with it.
	put(t, s, "k", "x")
	if err := s.DeleteBucket(ctx, "b"); code(err) != "BucketNotEmpty" {
		t.Errorf("DeleteBucket with an object: got %v", err)
	}
	setVersioning(t, s, "b", s3model.Suspended)
	marker := remove(t, s, "k", "")
	if err := s.DeleteBucket(ctx, "b"); code(err) != "BucketNotEmpty" {
		t.Errorf("DeleteBucket with a marker: got %v", err)
	}
	remove(t, s, "k", marker.VersionID)
	id, _, err := s.CreateUpload(ctx, s3model.PutRequest{Bucket: "b", Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range []int{maxInline, maxInline + 1} {
		if _, err := s.PutPart(ctx, s3model.PartRequest{Bucket: "b", Key: "k", UploadID: id, Number: i + 1}, strings.NewReader(strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetBucketConfig(ctx, "b", "policy", []byte("p")); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatalf("DeleteBucket: %v", err)
	}
	if n, m := bodyFileCount(t, s), smallBodyCount(t, s); n != 0 || m != 0 {
		t.Errorf("after DeleteBucket: got %d files and %d small bodies of its upload, want none", n, m)
	}
	if err := s.AbortUpload(ctx, "b", "k", id); code(err) != "NoSuchBucket" {
		t.Errorf("AbortUpload: got %v", err)
	}
	addBucket(t, s, "b", s3model.Unversioned)
	if doc, err := s.BucketConfig(ctx, "b", "policy"); doc != nil || err != nil {
		t.Errorf("a new bucket has the old one's policy: %q, %v", doc, err)
	}
	setVersioning(t, s, "b", s3model.Enabled)
	err = s.UpdateSettings(ctx, "b", func(x *s3model.Settings) { x.Versioning = s3model.Unversioned })
	if code(err) != "InvalidRequest" {
		t.Errorf("versioning removed: got %v, want InvalidRequest", err)
	}
	if b, _ := s.GetBucket(ctx, "b"); b.Settings.Versioning != s3model.Enabled {
		t.Errorf("a refused change took effect: %q", b.Settings.Versioning)
	}
}

func TestStore_BadNames_Refused(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	for key, want := range map[string]string{
		"":                        "InvalidRequest",
		"a\x00b":                  "InvalidRequest",
		strings.Repeat("k", 1025): "KeyTooLongError",
		strings.Repeat("k", 1024): "OK",
		"\x01\xff weird":          "OK",
	} {
		_, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: key}, strings.NewReader("x"))
		if code(err) != want {
			t.Errorf("Put %q: got %v, want %s", key, err, want)
		}
	}
	_, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: "k", Metadata: map[string]string{"x-amz-meta-a": "\xff"}}, strings.NewReader("x"))
	if code(err) != "InvalidRequest" {
		t.Errorf("metadata that a record would change: got %v, want InvalidRequest", err)
	}
	if err := s.CreateBucket(t.Context(), "a\x00b", ""); code(err) != "InvalidRequest" {
		t.Errorf("CreateBucket with NUL: got %v", err)
	}
}
