package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
)

// short is the probe that commands make by themselves.
var short = probe.Short()

// everything lists what is in a bucket, versions and delete markers included.
func everything(t *testing.T, b bucket.Bucket) (keys []string) {
	t.Helper()
	for o, err := range b.ListVersions(t.Context(), bucket.ListOptions{}) {
		if errors.Is(err, statelatch.ErrUnsupported) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	for o, err := range b.List(t.Context(), bucket.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func outcomes(r probe.Result, of probe.Outcome) (names []string) {
	for _, c := range r.Checks {
		if c.Outcome == of {
			names = append(names, c.Name)
		}
	}
	return names
}

func forEachMode(t *testing.T, test func(t *testing.T, versioned bool)) {
	t.Helper()
	for _, versioned := range []bool{false, true} {
		t.Run(fmt.Sprintf("versioned=%v", versioned), func(t *testing.T) {
			t.Parallel()
			test(t, versioned)
		})
	}
}

func TestRun_GoodStore(t *testing.T) {
	t.Parallel()
	forEachMode(t, func(t *testing.T, versioned bool) {
		t.Helper()
		b := membucket.New("b", membucket.Options{Versioned: versioned})
		if _, err := b.Put(t.Context(), "app/terraform.tfstate", strings.NewReader("{}"), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		before := everything(t, b)
		var last probe.Progress
		opts := short
		opts.OnProgress = func(p probe.Progress) { last = p }
		counted := faultbucket.New(b, faultbucket.Options{})
		r, err := probe.Run(t.Context(), []bucket.Bucket{counted, counted}, opts)
		if err != nil {
			t.Fatal(err)
		}
		if r.Tier != lock.TierFull || len(outcomes(r, probe.Passed)) != len(r.Checks)-1 { // a short one leaves out torn reads
			t.Errorf("got tier %v and %+v, want full and everything passed", r.Tier, r.Checks)
		}
		if r.Versioned != versioned || !r.ETagIsMD5 || r.ClockSkew.Abs() > time.Minute || r.Elapsed <= 0 || len(r.LeftBehind) > 0 {
			t.Errorf("got %+v", r)
		}
		if sent := counted.Count("", ""); r.Requests != sent {
			t.Errorf("got %d requests reported, want %d as were made", r.Requests, sent)
		}
		for _, req := range counted.Requests() {
			if !strings.HasPrefix(req.Key, statelatch.ProbePrefix) || req.Op != faultbucket.OpList && req.Op != faultbucket.OpListVersions && !strings.HasSuffix(req.Key, ".tflock") {
				t.Fatalf("got a request for %q, want only locks below %s", req.Key, statelatch.ProbePrefix)
			}
			if (req.Op == faultbucket.OpPut || req.Op == faultbucket.OpDelete && req.VersionID == "") && req.If.IsZero() {
				t.Errorf("got %s %s without a condition, want one on a store that has them", req.Op, req.Key)
			}
		}
		if after := everything(t, b); !slices.Equal(after, before) {
			t.Errorf("got %q in the bucket afterwards, want %q as before", after, before)
		}
		if last != (probe.Progress{Number: len(r.Checks), Of: len(r.Checks)}) {
			t.Errorf("got %+v as the last progress, want the cleaning up", last)
		}
	})
}

// wrong passes calls on, with its own Put and Delete.
type wrong struct {
	bucket.Bucket

	put    func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error)
	delete func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error)
	read   func(*bucket.Object)
}

func (w *wrong) Put(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
	if w.put == nil {
		return w.Bucket.Put(ctx, key, body, opts)
	}
	return w.put(ctx, w.Bucket, key, body, opts)
}

func (w *wrong) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	if w.delete == nil {
		return w.Bucket.Delete(ctx, key, opts)
	}
	return w.delete(ctx, w.Bucket, key, opts)
}

func (w *wrong) Head(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
	obj, err := w.Bucket.Head(ctx, key, opts)
	if w.read != nil {
		w.read(&obj)
	}
	return obj, err
}

func (w *wrong) Get(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	obj, body, err := w.Bucket.Get(ctx, key, opts)
	if w.read != nil {
		w.read(&obj)
	}
	return obj, body, err
}

func refusal(kind error, b bucket.Bucket, op, key string, status int) error {
	return &statelatch.StoreError{Kind: kind, Op: op, Bucket: b.Name(), Key: key, Status: status}
}

// look decides a condition on what is there now; the write comes later.
func look(ctx context.Context, b bucket.Bucket, key string, cond bucket.Condition) error {
	obj, err := b.Head(ctx, key, bucket.ReadOptions{})
	kind := cond.Check(err == nil, obj.ETag)
	runtime.Gosched()
	if kind != nil {
		return refusal(kind, b, "put", key, 412)
	}
	return nil
}

func putWithout(drop func(bucket.Condition) bool) func(context.Context, bucket.Bucket, string, io.ReadSeeker, bucket.PutOptions) (bucket.Object, error) {
	return func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
		if drop(opts.If) {
			opts.If = bucket.Condition{}
		}
		return b.Put(ctx, key, body, opts)
	}
}

