package faultbucket_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/buckettest"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

const key = "terraform.tfstate.tflock"

// setup returns a store, and the same store behind rules.
func setup(rules ...faultbucket.Rule) (store *membucket.Bucket, b *faultbucket.Bucket) {
	store = membucket.New("bucket", membucket.Options{})
	return store, faultbucket.New(store, faultbucket.Options{Rules: rules})
}

func put(ctx context.Context, b bucket.Bucket, content string, cond bucket.Condition) error {
	_, err := b.Put(ctx, key, strings.NewReader(content), bucket.PutOptions{If: cond})
	return err
}

func mustPut(t *testing.T, b bucket.Bucket, content string) {
	t.Helper()
	if err := put(t.Context(), b, content, bucket.Condition{}); err != nil {
		t.Fatal(err)
	}
}

// content is what the store holds, empty for nothing.
func content(t *testing.T, b bucket.Bucket) string {
	t.Helper()
	_, data, err := bucket.ReadAll(t.Context(), b, key, 1<<20)
	if err != nil && !errors.Is(err, statelatch.ErrNotFound) {
		t.Fatal(err)
	}
	return string(data)
}

// TestBucket_Conformance: without rules nothing changes.
func TestBucket_Conformance(t *testing.T) {
	t.Parallel()
	buckettest.Run(t, func(_ *testing.T, versioned bool) bucket.Bucket {
		return faultbucket.New(membucket.New("bucket", membucket.Options{Versioned: versioned}), faultbucket.Options{})
	}, buckettest.Contention(8, 10))
}

// TestFault_Write tells for each fault what a create is told and what the store holds at once and later.
func TestFault_Write(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	close(closed)
	for _, c := range []struct {
		name        string
		fault       faultbucket.Fault
		before      string // content of the store before
		want        error  // kind, nil for success
		wantContent string
		wantLate    string // content after Deliver
	}{
		{name: "none", wantContent: "new", wantLate: "new"},
		{name: "lose request", fault: faultbucket.LoseRequest(), want: statelatch.ErrAmbiguous},
		{name: "lose reply", fault: faultbucket.LoseReply(), want: statelatch.ErrAmbiguous, wantContent: "new", wantLate: "new"},
		{name: "lose reply of a refusal", fault: faultbucket.LoseReply(), before: "old", want: statelatch.ErrAmbiguous, wantContent: "old", wantLate: "old"},
		{name: "late", fault: faultbucket.Late(faultbucket.Held), want: statelatch.ErrAmbiguous, wantLate: "new"},
		{name: "late at once", fault: faultbucket.Late(0), want: statelatch.ErrAmbiguous, wantContent: "new", wantLate: "new"},
		{name: "duplicate at once", fault: faultbucket.Duplicate(0), wantContent: "new", wantLate: "new"},
		{name: "duplicate held", fault: faultbucket.Duplicate(faultbucket.Held), wantContent: "new", wantLate: "new"},
		{name: "B1 resend", fault: faultbucket.Resend(), want: statelatch.ErrPreconditionFailed, wantContent: "new", wantLate: "new"},
		{name: "hold, released", fault: faultbucket.Hold(closed), wantContent: "new", wantLate: "new"},
		{name: "hold reply, released", fault: faultbucket.HoldReply(closed), wantContent: "new", wantLate: "new"},
		{name: "answer 403", fault: faultbucket.Answer(http.StatusForbidden), want: statelatch.ErrDenied},
		{name: "answer 404", fault: faultbucket.Answer(http.StatusNotFound), want: statelatch.ErrNotFound},
		{name: "answer 409", fault: faultbucket.Answer(http.StatusConflict), want: statelatch.ErrConflict},
		{name: "answer 412", fault: faultbucket.Answer(http.StatusPreconditionFailed), want: statelatch.ErrPreconditionFailed},
		{name: "answer 500", fault: faultbucket.Answer(http.StatusInternalServerError), want: statelatch.ErrAmbiguous},
		{name: "answer 501", fault: faultbucket.Answer(http.StatusNotImplemented), want: statelatch.ErrUnsupported},
		{name: "B6 answer 503", fault: faultbucket.Answer(http.StatusServiceUnavailable), want: statelatch.ErrAmbiguous},
		{name: "answer 500 after", fault: faultbucket.AnswerAfter(http.StatusInternalServerError), want: statelatch.ErrAmbiguous, wantContent: "new", wantLate: "new"},
		{name: "answer 409 after", fault: faultbucket.AnswerAfter(http.StatusConflict), want: statelatch.ErrConflict, wantContent: "new", wantLate: "new"},
		{name: "Q1 ignore condition", fault: faultbucket.IgnoreCondition(), before: "old", wantContent: "new", wantLate: "new"},
		{name: "condition kept", before: "old", want: statelatch.ErrPreconditionFailed, wantContent: "old", wantLate: "old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store, b := setup(faultbucket.Rule{Op: faultbucket.OpPut, Fault: c.fault})
			if c.before != "" {
				mustPut(t, store, c.before)
			}
			err := put(t.Context(), b, "new", bucket.IfAbsent)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("Put: got %v, want %v", err, c.want)
			}
			if err != nil {
				checkStoreError(t, err, faultbucket.OpPut, key)
			}
			if got := content(t, store); got != c.wantContent {
				t.Errorf("content: got %q, want %q", got, c.wantContent)
			}
			b.Deliver()
			if got := content(t, store); got != c.wantLate {
				t.Errorf("content after Deliver: got %q, want %q", got, c.wantLate)
			}
		})
	}
}

