package bucket_test

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

func TestCondition_Check(t *testing.T) {
	t.Parallel()
	const etag, other = `"a"`, `"b"`
	for _, c := range []struct {
		name   string
		cond   bucket.Condition
		exists bool
		etag   string
		want   error
	}{
		{"none, absent", bucket.Condition{}, false, "", nil},
		{"none, present", bucket.Condition{}, true, etag, nil},
		{"IfAbsent, absent", bucket.IfAbsent, false, "", nil},
		{"IfAbsent, present", bucket.IfAbsent, true, etag, statelatch.ErrPreconditionFailed},
		{"IfMatch, absent", bucket.IfMatch(etag), false, "", statelatch.ErrNotFound},
		{"IfMatch, absent with the ETag of a deleted version", bucket.IfMatch(etag), false, etag, statelatch.ErrNotFound},
		{"IfMatch, same", bucket.IfMatch(etag), true, etag, nil},
		{"IfMatch, other", bucket.IfMatch(etag), true, other, statelatch.ErrPreconditionFailed},
		{"IfMatch, without quotes", bucket.IfMatch(etag), true, "a", statelatch.ErrPreconditionFailed},
		{"IfMatch, weak", bucket.IfMatch(etag), true, "W/" + etag, statelatch.ErrPreconditionFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := c.cond.Check(c.exists, c.etag); !errors.Is(got, c.want) || (c.want == nil) != (got == nil) {
				t.Errorf("%v.Check(%t, %s): got %v, want %v", c.cond, c.exists, c.etag, got, c.want)
			}
		})
	}
}

func TestCondition_Accessors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cond   bucket.Condition
		zero   bool
		absent bool
		etag   string
		header string
	}{
		{bucket.Condition{}, true, false, "", "unconditional"},
		{bucket.IfAbsent, false, true, "", "If-None-Match: *"},
		{bucket.IfMatch(`"a"`), false, false, `"a"`, `If-Match: "a"`},
	} {
		if got := c.cond.String(); got != c.header {
			t.Errorf("String: got %q, want %q", got, c.header)
		}
		if c.cond.IsZero() != c.zero || c.cond.Absent() != c.absent || c.cond.ETag() != c.etag {
			t.Errorf("%v: got IsZero %t, Absent %t, ETag %q, want %t, %t, %q",
				c.cond, c.cond.IsZero(), c.cond.Absent(), c.cond.ETag(), c.zero, c.absent, c.etag)
		}
	}
}

func TestCheckMetadata(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"a", "v", true},
		{"statelatch-lock-id", "a b", true},
		{"0-9", "~", true},
		{"a", strings.Repeat("x", bucket.MaxMetadata-1), true},
		{"a", strings.Repeat("x", bucket.MaxMetadata), false},
		{strings.Repeat("x", bucket.MaxMetadata), "v", false},
		{"", "v", false},
		{"A", "v", false},
		{"a_b", "v", false},
		{"a.b", "v", false},
		{"a--b", "v", false},
		{"-a", "v", false},
		{"a-", "v", false},
		{"a b", "v", false},
		{"ü", "v", false},
		{"a", "", false},
		{"a", " ", false},
		{"a", "v ", false},
		{"a", "\tv", false},
		{"a", "v\r\nX: y", false},
		{"a", "v\x00", false},
		{"a", "v\x7f", false},
		{"a", "ü", false},
		{"a", "\xff", false},
	} {
		if err := bucket.CheckMetadata(map[string]string{c.name: c.value}); (err == nil) != c.ok {
			t.Errorf("CheckMetadata of %.40q: %.40q: got %v, want it accepted: %t", c.name, c.value, err, c.ok)
		}
	}
	if err := bucket.CheckMetadata(nil); err != nil {
		t.Errorf("CheckMetadata of none: got %v, want nil", err)
	}
}

// TestIfMatch_Empty: an ETag that was never read must not turn a guarded write into an unguarded one.
func TestIfMatch_Empty(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("IfMatch of an empty ETag: got a condition, want a panic")
		}
	}()
	bucket.IfMatch("")
}

func TestReadAll(t *testing.T) {
	t.Parallel()
	const key, content = "key", "12345"
	for _, c := range []struct {
		name  string
		key   string
		limit int64
		fault faultbucket.Fault
		want  error // nil for content
	}{
		{name: "room to spare", key: key, limit: 100},
		{name: "exactly the limit", key: key, limit: 5},
		{name: "no limit", key: key, limit: math.MaxInt64},
		{name: "above the limit", key: key, limit: 4, want: statelatch.ErrInvalid},
		{name: "nothing allowed", key: key, limit: 0, want: statelatch.ErrInvalid},
		{name: "negative limit", key: key, limit: -1, want: statelatch.ErrInvalid},
		{name: "absent", key: "absent", limit: 5, want: statelatch.ErrNotFound},
		{name: "body that ends early", key: key, limit: 100, fault: faultbucket.CutBody(3), want: io.ErrUnexpectedEOF},
		{name: "body that ends early is broken", key: key, limit: 100, fault: faultbucket.CutBody(3), want: statelatch.ErrBroken},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := faultbucket.New(membucket.New("b", membucket.Options{}), faultbucket.Options{Rules: []faultbucket.Rule{{Op: faultbucket.OpGet, Fault: c.fault}}})
			put, err := b.Put(t.Context(), key, strings.NewReader(content), bucket.PutOptions{})
			if err != nil {
				t.Fatal(err)
			}
			obj, data, err := bucket.ReadAll(t.Context(), b, c.key, c.limit)
			if c.want != nil {
				if !errors.Is(err, c.want) || data != nil {
					t.Errorf("ReadAll: got %q, %v, want %v", data, err, c.want)
				}
				return
			}
			if err != nil || string(data) != content || obj.ETag != put.ETag {
				t.Errorf("ReadAll: got %q with ETag %s, %v, want %q with ETag %s", data, obj.ETag, err, content, put.ETag)
			}
		})
	}
}

func TestReadAll_Cancelled(t *testing.T) {
	t.Parallel()
	b := membucket.New("b", membucket.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := bucket.ReadAll(ctx, b, "key", 1)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, statelatch.ErrBroken) {
		t.Errorf("ReadAll: got %v, want ErrBroken because of context.Canceled", err)
	}
}