// putLargeWithout drops conditions as a store does that keeps large objects elsewhere.
func putLargeWithout(drop func(bucket.Condition) bool) func(context.Context, bucket.Bucket, string, io.ReadSeeker, bucket.PutOptions) (bucket.Object, error) {
	return func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
		if size, err := body.Seek(0, io.SeekEnd); err != nil {
			return bucket.Object{}, err
		} else if size > 128<<10 && drop(opts.If) {
			opts.If = bucket.Condition{}
		}
		return b.Put(ctx, key, body, opts)
	}
}

func deleteAnyway(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	opts.If = bucket.Condition{}
	return b.Delete(ctx, key, opts)
}

func lookThenPut(absent, match bool) func(context.Context, bucket.Bucket, string, io.ReadSeeker, bucket.PutOptions) (bucket.Object, error) {
	return func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
		if absent && opts.If.Absent() || match && opts.If.ETag() != "" {
			if err := look(ctx, b, key, opts.If); err != nil {
				return bucket.Object{}, err
			}
			opts.If = bucket.Condition{}
		}
		return b.Put(ctx, key, body, opts)
	}
}

func lookThenDelete(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	if !opts.If.IsZero() {
		if err := look(ctx, b, key, opts.If); err != nil {
			return bucket.Deleted{}, err
		}
	}
	return deleteAnyway(ctx, b, key, opts)
}