func checkStoreError(t *testing.T, err error, op, key string) {
	t.Helper()
	var e *statelatch.StoreError
	if !errors.As(err, &e) || e.Op != op || e.Bucket != "bucket" || e.Key != key {
		t.Errorf("error: got %#v, want a StoreError of %s on s3://bucket/%s", err, op, key)
	}
}

func TestFault_Delete(t *testing.T) {
	t.Parallel()
	store, b := setup(faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.LoseReply()})
	mustPut(t, b, "old")
	_, err := b.Delete(t.Context(), key, bucket.DeleteOptions{})
	if !errors.Is(err, statelatch.ErrAmbiguous) {
		t.Errorf("Delete: got %v, want ErrAmbiguous", err)
	}
	checkStoreError(t, err, faultbucket.OpDelete, key)
	if got := content(t, store); got != "" {
		t.Errorf("content: got %q, want nothing", got)
	}
}

// TestFault_Delete_Q5_IgnoreCondition is MinIO: the condition of a delete is accepted and dropped.
func TestFault_Delete_Q5_IgnoreCondition(t *testing.T) {
	t.Parallel()
	store, b := setup(faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.IgnoreCondition()})
	mustPut(t, b, "somebody else's")
	if _, err := b.Delete(t.Context(), key, bucket.DeleteOptions{If: bucket.IfMatch(`"wrong"`)}); err != nil {
		t.Errorf("Delete: got %v, want success", err)
	}
	if got := content(t, store); got != "" {
		t.Errorf("content: got %q, want nothing", got)
	}
}

// TestFault_Duplicate_LateDelete is how plain terraform loses exclusion (W3): the first copy of an
// unlock arrives after the next client has locked.
func TestFault_Duplicate_LateDelete(t *testing.T) {
	t.Parallel()
	store, b := setup(faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.Duplicate(1)})
	mustPut(t, b, "first holder")
	if _, err := b.Delete(t.Context(), key, bucket.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, store); got != "" {
		t.Errorf("content after the delete: got %q, want nothing", got)
	}
	if err := put(t.Context(), b, "second holder", bucket.IfAbsent); err != nil {
		t.Errorf("Put: got %v, want success", err)
	}
	if got := content(t, store); got != "" {
		t.Errorf("content after the late copy: got %q, want nothing", got)
	}
	log := b.Requests()
	if last := log[len(log)-1]; !last.Late || last.Op != faultbucket.OpDelete || !last.Done || last.Err != nil {
		t.Errorf("log: got %+v as its last line, want the late delete", last)
	}
	if got := b.Count(faultbucket.OpDelete, key); got != 1 {
		t.Errorf("Count: got %d deletes, want 1, without the late copy", got)
	}
}

