package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch/s3/s3model"
)

// gate blocks the committer, so that updates gather behind it.
type gate struct {
	entered chan struct{}
	release chan struct{}
}

// block occupies the committer until the returned gate is released.
func block(s *Store) *gate {
	g := &gate{entered: make(chan struct{}), release: make(chan struct{})}
	u := &update{done: make(chan error, 1), run: func(*txn) error {
		close(g.entered)
		<-g.release
		return nil
	}}
	s.queue <- u
	<-g.entered
	return g
}

// gather submits the updates behind a blocked committer and returns their errors.
func gather(t *testing.T, s *Store, changes ...func(*txn) error) []error {
	t.Helper()
	g := block(s)
	updates := make([]*update, len(changes))
	for i, c := range changes {
		updates[i] = &update{run: c, done: make(chan error, 1)}
		s.queue <- updates[i]
	}
	close(g.release)
	errs := make([]error, len(changes))
	for i, u := range updates {
		errs[i] = <-u.done
	}
	return errs
}

func write(key string) func(*txn) error {
	return func(t *txn) error { return t.putRaw(configTable, []byte(key), []byte("x")) }
}

func has(t *testing.T, s *Store, key string) bool {
	t.Helper()
	found := false
	if err := s.view(func(txn *txn) error { found = txn.Bucket(configTable).Get([]byte(key)) != nil; return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestCommitter_Group_OneTransaction(t *testing.T) {
	t.Parallel()
	var commits atomic.Int64
	s := mustOpen(t, Config{Dir: t.TempDir(), disk: steps(func(op, _ string) error {
		if op == "commit" {
			commits.Add(1)
		}
		return nil
	})})
	commits.Store(0) // those of Open
	refuse := func(*txn) error { return s3model.ErrPreconditionFailed }
	var ids [3]int
	note := func(i int) func(*txn) error {
		return func(t *txn) error { ids[i] = t.ID(); return write(fmt.Sprint(i))(t) }
	}
	errs := gather(t, s, note(0), refuse, note(1), refuse, note(2))
	for i, want := range []string{"OK", "PreconditionFailed", "OK", "PreconditionFailed", "OK"} {
		if code(errs[i]) != want {
			t.Errorf("update %d: got %v, want %s", i, errs[i], want)
		}
	}
	if ids[0] != ids[1] || ids[1] != ids[2] || commits.Load() != 1 {
		t.Errorf("transactions %v in %d commits, want one", ids, commits.Load())
	}
	if !has(t, s, "0") || !has(t, s, "2") {
		t.Error("an acknowledged write is not there")
	}
	if errs := gather(t, s, refuse, refuse); code(errs[0]) != "PreconditionFailed" || commits.Load() != 1 {
		t.Errorf("only refusals: got %v and %d commits, want no further one", errs, commits.Load())
	}
}

// What one update does wrong does not touch its neighbours.
func TestCommitter_Group_OneFails(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Config{Dir: t.TempDir()})
	odd := errors.New("odd")
	errs := gather(
		t, s, write("before"),
		func(t *txn) error { _ = write("half")(t); return odd },
		func(t *txn) error { _ = write("half")(t); return s3model.ErrPreconditionFailed }, // a refusal after a write
		func(t *txn) error { _ = write("half")(t); panic("bug") },
		write("after"),
	)
	if errs[0] != nil || errs[4] != nil || !errors.Is(errs[1], odd) || code(errs[2]) != "PreconditionFailed" || code(errs[3]) != "InternalError" {
		t.Errorf("got %v", errs)
	}
	if !has(t, s, "before") || !has(t, s, "after") || has(t, s, "half") {
		t.Errorf("before %t, after %t, half %t: want true, true, false", has(t, s, "before"), has(t, s, "after"), has(t, s, "half"))
	}
}

func TestCommitter_ContextEndsInQueue(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Config{Dir: t.TempDir()})
	g := block(s)
	ctx, cancel := context.WithCancel(t.Context())
	queued := make(chan error)
	go func() { queued <- s.update(ctx, write("cancelled")) }()
	for len(s.queue) == 0 { // bounded by the test's timeout; the update is on its way
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-queued; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in the queue: got %v", err)
	}
	close(g.release)
	if err := s.update(t.Context(), write("next")); err != nil {
		t.Fatal(err)
	}
	if has(t, s, "cancelled") {
		t.Error("a write that was reported as cancelled happened")
	}
}

// Once a write has begun, its caller learns what became of it.
func TestCommitter_ContextEndsDuringCommit(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Config{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.update(ctx, func(t *txn) error {
		cancel()
		return write("k")(t)
	})
	if err != nil || !has(t, s, "k") {
		t.Errorf("got %v, there %t; want nil and true", err, has(t, s, "k"))
	}
	if err := s.update(ctx, write("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("ended before the start: got %v", err)
	}
}

func TestStore_Close_FinishesAcceptedWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir, LifecycleInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	addBucket(t, s, "b", s3model.Unversioned)
	var wg sync.WaitGroup
	var mu sync.Mutex
	stored := map[string]bool{}
	for i := range 50 {
		wg.Go(func() {
			key := fmt.Sprint(i)
			_, err := s.Put(context.Background(), s3model.PutRequest{Bucket: "b", Key: key}, strings.NewReader(key))
			mu.Lock()
			defer mu.Unlock()
			stored[key] = err == nil
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s = mustOpen(t, Config{Dir: dir})
	for key, ok := range stored {
		if got := get(t, s, key, ""); (got == key) != ok {
			t.Errorf("%s: acknowledged %t, got %q", key, ok, got)
		}
	}
}

// recorder watches durable steps and fails those it is told to.
type recorder struct {
	mu    sync.Mutex
	steps []string
	fail  map[string]error
}

func (r *recorder) step(op, _ string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, op)
	return r.fail[op]
}

func (r *recorder) set(fail map[string]error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps, r.fail = nil, fail
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.steps, " ")
}

// A body is on the disk, with its name, before anything refers to it; what a write
// replaced goes only after it is committed. This is what a power cut tests.
func TestStore_Put_OrderOfSteps(t *testing.T) {
	t.Parallel()
	rec := &recorder{}
	s := mustOpen(t, Config{Dir: t.TempDir(), disk: steps(rec.step)})
	addBucket(t, s, "b", s3model.Unversioned)
	put(t, s, "k", string(pattern(maxInline+1, 1)))
	s.files.dirs = map[string]bool{} // a first file in a new directory
	rec.set(nil)
	put(t, s, "k", string(pattern(maxInline+1, 2)))
	if got, want := rec.String(), "sync-dir create write sync-file sync-dir commit committed remove"; got != want {
		t.Errorf("large body: got %q, want %q", got, want)
	}
	rec.set(nil)
	put(t, s, "k2", "small")
	if got, want := rec.String(), "commit committed"; got != want {
		t.Errorf("small body: got %q, want %q", got, want)
	}
	rec.set(nil)
	remove(t, s, "k", "")
	if got, want := rec.String(), "commit committed remove"; got != want {
		t.Errorf("delete: got %q, want %q", got, want)
	}
}

// Whatever step fails, with whatever error: the caller learns why, nothing changed,
// nothing is left behind, reads work, and so do writes once the cause is gone.
func TestStore_DiskFails_AtEveryStep(t *testing.T) {
	t.Parallel()
	for _, cause := range []struct {
		errno error
		want  string
	}{
		{syscall.ENOSPC, "InsufficientStorage"},
		{syscall.EDQUOT, "InsufficientStorage"},
		{syscall.EFBIG, "InsufficientStorage"},
		{syscall.EROFS, "StoreReadOnly"},
		{syscall.EACCES, "StoreReadOnly"},
		{syscall.EIO, "InternalError"},
	} {
		for _, op := range []string{"create", "write", "sync-file", "sync-dir", "commit"} {
			for _, versioning := range []s3model.Versioning{s3model.Unversioned, s3model.Enabled, s3model.Suspended} {
				t.Run(fmt.Sprintf("%s/%v/%v", op, cause.errno, versioning), func(t *testing.T) {
					t.Parallel()
					rec := &recorder{}
					s := mustOpen(t, Config{Dir: t.TempDir(), disk: steps(rec.step)})
					addBucket(t, s, "b", versioning)
					put(t, s, "k", "small")
					old := string(pattern(100000, 1))
					put(t, s, "k", old)
					id := upload(t, s, s3model.PutRequest{})
					before := versionsOf(t, s)

					rec.set(map[string]error{op: &pathError{cause.errno}})
					_, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: "k"}, bytes.NewReader(pattern(100000, 2)))
					if code(err) != cause.want || !errors.Is(err, cause.errno) {
						t.Errorf("Put: got %v, want %s because of %v", err, cause.want, cause.errno)
					}
					_, err = s.PutPart(t.Context(), s3model.PartRequest{Bucket: "b", Key: "k", UploadID: id, Number: 1}, bytes.NewReader(pattern(100000, 2)))
					if code(err) != cause.want {
						t.Errorf("PutPart: got %v, want %s", err, cause.want)
					}
					if op == "commit" {
						if _, err := s.Delete(t.Context(), s3model.DeleteRequest{Bucket: "b", Key: "k"}); code(err) != cause.want {
							t.Errorf("Delete: got %v, want %s", err, cause.want)
						}
					}
					if got := versionsOf(t, s); got != before {
						t.Errorf("the versions changed to %.100q", got)
					}
					if got := get(t, s, "k", ""); got != old {
						t.Errorf("the old object: got %d bytes (%.40q)", len(got), got)
					}
					checkStorage(t, s)
					rec.set(nil)
					put(t, s, "k", string(pattern(100000, 3)))
					if got := get(t, s, "k", ""); got != string(pattern(100000, 3)) {
						t.Error("writing after the failure: wrong content")
					}
				})
			}
		}
	}
}

// pathError wraps as the os package does.
type pathError struct{ err error }

func (e *pathError) Error() string { return "write /x: " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

func TestFailure_FlattenedCause(t *testing.T) {
	t.Parallel()
	// bbolt keeps only the text when it cannot grow the file.
	err := errors.New("file resize error: " + (&pathError{syscall.ENOSPC}).Error())
	if got := code(failure(err)); got != "InsufficientStorage" {
		t.Errorf("got %s, want InsufficientStorage", got)
	}
}

// A commit whose last sync failed may or may not survive: no write may build on it.
func TestStore_UnknownOutcome_StopsWrites(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	put(t, s, "k", "1")
	reason := fmt.Errorf("%w: %w", errUnknown, syscall.EIO)
	s.broken.Store(&reason)
	_, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: "k"}, bytes.NewReader(pattern(100000, 1)))
	if code(err) != "InternalError" || !errors.Is(err, errUnknown) {
		t.Errorf("Put: got %v, want InternalError saying why", err)
	}
	if n := bodyFileCount(t, s); n != 1 {
		t.Errorf("got %d body files, want 1: it may be named", n)
	}
	if got := get(t, s, "k", ""); got != "1" {
		t.Errorf("Get: got %s, want 1", got)
	}
	if s.visible(1 << 40) {
		t.Error("a transaction of the future is visible")
	}
	if !s.visible(1) {
		t.Error("the first transaction is not visible")
	}
}