// wrongStores are the ways to be wrong, each with the tier that is left and a check that must find it.
var wrongStores = []struct {
	name      string
	versioned bool // wrong only there
	store     wrong
	tier      lock.Tier
	failed    string
}{
	{name: "Q1 ignores all conditions", store: wrong{put: putWithout(func(bucket.Condition) bool { return true }), delete: deleteAnyway}, tier: lock.TierNone, failed: "create"},
	{name: "Q1 ignores If-None-Match", store: wrong{put: putWithout(bucket.Condition.Absent)}, tier: lock.TierNone, failed: "create"},
	{name: "Q1 ignores If-Match on Put", store: wrong{put: putWithout(func(c bucket.Condition) bool { return c.ETag() != "" })}, tier: lock.TierNone, failed: "compare-and-swap"},
	{
		name: "ignores conditions of large creates", tier: lock.TierNone, failed: "create",
		store: wrong{put: putLargeWithout(bucket.Condition.Absent)},
	},
	{
		name: "ignores conditions of large swaps", tier: lock.TierNone, failed: "compare-and-swap",
		store: wrong{put: putLargeWithout(func(c bucket.Condition) bool { return c.ETag() != "" })},
	},
	{name: "Q5 ignores If-Match on Delete", store: wrong{delete: deleteAnyway}, tier: lock.TierCAS, failed: "conditional-delete"},
	{name: "Q2 creates after a look", store: wrong{put: lookThenPut(true, false)}, tier: lock.TierNone, failed: "race/create"},
	{name: "Q2 swaps after a look", store: wrong{put: lookThenPut(false, true)}, tier: lock.TierNone, failed: "race/compare-and-swap"},
	{name: "Q2 deletes after a look", store: wrong{delete: lookThenDelete}, tier: lock.TierCAS, failed: "race/replace-against-delete"},
	{
		name: "creates where If-Match finds nothing", tier: lock.TierNone, failed: "compare-and-swap-absent",
		store: wrong{put: func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
			obj, err := b.Put(ctx, key, body, opts)
			if errors.Is(err, statelatch.ErrNotFound) {
				return b.Put(ctx, key, body, bucket.PutOptions{})
			}
			return obj, err
		}},
	},
	{
		name: "refuses a create, but overwrites", tier: lock.TierNone, failed: "create",
		store: wrong{put: func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
			obj, err := b.Put(ctx, key, body, opts)
			if errors.Is(err, statelatch.ErrPreconditionFailed) {
				_, _ = b.Put(ctx, key, body, bucket.PutOptions{})
			}
			return obj, err
		}},
	},
	{
		name: "Q3 takes a delete marker for an object", versioned: true, tier: lock.TierNone, failed: "create-after-delete",
		store: wrong{put: func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
			for _, err := range b.ListVersions(ctx, bucket.ListOptions{Prefix: key}) {
				if err == nil && opts.If.Absent() {
					return bucket.Object{}, refusal(statelatch.ErrPreconditionFailed, b, "put", key, 412)
				}
			}
			return b.Put(ctx, key, body, opts)
		}},
	},
	{
		name: "501 for If-None-Match", tier: lock.TierNone, failed: "create",
		store: wrong{put: func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
			if opts.If.Absent() {
				return bucket.Object{}, refusal(statelatch.ErrUnsupported, b, "put", key, 501)
			}
			return b.Put(ctx, key, body, opts)
		}},
	},
	{
		name: "400 for a conditional delete", tier: lock.TierCAS, failed: "conditional-delete",
		store: wrong{delete: func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
			if !opts.If.IsZero() {
				return bucket.Deleted{}, refusal(statelatch.ErrBroken, b, "delete", key, 400)
			}
			return b.Delete(ctx, key, opts)
		}},
	},
	{
		name: "412 for every conditional delete", tier: lock.TierCAS, failed: "conditional-delete",
		store: wrong{delete: func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
			if !opts.If.IsZero() {
				return bucket.Deleted{}, refusal(statelatch.ErrPreconditionFailed, b, "delete", key, 412)
			}
			return b.Delete(ctx, key, opts)
		}},
	},
	{
		name: "accepts a create over an object and drops it", tier: lock.TierNone, failed: "create",
		store: wrong{put: func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
			obj, err := b.Put(ctx, key, body, opts)
			if opts.If.Absent() && errors.Is(err, statelatch.ErrPreconditionFailed) {
				return b.Head(ctx, key, bucket.ReadOptions{})
			}
			return obj, err
		}},
	},
	{
		name: "one ETag for all", tier: lock.TierNone, failed: "compare-and-swap",
		store: wrong{
			put: func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
				if now, err := b.Head(ctx, key, bucket.ReadOptions{}); err == nil && opts.If.ETag() == `"one"` {
					opts.If = bucket.IfMatch(now.ETag)
				}
				obj, err := b.Put(ctx, key, body, opts)
				obj.ETag = `"one"`
				return obj, err
			},
			delete: deleteAnyway,
			read:   func(o *bucket.Object) { o.ETag = `"one"` },
		},
	},
	{name: "tells times of two clocks", store: wrong{read: func(o *bucket.Object) { o.Date = o.Date.Add(time.Minute) }}, tier: lock.TierFull, failed: "clock"},
	{name: "weakens ETags", store: wrong{read: func(o *bucket.Object) { o.ETag = "W/" + o.ETag }}, tier: lock.TierNone, failed: "etag"},
}