// TestFault_Late_After: a stuck write lands after so many others have been answered, and not before.
func TestFault_Late_After(t *testing.T) {
	t.Parallel()
	store, b := setup(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.Late(2)})
	if err := put(t.Context(), b, "stuck", bucket.Condition{}); !errors.Is(err, statelatch.ErrAmbiguous) {
		t.Errorf("Put: got %v, want ErrAmbiguous", err)
	}
	mustPut(t, b, "newer")
	if got := content(t, store); got != "newer" {
		t.Errorf("content after one request: got %q, want newer", got)
	}
	if _, err := b.Head(t.Context(), key, bucket.ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, store); got != "stuck" {
		t.Errorf("content after two requests: got %q, want stuck", got)
	}
}

// TestFault_Late_OwnBody: a late copy has the bytes of its time, although the caller went on to use its buffer.
func TestFault_Late_OwnBody(t *testing.T) {
	t.Parallel()
	store, b := setup(faultbucket.Rule{Op: faultbucket.OpPut, Fault: faultbucket.Late(faultbucket.Held)})
	ctx, cancel := context.WithCancel(t.Context())
	reader := strings.NewReader("as it was sent")
	metadata := map[string]string{"a": "as it was sent"}
	if _, err := b.Put(ctx, key, reader, bucket.PutOptions{Metadata: metadata}); !errors.Is(err, statelatch.ErrAmbiguous) {
		t.Errorf("Put: got %v, want ErrAmbiguous", err)
	}
	reader.Reset("reused")
	metadata["a"] = "reused"
	cancel()
	if n := b.Deliver(); n != 1 {
		t.Errorf("Deliver: got %d copies, want 1", n)
	}
	if got := content(t, store); got != "as it was sent" {
		t.Errorf("content: got %q, want what was sent, whatever became of the caller", got)
	}
	if obj, err := store.Head(t.Context(), key, bucket.ReadOptions{}); err != nil || obj.Metadata["a"] != "as it was sent" {
		t.Errorf("metadata: got %q, %v, want what was sent", obj.Metadata, err)
	}
	if n := b.Deliver(); n != 0 {
		t.Errorf("second Deliver: got %d copies, want 0", n)
	}
}

// TestFault_Read tells for each fault what a get is told; a read is never ambiguous.
func TestFault_Read(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault faultbucket.Fault
		want  error // kind, nil for success
	}{
		{"lose request", faultbucket.LoseRequest(), statelatch.ErrBroken},
		{"lose reply", faultbucket.LoseReply(), statelatch.ErrBroken},
		{"late", faultbucket.Late(1), statelatch.ErrBroken},
		{"duplicate", faultbucket.Duplicate(1), nil},
		{"resend", faultbucket.Resend(), nil},
		{"answer 403", faultbucket.Answer(http.StatusForbidden), statelatch.ErrDenied},
		{"answer 404", faultbucket.Answer(http.StatusNotFound), statelatch.ErrNotFound},
		{"answer 500", faultbucket.Answer(http.StatusInternalServerError), statelatch.ErrBroken},
		{"answer 503", faultbucket.Answer(http.StatusServiceUnavailable), statelatch.ErrThrottled},
		{"answer 500 after", faultbucket.AnswerAfter(http.StatusInternalServerError), statelatch.ErrBroken},
		{"ignore condition", faultbucket.IgnoreCondition(), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, b := setup(faultbucket.Rule{Op: faultbucket.OpGet, Fault: c.fault})
			mustPut(t, b, "content")
			_, r, err := b.Get(t.Context(), key, bucket.ReadOptions{})
			if c.want != nil {
				if !errors.Is(err, c.want) || r != nil {
					t.Errorf("Get: got body %v, %v, want %v", r, err, c.want)
				}
				checkStoreError(t, err, faultbucket.OpGet, key)
				return
			}
			if err != nil {
				t.Fatalf("Get: got %v, want success", err)
			}
			if data, err := io.ReadAll(r); err != nil || string(data) != "content" {
				t.Errorf("body: got %q, %v, want content", data, err)
			}
		})
	}
}

