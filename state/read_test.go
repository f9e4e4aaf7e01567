package state_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/state"
)

func TestStore_Open_OneRequest(t *testing.T) {
	t.Parallel()
	r := newRig()
	content := body(3, lineage, "x")
	etag := r.seed(t, content)
	v, got, err := r.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if text := readAll(t, got); text != content {
		t.Errorf("body: got %q, want %q", text, content)
	}
	if !v.Exists || v.ETag != etag || v.VersionID == "" || v.Size != int64(len(content)) || v.MD5 != md5of(content) ||
		v.Header.Serial != 3 || v.Header.Lineage != lineage || v.Err != nil || v.LastModified.IsZero() {
		t.Errorf("got %+v", v)
	}
	wantRequests(t, r, 0, "get")
}

// B12: no object, no bytes and no state are told apart, and none of them is an error.
func TestStore_Open_B12_MissingAndEmptyAreSeen(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		content        string
		exists, zero   bool
		understandable bool
	}{
		"no object":        {absent, false, false, true},
		"zero bytes":       {"", true, true, true},
		"only blanks":      {"\n  \n", true, false, false},
		"a state":          {body(1, lineage, ""), true, false, true},
		"not JSON":         {"oops", true, false, false},
		"cut":              {strings.TrimRight(body(1, lineage, "x"), "}\n"), true, false, false},
		"two states":       {body(1, lineage, "x") + body(2, lineage, "x"), true, false, false},
		"something behind": {body(1, lineage, "x") + "x", true, false, false},
		"a brace behind":   {body(1, lineage, "x") + "}", true, false, false},
		"serial twice":     {`{"version":4,"terraform_version":"1.11.4","serial":1,"lineage":"l","serial":9}`, true, false, false},
		"encrypted":        {encrypted(2, lineage, "x}{"), true, false, true},
		"another's field":  {`{"version":4,"serial":1,"lineage":"l","more":{"serial":[{"]":"\"}"}]}}`, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.seed(t, tc.content)
			v, got, err := r.Open(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if v.Exists != tc.exists || v.Header.Empty != tc.zero || (v.Err == nil) != tc.understandable {
				t.Errorf("got Exists %v, Empty %v, Err %v", v.Exists, v.Header.Empty, v.Err)
			}
			if v.Err != nil && !errors.Is(v.Err, statelatch.ErrInvalid) {
				t.Errorf("Err: got %v, want ErrInvalid", v.Err)
			}
			want := tc.content
			if want == absent {
				want = ""
			}
			if text := readAll(t, got); text != want {
				t.Errorf("body: got %q, want %q", text, want)
			}
		})
	}
}

// W14: a body that is cut on the way is read again, whole, never handed out in part, and never joined from two
// versions.
func TestStore_Open_W14_WholeOrNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := body(1, lineage, strings.Repeat("first ", 50)), body(2, lineage, strings.Repeat("second ", 50))
		r := newRig(
			faultbucket.Rule{Op: faultbucket.OpGet, Nth: 1, Fault: faultbucket.CutBody(1000)},
			faultbucket.Rule{Op: faultbucket.OpGet, Nth: 2, Fault: faultbucket.Answer(503)},
		)
		r.seed(t, first)
		r.SpoolAbove(100)
		r.SpoolDir = t.TempDir()
		// The state changes between the attempts.
		r.bucket.Add(faultbucket.Rule{Op: faultbucket.OpGet, Nth: 3, Fault: faultbucket.DelayWith(func(context.Context) error {
			r.seed(t, second)
			return nil
		})})
		v, got, err := r.Open(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if text := readAll(t, got); text != second || v.Header.Serial != 2 {
			t.Errorf("got serial %d and %d bytes, want the second state", v.Header.Serial, len(text))
		}
		wantRequests(t, r, 0, "get", "get", "get")
	})
}

func TestStore_Open_Errors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rule faultbucket.Rule
		want error
	}{
		"denied":      {faultbucket.Rule{Fault: faultbucket.Answer(403)}, statelatch.ErrDenied},
		"unreachable": {faultbucket.Rule{Fault: faultbucket.LoseReply()}, statelatch.ErrBroken},
		"always cut":  {faultbucket.Rule{Fault: faultbucket.CutBody(10)}, statelatch.ErrBroken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(tc.rule)
				r.seed(t, body(1, lineage, "x"))
				_, _, err := r.Open(t.Context(), ref)
				wantKind(t, "Open", err, tc.want)
			})
		})
	}
	_, _, err := newRig().Open(t.Context(), statelatch.Ref{Bucket: "b", Key: "x.tflock"})
	wantKind(t, "Open of a lock", err, statelatch.ErrInvalid)
}