// The verdict must be the same every time, not most times: more rounds with -count.
func TestRun_WrongStores(t *testing.T) {
	t.Parallel()
	for _, tc := range wrongStores {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			forEachMode(t, func(t *testing.T, versioned bool) {
				t.Helper()
				if tc.versioned && !versioned {
					t.Skip("it is right without versions")
				}
				inner := membucket.New("b", membucket.Options{Versioned: versioned})
				store := tc.store
				store.Bucket = inner
				r, err := probe.Run(t.Context(), []bucket.Bucket{&store}, short)
				if err != nil {
					t.Fatal(err)
				}
				if r.Tier != tc.tier || !slices.Contains(outcomes(r, probe.Failed), tc.failed) {
					t.Errorf("got tier %v and failed %q, want tier %v and %q among them", r.Tier, outcomes(r, probe.Failed), tc.tier, tc.failed)
				}
				for _, c := range r.Checks {
					if (c.Outcome == probe.Failed) != (c.Advice != "") || c.Evidence == "" {
						t.Errorf("got %+v, want evidence, and advice where it failed", c)
					}
				}
				if left := everything(t, inner); len(left) > 0 || len(r.LeftBehind) > 0 {
					t.Errorf("got %q left behind, reported %q, want nothing", left, r.LeftBehind)
				}
			})
		})
	}
}

// Two endpoints that lead to different stores.
func TestRun_EndpointsThatDisagree(t *testing.T) {
	t.Parallel()
	one, two := membucket.New("b", membucket.Options{}), membucket.New("b", membucket.Options{})
	for range 5 {
		r, err := probe.Run(t.Context(), []bucket.Bucket{one, two}, short)
		if err != nil || r.Tier != lock.TierNone || r.FirstFailed().Name != "etag" {
			t.Fatalf("got tier %v, %v, failed %+v, want none at the first look", r.Tier, err, r.FirstFailed())
		}
	}
	if left := append(everything(t, one), everything(t, two)...); len(left) > 0 {
		t.Errorf("got %q left behind, want nothing", left)
	}
}

// Two endpoints that are right alone and decide conditions each for itself (RustFS #1659).
func TestRun_EndpointsWithoutACommonLock(t *testing.T) {
	t.Parallel()
	inner := membucket.New("b", membucket.Options{})
	door := func() bucket.Bucket {
		var mu sync.Mutex
		return &wrong{
			Bucket: inner,
			put: func(ctx context.Context, b bucket.Bucket, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
				mu.Lock()
				defer mu.Unlock()
				return lookThenPut(true, true)(ctx, b, key, body, opts)
			},
			delete: func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
				mu.Lock()
				defer mu.Unlock()
				return lookThenDelete(ctx, b, key, opts)
			},
		}
	}
	one, two := door(), door()
	for range 5 {
		if r, err := probe.Run(t.Context(), []bucket.Bucket{one}, short); err != nil || r.Tier != lock.TierFull {
			t.Fatalf("got tier %v, %v through one endpoint, want full", r.Tier, err)
		}
		if r, err := probe.Run(t.Context(), []bucket.Bucket{one, two}, short); err != nil || r.Tier != lock.TierNone {
			t.Fatalf("got tier %v, %v through both, want none", r.Tier, err)
		}
	}
}

// What a network does never makes a tier: the verdict is the store's, or there is none.
func TestRun_FlakyNetwork(t *testing.T) {
	t.Parallel()
	kinds := map[string]faultbucket.Fault{
		"lose request": faultbucket.LoseRequest(), "lose reply": faultbucket.LoseReply(), "late": faultbucket.Late(3),
		"resend": faultbucket.Resend(), "503": faultbucket.Answer(503), "409": faultbucket.Answer(409), "503 after": faultbucket.AnswerAfter(503),
		"cut": faultbucket.CutBody(2),
	}
	for name, fault := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			decided := 0
			for seed := range uint64(4) {
				synctest.Test(t, func(t *testing.T) {
					inner := membucket.New("b", membucket.Options{Versioned: seed%2 == 0})
					want, store := lock.TierFull, bucket.Bucket(inner)
					if seed%3 == 0 {
						want, store = lock.TierCAS, &wrong{Bucket: inner, delete: deleteAnyway}
					}
					flaky := faultbucket.New(store, faultbucket.Options{
						Rand:  rand.New(rand.NewPCG(seed, 1)),
						Rules: []faultbucket.Rule{{Chance: 0.04, Fault: fault}},
					})
					r, err := probe.Run(t.Context(), []bucket.Bucket{flaky}, short)
					if err != nil {
						t.Logf("seed %d: %v", seed, err)
					}
					if err == nil {
						decided++
						if r.Tier != want {
							t.Errorf("seed %d: got tier %v, failed %+v, want tier %v", seed, r.Tier, r.FirstFailed(), want)
						}
					}
					if left := everything(t, inner); len(left) > 0 && len(r.LeftBehind) == 0 {
						t.Errorf("seed %d: got %q left behind and not reported", seed, left)
					}
				})
			}
			if decided < 3 {
				t.Errorf("got %d verdicts of 4, want nearly all: a few lost requests must not stop it", decided)
			}
		})
	}
}