func TestFault_CutBody(t *testing.T) {
	t.Parallel()
	_, b := setup(faultbucket.Rule{Op: faultbucket.OpGet, Fault: faultbucket.CutBody(3)})
	mustPut(t, b, "content")
	_, r, err := b.Get(t.Context(), key, bucket.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) || string(data) != "con" {
		t.Errorf("body: got %q, %v, want con and io.ErrUnexpectedEOF", data, err)
	}
}

func TestFault_List(t *testing.T) {
	t.Parallel()
	_, b := setup(faultbucket.Rule{Op: faultbucket.OpList, Key: "env/", Fault: faultbucket.Answer(http.StatusServiceUnavailable)})
	mustPut(t, b, "content")
	entries := 0
	for obj, err := range b.List(t.Context(), bucket.ListOptions{Prefix: "env/"}) {
		entries++
		if !errors.Is(err, statelatch.ErrThrottled) {
			t.Errorf("List of the prefix in the rule: got %+v, %v, want ErrThrottled", obj, err)
		}
		checkStoreError(t, err, faultbucket.OpList, "")
	}
	for obj, err := range b.List(t.Context(), bucket.ListOptions{}) {
		entries++
		if err != nil || obj.Key != key {
			t.Errorf("List of another prefix: got %+v, %v, want %q", obj, err, key)
		}
	}
	if entries != 2 {
		t.Errorf("List: got %d entries, want one error and one object", entries)
	}
	if got := b.Count(faultbucket.OpList, ""); got != 2 {
		t.Errorf("Count: got %d listings, want 2", got)
	}
}

// TestFault_Delay_VirtualTime: delays take virtual time in a synctest bubble, and hold no lock.
func TestFault_Delay_VirtualTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		fault   faultbucket.Fault
		content string // in the middle of the delay
	}{
		{"delay", faultbucket.Delay(time.Hour), ""},
		{"delay reply", faultbucket.DelayReply(time.Hour), "new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, b := setup(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: c.fault})
				start := time.Now()
				var took time.Duration
				var client sync.WaitGroup
				client.Go(func() {
					if err := put(t.Context(), b, "new", bucket.IfAbsent); err != nil {
						t.Errorf("Put: got %v, want success", err)
					}
					took = time.Since(start)
				})
				time.Sleep(time.Minute)
				if got := content(t, b); got != c.content {
					t.Errorf("content during the delay: got %q, want %q", got, c.content)
				}
				client.Wait()
				if took != time.Hour {
					t.Errorf("Put: got an answer after %v, want it after %v", took, time.Hour)
				}
			})
		})
	}
}

// TestFault_Delay_Cancelled: whoever gives up does not know what became of a write.
func TestFault_Delay_Cancelled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault faultbucket.Fault
		want  string
	}{
		{"hold", faultbucket.Hold(nil), ""},
		{"hold reply", faultbucket.HoldReply(nil), "new"},
		{"delay", faultbucket.Delay(time.Hour), ""},
		{"delay reply", faultbucket.DelayReply(time.Hour), "new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, b := setup(faultbucket.Rule{Op: faultbucket.OpPut, Fault: c.fault})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				err := put(ctx, b, "new", bucket.IfAbsent)
				if !errors.Is(err, statelatch.ErrAmbiguous) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Put: got %v, want ErrAmbiguous because of context.DeadlineExceeded", err)
				}
				if got := content(t, store); got != c.want {
					t.Errorf("content: got %q, want %q", got, c.want)
				}
			})
		})
	}
}

