package gc_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/gc"
)

var (
	whole = statelatch.Scope{Bucket: "b"}
	app   = statelatch.Ref{Bucket: "b", Key: "app/terraform.tfstate"}
	info  = statelatch.LockInfo{ID: "id", Operation: "OperationTypeApply", Who: "who@host", Path: app.Path()}
)

// store is a versioned bucket that checks after every removal of a version that its key reads as before.
type store struct {
	*membucket.Bucket
	now time.Time // unless zero, the store's clock

	mu      sync.Mutex
	changed []string // the removals that changed what a key reads
	wrong   []string // removals that no gc may ask for
}

func newStore() *store {
	s := &store{}
	s.Bucket = membucket.New("b", membucket.Options{Versioned: true, Clock: func() time.Time {
		if s.now.IsZero() {
			return time.Now()
		}
		return s.now
	}})
	return s
}

// Delete is one step, checks included.
func (s *store) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.current(key)
	got, err := s.Bucket.Delete(ctx, key, opts)
	if opts.VersionID == "" {
		return got, err
	}
	if after := s.current(key); after != before {
		s.changed = append(s.changed, fmt.Sprintf("removing %s of %s made it %s, which was %s", opts.VersionID, key, after, before))
	}
	if !statelatch.IsLockKey(key) {
		s.wrong = append(s.wrong, key)
	}
	return got, err
}

// Put waits for removals, so that their checks see one step.
func (s *store) Put(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Bucket.Put(ctx, key, body, opts)
}

// current is what a reader of key finds.
func (s *store) current(key string) string {
	obj, err := s.Head(context.Background(), key, bucket.ReadOptions{})
	if err != nil {
		return "free"
	}
	return "version " + obj.VersionID
}

func (s *store) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changed {
		t.Errorf("what a key reads changed: %s", c)
	}
	for _, key := range s.wrong {
		t.Errorf("a version of %s was removed, which is no lock object", key)
	}
}

// view is what readers of all keys find.
func (s *store) view(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for obj, err := range s.List(t.Context(), bucket.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s is %s\n", obj.Key, s.current(obj.Key))
	}
	return b.String()
}

// versions is every version of the keys below prefix, oldest first, markers with a dagger.
func (s *store) versions(t *testing.T, prefix string) []string {
	t.Helper()
	var all []string
	for obj, err := range s.ListVersions(t.Context(), bucket.ListOptions{Prefix: prefix}) {
		if err != nil {
			t.Fatal(err)
		}
		name := obj.VersionID
		if obj.DeleteMarker {
			name += "†"
		}
		all = append(all, name)
	}
	slices.Reverse(all)
	return all
}

// exactly counts the versions of one key.
func (s *store) exactly(t *testing.T, key string) int {
	t.Helper()
	n := 0
	for obj, err := range s.ListVersions(t.Context(), bucket.ListOptions{Prefix: key}) {
		if err != nil {
			t.Fatal(err)
		}
		if obj.Key == key {
			n++
		}
	}
	return n
}

// put stores content.
func (s *store) put(t *testing.T, key, content string) {
	t.Helper()
	if _, err := s.Bucket.Put(t.Context(), key, strings.NewReader(content), bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// lock stores a lock: 'p' a plain one, 'm' one of ours; '†' releases it.
func (s *store) lock(t *testing.T, ref statelatch.Ref, what rune) {
	t.Helper()
	switch what {
	case 'p':
		s.put(t, ref.LockKey(), string(info.Marshal()))
	case 'm':
		s.put(t, ref.LockKey(), string(info.MarshalManaged(statelatch.Managed{Nonce: "n", Seq: 1})))
	case '†':
		if _, err := s.Bucket.Delete(t.Context(), ref.LockKey(), bucket.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// history writes a lock's history, one entry an hour.
func (s *store) history(t *testing.T, ref statelatch.Ref, entries string) {
	t.Helper()
	for _, e := range entries {
		s.lock(t, ref, e)
		s.now = s.now.Add(time.Hour)
	}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// collect plans and collects everything older than that.
func collect(t *testing.T, b bucket.Bucket, opts gc.Options) (gc.Plan, gc.Result, error) {
	t.Helper()
	p, err := gc.Find(t.Context(), b, whole, opts)
	if err != nil {
		return p, gc.Result{}, err
	}
	r, err := gc.Collect(t.Context(), b, p, opts.Workers, nil)
	return p, r, err
}

const md5 = "00112233445566778899aabbccddeeff"

// snapshotStore is a bucket without versions that has snapshots; first is the oldest of them.
func snapshotStore(t *testing.T) (b bucket.Bucket, first string) {
	t.Helper()
	b = membucket.New("b", membucket.Options{})
	for day := 1; day <= 4; day++ {
		put(t, b, fmt.Sprintf("a.history/202601%02dT000000Z-%020d-%s", day, day, md5), fmt.Sprint(day))
	}
	put(t, b, "a", "state")
	put(t, b, "a.history/readme", "text")
	put(t, b, "b.history/20260101T000000Z-00000000000000000001-"+md5, "1")
	return b, "a.history/20260101T000000Z-00000000000000000001-" + md5
}

func put(t *testing.T, b bucket.Bucket, key, content string) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, strings.NewReader(content), bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}