func TestRun_NoVerdict(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		rule faultbucket.Rule
		kind error
	}{
		{"denied to write", faultbucket.Rule{Op: faultbucket.OpPut, Fault: faultbucket.Answer(403)}, statelatch.ErrDenied},
		{"denied to delete", faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.Answer(403)}, statelatch.ErrDenied},
		{"denied to read", faultbucket.Rule{Op: faultbucket.OpGet, Fault: faultbucket.Answer(403)}, statelatch.ErrDenied},
		{"not S3", faultbucket.Rule{Fault: faultbucket.Answer(400)}, statelatch.ErrBroken},
		{"501 for all", faultbucket.Rule{Fault: faultbucket.Answer(501)}, statelatch.ErrUnsupported},
		{"no network", faultbucket.Rule{Fault: faultbucket.LoseRequest()}, statelatch.ErrBroken},
		{"no answers to writes", faultbucket.Rule{Op: faultbucket.OpPut, Fault: faultbucket.LoseReply()}, statelatch.ErrBroken},
		{"throttled", faultbucket.Rule{Fault: faultbucket.Answer(503)}, statelatch.ErrBroken},
		{"404 for all", faultbucket.Rule{Fault: faultbucket.Answer(404)}, statelatch.ErrNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := faultbucket.New(membucket.New("b", membucket.Options{}), faultbucket.Options{Rules: []faultbucket.Rule{tc.rule}})
				r, err := probe.Run(t.Context(), []bucket.Bucket{b}, short)
				if !errors.Is(err, tc.kind) || errors.Is(err, statelatch.ErrAmbiguous) {
					t.Errorf("got tier %v and error %v, want one that matches %v and is not ambiguous", r.Tier, err, tc.kind)
				}
			})
		})
	}
}

// A store that is certainly unsafe is called so, even if the network breaks down afterwards.
func TestRun_UnsafeBeforeTheNetworkBroke(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &wrong{Bucket: membucket.New("b", membucket.Options{}), put: putWithout(bucket.Condition.Absent)}
		b := faultbucket.New(inner, faultbucket.Options{Rules: []faultbucket.Rule{{
			Match: func(r faultbucket.Request) bool { return strings.Contains(r.Key, "/compare-and-swap") }, Fault: faultbucket.LoseRequest(),
		}}})
		if r, err := probe.Run(t.Context(), []bucket.Bucket{b}, short); err != nil || r.Tier != lock.TierNone {
			t.Errorf("got tier %v, %v, want none", r.Tier, err)
		}
	})
}

func TestRun_InterruptedCleansUp(t *testing.T) {
	t.Parallel()
	forEachMode(t, func(t *testing.T, versioned bool) {
		t.Helper()
		b := membucket.New("b", membucket.Options{Versioned: versioned})
		ctx, cancel := context.WithCancel(t.Context())
		opts := short
		opts.OnProgress = func(p probe.Progress) {
			if p.Check == "race/compare-and-swap" && p.Round == 2 {
				cancel()
			}
		}
		_, err := probe.Run(ctx, []bucket.Bucket{b}, opts)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the context", err)
		}
		if left := everything(t, b); len(left) > 0 {
			t.Errorf("got %q left behind, want nothing", left)
		}
	})
}