// TestRule_Selects: which of five puts and one delete a rule hits.
func TestRule_Selects(t *testing.T) {
	t.Parallel()
	lose := faultbucket.LoseRequest()
	for _, c := range []struct {
		name  string
		rules []faultbucket.Rule
		want  string // one character per request: x for a fault
	}{
		{"everything", []faultbucket.Rule{{Fault: lose}}, "xxxxxx"},
		{"op", []faultbucket.Rule{{Op: faultbucket.OpDelete, Fault: lose}}, ".....x"},
		{"key", []faultbucket.Rule{{Key: key, Fault: lose}}, "xxxxxx"},
		{"other key", []faultbucket.Rule{{Key: "other", Fault: lose}}, "......"},
		{"third put", []faultbucket.Rule{{Op: faultbucket.OpPut, Nth: 3, Fault: lose}}, "..x..."},
		{"first two", []faultbucket.Rule{{Limit: 2, Fault: lose}}, "xx...."},
		{"conditional", []faultbucket.Rule{{Match: func(r faultbucket.Request) bool { return !r.If.IsZero() }, Fault: lose}}, "x.x.x."},
		{"second conditional", []faultbucket.Rule{{Match: func(r faultbucket.Request) bool { return r.If.Absent() }, Nth: 2, Fault: lose}}, "..x..."},
		{"each counts for itself", []faultbucket.Rule{{Nth: 1, Fault: lose}, {Nth: 2, Fault: lose}, {Nth: 6, Fault: lose}}, "xx...x"},
		{"zero fault shields", []faultbucket.Rule{{Op: faultbucket.OpPut, Nth: 2}, {Fault: lose}}, "x.xxxx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, b := setup(c.rules...)
			for i := range 5 {
				cond := bucket.Condition{}
				if i%2 == 0 {
					cond = bucket.IfAbsent
				}
				_ = put(t.Context(), b, "content", cond)
			}
			_, _ = b.Delete(t.Context(), key, bucket.DeleteOptions{})
			var got strings.Builder
			for _, r := range b.Requests() {
				if r.Fault == "lose request" {
					got.WriteByte('x')
				} else {
					got.WriteByte('.')
				}
			}
			if got.String() != c.want {
				t.Errorf("faults: got %s, want %s", got.String(), c.want)
			}
		})
	}
}

// TestRule_Chance: the same seed gives the same run, another seed another.
func TestRule_Chance(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) string {
		b := faultbucket.New(membucket.New("bucket", membucket.Options{}), faultbucket.Options{
			Rules: []faultbucket.Rule{{Chance: 0.3, Fault: faultbucket.LoseRequest()}},
			Rand:  rand.New(rand.NewPCG(seed, 0)),
		})
		for range 200 {
			_ = put(t.Context(), b, "content", bucket.Condition{})
		}
		var faults strings.Builder
		for _, r := range b.Requests() {
			faults.WriteString(r.Fault[:min(1, len(r.Fault))] + ".")
		}
		return faults.String()
	}
	first := run(1)
	if again := run(1); again != first {
		t.Errorf("same seed: got %s, want %s", again, first)
	}
	if other := run(2); other == first {
		t.Errorf("other seed: got the same faults %s, want others", other)
	}
	if n := strings.Count(first, "l"); n < 30 || n > 90 {
		t.Errorf("chance of 0.3: got %d faults of 200, want about 60", n)
	}
}

func TestBucket_Heal(t *testing.T) {
	t.Parallel()
	_, b := setup(faultbucket.Rule{Fault: faultbucket.LoseRequest()})
	if err := put(t.Context(), b, "content", bucket.Condition{}); err == nil {
		t.Error("Put with a rule: got success, want a failure")
	}
	b.Heal()
	if err := put(t.Context(), b, "content", bucket.Condition{}); err != nil {
		t.Errorf("Put after Heal: got %v, want success", err)
	}
	b.Add(faultbucket.Rule{Nth: 1, Fault: faultbucket.LoseRequest()})
	if err := put(t.Context(), b, "content", bucket.Condition{}); err == nil {
		t.Error("Put with a new rule: got success, want a failure: it counts from when it was added")
	}
}

