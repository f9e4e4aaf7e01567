package membucket_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/buckettest"
	"github.com/statelatch/statelatch/bucket/membucket"
)

func TestBucket_Conformance(t *testing.T) {
	t.Parallel()
	buckettest.Run(t, func(_ *testing.T, versioned bool) bucket.Bucket {
		return membucket.New("conformance", membucket.Options{Versioned: versioned})
	})
}

const key = "env/terraform.tfstate"

func put(t *testing.T, b *membucket.Bucket, content string) bucket.Object {
	t.Helper()
	obj, err := b.Put(t.Context(), key, strings.NewReader(content), bucket.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

// TestBucket_Errors: every refusal carries what AWS answers.
func TestBucket_Errors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const wrong = `"00000000000000000000000000000000"`
	open := func(t *testing.T, versioned bool) (*membucket.Bucket, bucket.Object) {
		t.Helper()
		b := membucket.New("bucket", membucket.Options{Versioned: versioned})
		return b, put(t, b, "content")
	}
	for _, c := range []struct {
		name string
		do   func(b *membucket.Bucket, obj bucket.Object) error
		want statelatch.StoreError
	}{
		{
			"head of an absent key", func(b *membucket.Bucket, _ bucket.Object) error {
				_, err := b.Head(ctx, "absent", bucket.ReadOptions{})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrNotFound, Op: "head", Key: "absent", Status: http.StatusNotFound},
		},
		{
			"get of an absent key", func(b *membucket.Bucket, _ bucket.Object) error {
				_, _, err := b.Get(ctx, "absent", bucket.ReadOptions{})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrNotFound, Op: "get", Key: "absent", Status: http.StatusNotFound, Code: "NoSuchKey"},
		},
		{
			"get of an absent version", func(b *membucket.Bucket, _ bucket.Object) error {
				_, _, err := b.Get(ctx, key, bucket.ReadOptions{VersionID: "nonsense"})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrNotFound, Op: "get", Key: key, Status: http.StatusNotFound, Code: "NoSuchVersion"},
		},
		{
			"get of a delete marker", func(b *membucket.Bucket, _ bucket.Object) error {
				deleted, err := b.Delete(ctx, key, bucket.DeleteOptions{})
				if err != nil {
					return err
				}
				_, _, err = b.Get(ctx, key, bucket.ReadOptions{VersionID: deleted.VersionID})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrNotFound, Op: "get", Key: key, Status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed"},
		},
		{
			"create over an object", func(b *membucket.Bucket, _ bucket.Object) error {
				_, err := b.Put(ctx, key, strings.NewReader("x"), bucket.PutOptions{If: bucket.IfAbsent})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrPreconditionFailed, Op: "put", Key: key, Status: http.StatusPreconditionFailed, Code: "PreconditionFailed"},
		},
		{
			"replace an absent object", func(b *membucket.Bucket, _ bucket.Object) error {
				_, err := b.Put(ctx, "absent", strings.NewReader("x"), bucket.PutOptions{If: bucket.IfMatch(wrong)})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrNotFound, Op: "put", Key: "absent", Status: http.StatusNotFound, Code: "NoSuchKey"},
		},
		{
			"delete another version of an object", func(b *membucket.Bucket, _ bucket.Object) error {
				_, err := b.Delete(ctx, key, bucket.DeleteOptions{If: bucket.IfMatch(wrong)})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrPreconditionFailed, Op: "delete", Key: key, Status: http.StatusPreconditionFailed, Code: "PreconditionFailed"},
		},
		{
			"delete if absent", func(b *membucket.Bucket, _ bucket.Object) error {
				_, err := b.Delete(ctx, key, bucket.DeleteOptions{If: bucket.IfAbsent})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrUnsupported, Op: "delete", Key: key, Status: http.StatusNotImplemented, Code: "NotImplemented"},
		},
		{
			"delete a version on a condition", func(b *membucket.Bucket, obj bucket.Object) error {
				_, err := b.Delete(ctx, key, bucket.DeleteOptions{VersionID: obj.VersionID, If: bucket.IfMatch(obj.ETag)})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrUnsupported, Op: "delete", Key: key, Status: http.StatusNotImplemented, Code: "NotImplemented"},
		},
		{
			"an empty key", func(b *membucket.Bucket, _ bucket.Object) error {
				_, err := b.Delete(ctx, "", bucket.DeleteOptions{})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrUnsupported, Op: "delete", Status: http.StatusBadRequest, Code: "InvalidArgument"},
		},
		{
			"a key above the limit", func(b *membucket.Bucket, _ bucket.Object) error {
				_, err := b.Put(ctx, strings.Repeat("k", 1025), strings.NewReader("x"), bucket.PutOptions{})
				return err
			},
			statelatch.StoreError{Kind: statelatch.ErrUnsupported, Op: "put", Key: strings.Repeat("k", 1025), Status: http.StatusBadRequest, Code: "KeyTooLongError"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, obj := open(t, true)
			err := c.do(b, obj)
			var got *statelatch.StoreError
			if !errors.As(err, &got) {
				t.Fatalf("got %v, want a *statelatch.StoreError", err)
			}
			c.want.Bucket, c.want.Message = "bucket", got.Message
			if *got != c.want {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
		})
	}
}

func TestBucket_ListVersions_Unversioned(t *testing.T) {
	t.Parallel()
	b := membucket.New("bucket", membucket.Options{})
	put(t, b, "content")
	for obj, err := range b.ListVersions(t.Context(), bucket.ListOptions{}) {
		if !errors.Is(err, statelatch.ErrUnsupported) {
			t.Errorf("ListVersions: got %+v, %v, want ErrUnsupported", obj, err)
		}
	}
}

// TestBucket_Get_UnversionedIDs: an unversioned object has no version ID, and none finds it.
func TestBucket_Get_UnversionedIDs(t *testing.T) {
	t.Parallel()
	b := membucket.New("bucket", membucket.Options{})
	if obj := put(t, b, "content"); obj.VersionID != "" {
		t.Errorf("Put: got version %q, want none", obj.VersionID)
	}
	for _, id := range []string{"null", "v000001"} {
		if obj, err := b.Head(t.Context(), key, bucket.ReadOptions{VersionID: id}); !errors.Is(err, statelatch.ErrNotFound) {
			t.Errorf("Head of version %q: got %+v, %v, want ErrNotFound", id, obj, err)
		}
	}
}

func TestBucket_Put_ETagIsMD5(t *testing.T) {
	t.Parallel()
	b := membucket.New("bucket", membucket.Options{})
	if got, want := put(t, b, "hello").ETag, `"5d41402abc4b2a76b9719d911017c592"`; got != want {
		t.Errorf("ETag: got %s, want %s", got, want)
	}
}

// TestBucket_Clock: all times are the store's, in UTC and with HTTP's resolution.
func TestBucket_Clock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 10, 0, 0, 987654321, time.FixedZone("somewhere", 3600))
	b := membucket.New("bucket", membucket.Options{Clock: func() time.Time { return now }})
	obj := put(t, b, "content")
	written := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	if obj.Date != written {
		t.Errorf("Date of Put: got %v, want %v", obj.Date, written)
	}
	now = now.Add(time.Minute)
	head, err := b.Head(t.Context(), key, bucket.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if head.LastModified != written || head.Date != written.Add(time.Minute) {
		t.Errorf("Head: got Last-Modified %v and Date %v, want %v and a minute later", head.LastModified, head.Date, written)
	}
}

// TestBucket_Get_BodyAfterClose: a body behaves as one from a network, so that misuse shows in tests.
func TestBucket_Get_BodyAfterClose(t *testing.T) {
	t.Parallel()
	b := membucket.New("bucket", membucket.Options{})
	put(t, b, "content")
	_, body, err := b.Get(t.Context(), key, bucket.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(body); err == nil {
		t.Errorf("read after Close: got %q, want an error", data)
	}
}

func TestBucket_Get_BodyAfterCancel(t *testing.T) {
	t.Parallel()
	b := membucket.New("bucket", membucket.Options{})
	put(t, b, "content")
	ctx, cancel := context.WithCancel(t.Context())
	_, body, err := b.Get(ctx, key, bucket.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if data, err := io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("read after cancel: got %q, %v, want context.Canceled", data, err)
	}
}

// TestBucket_Put_KeepsNoReference: the caller may reuse its buffer and its map, and the reader what it got.
func TestBucket_Put_KeepsNoReference(t *testing.T) {
	t.Parallel()
	b := membucket.New("bucket", membucket.Options{})
	buffer := []byte("content")
	metadata := map[string]string{"a": "1"}
	opts := bucket.PutOptions{Metadata: metadata}
	if _, err := b.Put(t.Context(), key, bytes.NewReader(buffer), opts); err != nil {
		t.Fatal(err)
	}
	copy(buffer, "garbage")
	for range 2 {
		metadata["a"] = "garbage"
		obj, data, err := bucket.ReadAll(t.Context(), b, key, 100)
		if err != nil || string(data) != "content" || obj.Metadata["a"] != "1" {
			t.Errorf("ReadAll: got %q, metadata %q, %v, want content and a=1", data, obj.Metadata, err)
		}
		metadata = obj.Metadata
	}
}

// TestBucket_Delete_MarkerOverNothing: S3 writes a marker even where there is nothing to delete.
func TestBucket_Delete_MarkerOverNothing(t *testing.T) {
	t.Parallel()
	b := membucket.New("bucket", membucket.Options{Versioned: true})
	for range 2 {
		if deleted, err := b.Delete(t.Context(), key, bucket.DeleteOptions{}); err != nil || !deleted.DeleteMarker {
			t.Errorf("Delete: got %+v, %v, want a delete marker", deleted, err)
		}
	}
	markers := 0
	for obj, err := range b.ListVersions(t.Context(), bucket.ListOptions{}) {
		if err != nil || !obj.DeleteMarker || obj.IsLatest != (markers == 0) {
			t.Errorf("ListVersions: got %+v, %v, want markers, the first the latest", obj, err)
		}
		markers++
	}
	if markers != 2 {
		t.Errorf("ListVersions: got %d markers, want 2", markers)
	}
}

// TestBucket_List_WhileChanging: each page is fresh; what lies behind the last page is never lost or repeated.
func TestBucket_List_WhileChanging(t *testing.T) {
	t.Parallel()
	b := membucket.New("bucket", membucket.Options{})
	add := func(key string) {
		if _, err := b.Put(t.Context(), key, strings.NewReader(key), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"b", "d", "f"} {
		add(key)
	}
	var got []string
	for obj, err := range b.List(t.Context(), bucket.ListOptions{PageSize: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, obj.Key)
		if obj.Key == "b" {
			add("a")
			add("c")
			if _, err := b.Delete(t.Context(), "b", bucket.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Delete(t.Context(), "d", bucket.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if strings.Join(got, " ") != "b c f" {
		t.Errorf("List: got %q, want b c f", got)
	}
}