func TestRun_CleansUpWhatItMay(t *testing.T) {
	t.Parallel()
	list := faultbucket.Rule{Op: faultbucket.OpList, Fault: faultbucket.Answer(403)}
	versions := faultbucket.Rule{Op: faultbucket.OpListVersions, Fault: faultbucket.Answer(403)}
	remove := faultbucket.Rule{Op: faultbucket.OpDelete, Match: func(r faultbucket.Request) bool { return r.VersionID != "" }, Fault: faultbucket.Answer(403)}
	for _, tc := range []struct {
		name              string
		versioned         bool
		rules             []faultbucket.Rule
		reported, visible bool
	}{
		{"may not list", false, []faultbucket.Rule{list}, false, false},
		{"may not list versions", true, []faultbucket.Rule{versions}, false, false},
		{"may not list versions, and a reply was lost", true, []faultbucket.Rule{versions, {Op: faultbucket.OpPut, Nth: 3, Fault: faultbucket.LoseReply()}}, true, true},
		{"may not delete versions", true, []faultbucket.Rule{remove}, true, false},
		{"may not delete or list versions", true, []faultbucket.Rule{versions, remove}, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inner := membucket.New("b", membucket.Options{Versioned: tc.versioned})
			b := faultbucket.New(inner, faultbucket.Options{Rules: tc.rules})
			r, err := probe.Run(t.Context(), []bucket.Bucket{b}, short)
			if err != nil || r.Tier != lock.TierFull {
				t.Fatalf("got tier %v, %v, want full", r.Tier, err)
			}
			if reported := len(r.LeftBehind) > 0; reported != tc.reported || reported && !strings.Contains(r.LeftBehind[0], statelatch.ProbePrefix) {
				t.Errorf("got %q reported, want that something was left: %v", r.LeftBehind, tc.reported)
			}
			if left := everything(t, inner); !tc.reported && len(left) > 0 {
				t.Errorf("got %q left, want nothing", left)
			}
			for o, err := range inner.List(t.Context(), bucket.ListOptions{}) {
				if err != nil || !tc.visible {
					t.Errorf("got %q, %v still listed, want a delete marker at least", o.Key, err)
				}
			}
		})
	}
}

// On a slow store a race ends after its time, not before it means something; what is said is what was done.
func TestRun_SlowStore(t *testing.T) {
	t.Parallel()
	for delay, want := range map[time.Duration]string{100 * time.Millisecond: "32 creators in 30 rounds", time.Second: "32 creators in 10 rounds"} {
		t.Run(delay.String(), func(t *testing.T) {
			t.Parallel()
			testSlowStore(t, delay, want)
		})
	}
}

func testSlowStore(t *testing.T, delay time.Duration, want string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := faultbucket.New(membucket.New("b", membucket.Options{}), faultbucket.Options{Rules: []faultbucket.Rule{{
			Match: func(r faultbucket.Request) bool { return !strings.HasPrefix(r.Op, "list") && r.VersionID == "" }, Fault: faultbucket.Delay(delay),
		}}})
		r, err := probe.Run(t.Context(), []bucket.Bucket{b}, probe.Options{})
		if err != nil || r.Tier != lock.TierFull {
			t.Fatalf("got tier %v, %v, want full", r.Tier, err)
		}
		for _, c := range r.Checks {
			if c.Name == "race/create" && !strings.Contains(c.Evidence, want) {
				t.Errorf("got %q, want %q: what fits into 3 s, at least 10", c.Evidence, want)
			}
		}
		if delay == 100*time.Millisecond && r.Elapsed > 35*time.Second {
			t.Errorf("got %v for a probe with answers after 100 ms, want half a minute at most", r.Elapsed)
		}
	})
}

// Somebody waits for the short one.
func TestRun_ShortOnASlowStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := faultbucket.New(membucket.New("b", membucket.Options{Versioned: true}), faultbucket.Options{Rules: []faultbucket.Rule{{
			Fault: faultbucket.Delay(200 * time.Millisecond),
		}}})
		r, err := probe.Run(t.Context(), []bucket.Bucket{b}, short)
		if err != nil || r.Tier != lock.TierFull || r.Elapsed > 35*time.Second {
			t.Errorf("got tier %v, %v after %v, want full within 35 s", r.Tier, err, r.Elapsed)
		}
	})
}