func TestBucket_Requests(t *testing.T) {
	t.Parallel()
	_, b := setup(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.IgnoreCondition()})
	ctx := t.Context()
	_ = put(ctx, b, "one", bucket.IfAbsent)
	_ = put(ctx, b, "two", bucket.IfMatch(`"wrong"`))
	_, _ = b.Head(ctx, key, bucket.ReadOptions{VersionID: "v1"})
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := put(done, b, "three", bucket.Condition{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Put with a context that is done: got %v, want context.Canceled", err)
	}

	want := []faultbucket.Request{
		{Op: faultbucket.OpPut, Key: key, If: bucket.IfAbsent, Done: true},
		{Op: faultbucket.OpPut, Key: key, If: bucket.IfMatch(`"wrong"`), Fault: "ignore condition", Done: true},
		{Op: faultbucket.OpHead, Key: key, VersionID: "v1", Done: true},
	}
	got := b.Requests()
	if len(got) != len(want) {
		t.Fatalf("Requests: got %+v, want %d, without the one that was never sent", got, len(want))
	}
	if !errors.Is(got[2].Err, statelatch.ErrNotFound) {
		t.Errorf("Requests: got error %v for the absent version, want ErrNotFound", got[2].Err)
	}
	got[2].Err = nil
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("request %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	for _, c := range []struct {
		op, key string
		want    int
	}{{"", "", 3}, {faultbucket.OpPut, "", 2}, {"", key, 3}, {faultbucket.OpHead, key, 1}, {faultbucket.OpGet, "", 0}, {"", "other", 0}} {
		if n := b.Count(c.op, c.key); n != c.want {
			t.Errorf("Count(%q, %q): got %d, want %d", c.op, c.key, n, c.want)
		}
	}
}

// TestBucket_Put_UnreadableBody: a body that a fault needs twice and cannot read is the caller's failure, not the network's.
func TestBucket_Put_UnreadableBody(t *testing.T) {
	t.Parallel()
	_, b := setup(faultbucket.Rule{Fault: faultbucket.LoseReply()})
	_, err := b.Put(t.Context(), key, unreadable{}, bucket.PutOptions{})
	if !errors.Is(err, statelatch.ErrBroken) || !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("Put: got %v, want ErrBroken because of the body", err)
	}
}

type unreadable struct{}

func (unreadable) Read([]byte) (int, error)       { return 0, io.ErrNoProgress }
func (unreadable) Seek(int64, int) (int64, error) { return 0, nil }

// TestBucket_Concurrent uses everything at once; the race detector judges.
func TestBucket_Concurrent(t *testing.T) {
	t.Parallel()
	_, b := setup(
		faultbucket.Rule{Op: faultbucket.OpPut, Chance: 0.3, Fault: faultbucket.Duplicate(3)},
		faultbucket.Rule{Op: faultbucket.OpDelete, Chance: 0.3, Fault: faultbucket.Late(faultbucket.Held)},
		faultbucket.Rule{Op: faultbucket.OpGet, Chance: 0.3, Fault: faultbucket.LoseReply()},
	)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 50 {
				_ = put(t.Context(), b, "content", bucket.IfAbsent)
				_, _, _ = bucket.ReadAll(t.Context(), b, key, 100)
				_, _ = b.Delete(t.Context(), key, bucket.DeleteOptions{})
				b.Requests()
				b.Deliver()
			}
		})
	}
	clients.Wait()
	for _, r := range b.Requests() {
		if !r.Done {
			t.Errorf("Requests: got %+v still open, want every request answered", r)
		}
	}
	if got := b.Count("", ""); got != 8*50*3 {
		t.Errorf("Count: got %d calls, want %d", got, 8*50*3)
	}
}
