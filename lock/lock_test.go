package lock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
)

var ref = statelatch.Ref{Bucket: "b", Key: "app/terraform.tfstate"}

// engineLock is a lock object as terraform writes it.
var engineLock = []byte(`{"ID":"c8d5b5a4-205f-4f02-a807-ffcaf7127645","Operation":"OperationTypeApply","Info":"","Who":"root@ci","Version":"1.11.4","Created":"2026-11-21T11:44:51.579366244Z","Path":"b/app/terraform.tfstate"}`)

const engineID = "c8d5b5a4-205f-4f02-a807-ffcaf7127645"

func setup(rules ...faultbucket.Rule) (*lock.Manager, *faultbucket.Bucket) {
	store := faultbucket.New(membucket.New("b", membucket.Options{Versioned: true}), faultbucket.Options{Rules: rules})
	return &lock.Manager{Bucket: store, Tier: lock.TierFull}, store
}

func request() lock.Request {
	return lock.Request{Operation: "test", Who: "me@here", Version: "0"}
}

// acquire is Acquire for tests that release by what was held, as another process would.
func acquire(ctx context.Context, m *lock.Manager, req lock.Request) (lock.Held, error) {
	tenure, err := m.Acquire(ctx, ref, req)
	if err != nil {
		return lock.Held{}, err
	}
	return tenure.Held(), nil
}

// body is the lock object of h.
func body(h lock.Held) []byte { return h.Info.MarshalManaged(*h.Managed) }

// put writes the lock object behind the manager's back.
func put(t *testing.T, b bucket.Bucket, body []byte) {
	t.Helper()
	if _, err := b.Put(context.WithoutCancel(t.Context()), ref.LockKey(), bytes.NewReader(body), bucket.PutOptions{}); err != nil {
		t.Error(err)
	}
}

// stored is the lock object as it is, nil if there is none.
func stored(t *testing.T, b bucket.Bucket) []byte {
	t.Helper()
	_, body, err := bucket.ReadAll(context.WithoutCancel(t.Context()), b, ref.LockKey(), statelatch.MaxLockInfo)
	if errors.Is(err, statelatch.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func wantHeld(t *testing.T, b bucket.Bucket, h lock.Held, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	if got := stored(t, b); !bytes.Equal(got, body(h)) {
		t.Fatalf("the store holds %s, Acquire returned %s", got, body(h))
	}
}

func TestManager_Status(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		if _, err := m.Status(t.Context(), ref); !errors.Is(err, statelatch.ErrNotLocked) {
			t.Errorf("free: got %v, want ErrNotLocked", err)
		}
		put(t, store, engineLock)
		time.Sleep(90 * time.Second)
		h, err := m.Status(t.Context(), ref)
		if err != nil || h.Info.ID != engineID || h.Err != nil {
			t.Errorf("got %+v, %v", h, err)
		}
		// B7: the age is the store's, whatever Created says.
		if h.Age != 90*time.Second {
			t.Errorf("age %v, want 90 s", h.Age)
		}
		if n := store.Count("", ref.LockKey()); n != 3 {
			t.Errorf("%d requests, want the put and one read each", n)
		}
	})
}

// bucketless answers reads as S3 does where the bucket does not exist.
type bucketless struct{ bucket.Bucket }

func (bucketless) Get(context.Context, string, bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	return bucket.Object{}, nil, &statelatch.StoreError{Kind: statelatch.ErrNoBucket, Op: "get", Status: 404, Code: "NoSuchBucket"}
}

func (bucketless) Name() string { return ref.Bucket }

// A mistyped bucket is not a free lock.
func TestManager_Status_NoSuchBucket(t *testing.T) {
	t.Parallel()
	m := &lock.Manager{Bucket: bucketless{}}
	_, err1 := m.Status(t.Context(), ref)
	_, _, err2 := m.ForceUnlock(t.Context(), ref, engineID, request())
	for _, err := range []error{err1, err2} {
		if !errors.Is(err, statelatch.ErrNotFound) || errors.Is(err, statelatch.ErrNotLocked) {
			t.Errorf("got %v, want ErrNotFound and not ErrNotLocked", err)
		}
	}
}

func TestManager_RefusesInvalidRef(t *testing.T) {
	t.Parallel()
	m, store := setup()
	bad := statelatch.Ref{Bucket: "b", Key: "../b"}
	_, err1 := m.Acquire(t.Context(), bad, request())
	_, _, err2 := m.ForceUnlock(t.Context(), bad, "x", request())
	if !errors.Is(err1, statelatch.ErrInvalid) || !errors.Is(err2, statelatch.ErrInvalid) || len(store.Requests()) != 0 {
		t.Errorf("got %v and %v after %d requests, want ErrInvalid and none", err1, err2, len(store.Requests()))
	}
}

func TestNewID_ShapeOfTheEngines(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		id := lock.NewID()
		var a, b, c, d, e uint64
		if n, err := fmt.Sscanf(id, "%08x-%04x-%04x-%04x-%012x", &a, &b, &c, &d, &e); n != 5 || err != nil || len(id) != 36 || seen[id] {
			t.Fatalf("NewID() = %q", id)
		}
		seen[id] = true
	}
}