// A refusal can be that of something on the way, or of a body that arrived incomplete: it has to come several times.
func TestRun_RefusedOnceIsNoVerdict(t *testing.T) {
	t.Parallel()
	for _, check := range []string{"create-0", "compare-and-swap-0", "conditional-delete-0"} {
		for nth := range 3 {
			b := faultbucket.New(membucket.New("b", membucket.Options{}), faultbucket.Options{Rules: []faultbucket.Rule{{
				Match: func(r faultbucket.Request) bool {
					return strings.HasSuffix(r.Key, "/"+check+".tflock") && (r.Op == faultbucket.OpPut || r.Op == faultbucket.OpDelete)
				},
				Nth: nth + 1, Limit: 1, Fault: faultbucket.Answer(501),
			}}})
			if r, err := probe.Run(t.Context(), []bucket.Bucket{b}, probe.Options{Clients: 4, Rounds: 2}); err != nil || r.Tier != lock.TierFull {
				t.Errorf("%s, request %d: got tier %v, %v, failed %+v, want full", check, nth, r.Tier, err, r.FirstFailed())
			}
		}
	}
}

// What a killed probe left is removed a day later; what is younger or not a probe's stays.
func TestRun_RemovesOldLitter(t *testing.T) {
	t.Parallel()
	forEachMode(t, func(t *testing.T, versioned bool) {
		t.Helper()
		now := time.Now()
		clock := func() time.Time { return now }
		b := membucket.New("b", membucket.Options{Versioned: versioned, Clock: clock})
		const killed = statelatch.ProbePrefix + "abcdefghijklmnopqrstuvwx27/"
		write := func(keys ...string) {
			t.Helper()
			for _, key := range keys {
				for range 2 {
					if _, err := b.Put(t.Context(), key, strings.NewReader("x"), bucket.PutOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := b.Delete(t.Context(), key+".gone.tflock", bucket.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		run := func(store bucket.Bucket) {
			t.Helper()
			if r, err := probe.Run(t.Context(), []bucket.Bucket{store}, short); err != nil || r.Tier != lock.TierFull || len(r.LeftBehind) > 0 {
				t.Fatalf("got %+v, %v, want full and nothing left behind", r, err)
			}
		}
		write("app/terraform.tfstate.tflock", statelatch.ProbePrefix+"notes/a.tflock", statelatch.ProbePrefix+"abc.tflock")
		kept := everything(t, b)
		write(killed+"create-0.tflock", killed+"race-create-17.tflock")
		all := everything(t, b)
		now = now.Add(23 * time.Hour)
		run(b)
		if got := everything(t, b); !slices.Equal(got, all) {
			t.Errorf("got %q after 23 hours, want %q", got, all)
		}
		now = now.Add(2 * time.Hour)
		run(faultbucket.New(b, faultbucket.Options{Rules: []faultbucket.Rule{{
			Op: faultbucket.OpDelete, Match: func(r faultbucket.Request) bool { return strings.HasPrefix(r.Key, killed) }, Fault: faultbucket.Answer(403),
		}}}))
		run(b)
		if got := everything(t, b); !slices.Equal(got, kept) {
			t.Errorf("got %q after 25 hours, want %q", got, kept)
		}
	})
}

func TestRun_BesideEachOther(t *testing.T) {
	t.Parallel()
	b := membucket.New("b", membucket.Options{Versioned: true})
	var probes sync.WaitGroup
	for range 3 {
		probes.Go(func() {
			if r, err := probe.Run(t.Context(), []bucket.Bucket{b}, short); err != nil || r.Tier != lock.TierFull || len(r.LeftBehind) > 0 {
				t.Errorf("got %+v, %v, want full", r, err)
			}
		})
	}
	probes.Wait()
	if left := everything(t, b); len(left) > 0 {
		t.Errorf("got %q left, want nothing", left)
	}
}

func TestRun_Invalid(t *testing.T) {
	t.Parallel()
	b := []bucket.Bucket{membucket.New("b", membucket.Options{})}
	for _, err := range []error{
		second(probe.Run(t.Context(), nil, short)), second(probe.Run(t.Context(), b, probe.Options{Clients: 1})),
		second(probe.Run(t.Context(), b, probe.Options{Rounds: -1})),
	} {
		if !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("got %v, want ErrInvalid", err)
		}
	}
}

func second(_ probe.Result, err error) error { return err }