// A bucket that does not exist is no absent state.
func TestStore_Read_NoSuchBucket(t *testing.T) {
	t.Parallel()
	s := &state.Store{Bucket: noBucket{}}
	_, err := s.Read(t.Context(), ref)
	wantKind(t, "Read", err, statelatch.ErrNotFound)
}

type noBucket struct{ bucket.Bucket }

func (noBucket) Name() string { return ref.Bucket }

func (noBucket) Get(context.Context, string, bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	return bucket.Object{}, nil, &statelatch.StoreError{Kind: statelatch.ErrNoBucket, Op: "get", Code: "NoSuchBucket"}
}

// Large bodies wait in a file that nobody else can open and nobody finds afterwards.
func TestStore_Open_SpoolsPrivately(t *testing.T) {
	t.Parallel()
	r := newRig()
	content := body(1, lineage, strings.Repeat("x ", 1000))
	r.seed(t, content)
	r.SpoolAbove(100)
	r.SpoolDir = t.TempDir()
	_, got, err := r.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range entries(t, r.SpoolDir) {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("spool file: got %v, %v, want mode 0600", info.Mode(), err)
		}
	}
	if text := readAll(t, got); text != content {
		t.Errorf("got %d bytes, want %d", len(text), len(content))
	}
	if at, err := got.Seek(0, io.SeekStart); at != 0 || err != nil {
		t.Errorf("Seek: %v, %v", at, err)
	}
	if text := readAll(t, got); text != content {
		t.Errorf("second time: got %d bytes, want %d", len(text), len(content))
	}
	if err := errors.Join(got.Close(), got.Close()); err != nil {
		t.Errorf("Close twice: %v", err)
	}
	if left := entries(t, r.SpoolDir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func entries(tb testing.TB, dir string) []os.DirEntry {
	tb.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

func TestStore_Open_SpoolDirUnusable(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(1, lineage, strings.Repeat("x ", 1000)))
	r.SpoolAbove(100)
	r.SpoolDir = t.TempDir() + "/missing"
	_, _, err := r.Open(t.Context(), ref)
	wantKind(t, "Open", err, statelatch.ErrBroken)
	wantKind(t, "Open", err, os.ErrNotExist)
	wantRequests(t, r, 0, "get")
}

// The digest is compared as the engines do: again for 10 s, then refused with both values.
func TestStore_Read_DigestMismatch(t *testing.T) {
	t.Parallel()
	content := body(1, lineage, "x")
	for name, tc := range map[string]struct {
		content, digest, calculated string
	}{
		"other bytes":        {content, md5of("other"), md5of(content)},
		"no object (B12)":    {absent, md5of(content), ""},
		"zero bytes (B12)":   {"", md5of(content), ""},
		"zero bytes, theirs": {"", md5of(""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.seed(t, tc.content)
				r.withTable(tc.digest)
				start := time.Now()
				_, err := r.Read(t.Context(), ref)
				var mismatch *state.MismatchError
				if !errors.As(err, &mismatch) || mismatch.Calculated != tc.calculated || mismatch.Stored != tc.digest {
					t.Fatalf("got %v, want a MismatchError of %q and %q", err, tc.calculated, tc.digest)
				}
				wantKind(t, "Read", err, statelatch.ErrInvalid)
				if !strings.Contains(err.Error(), tc.digest) || !strings.Contains(err.Error(), ref.DynamoDBDigestID()) {
					t.Errorf("message: %v", err)
				}
				if n, d := len(r.bucket.Requests()), time.Since(start); n != 6 || d != 10*time.Second {
					t.Errorf("%d reads in %v, want 6 in 10s", n, d)
				}
			})
		})
	}
}

func TestStore_Read_DigestComesRight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.seed(t, body(1, lineage, "x"))
		r.withTable(md5of(body(2, lineage, "x")))
		go func() {
			time.Sleep(5 * time.Second)
			r.seed(t, body(2, lineage, "x"))
		}()
		if v, err := r.Read(t.Context(), ref); err != nil || v.Header.Serial != 2 {
			t.Errorf("got serial %d, %v, want the second state", v.Header.Serial, err)
		}
	})
}

func TestStore_Read_DigestNotCompared(t *testing.T) {
	t.Parallel()
	content := body(1, lineage, "x")
	for name, tc := range map[string]struct {
		digest string
		faults []error
		want   error
	}{
		"none":              {"", nil, nil},
		"malformed":         {"oops", nil, nil},
		"other case":        {strings.ToUpper(md5of(content)), nil, nil},
		"unreachable once":  {md5of(content), []error{statelatch.ErrBroken}, nil},
		"denied":            {md5of(content), []error{statelatch.ErrDenied}, statelatch.ErrDenied},
		"cancelled waiting": {md5of("other"), nil, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.seed(t, content)
				r.withTable(tc.digest, tc.faults...)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if _, err := r.Read(ctx, ref); !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
			})
		})
	}
}
