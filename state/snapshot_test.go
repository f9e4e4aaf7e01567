package state_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/state"
)

func TestParseSnapshot_ReadsItsName(t *testing.T) {
	t.Parallel()
	s := state.Snapshot{Written: time.Date(2026, 11, 21, 17, 30, 59, 999, time.UTC), Serial: 1<<64 - 1, MD5: md5of("x")}
	name := s.Name()
	if want := "20261121T173059Z-18446744073709551615-" + md5of("x"); name != want {
		t.Fatalf("got name %q, want %q", name, want)
	}
	got, ok := state.ParseSnapshot(name)
	if s.Written = s.Written.Truncate(time.Second); !ok || got != s {
		t.Errorf("got %+v, %v; want %+v", got, ok, s)
	}
	newer := state.Snapshot{Written: s.Written.Add(time.Second), Serial: 2, MD5: md5of("a")}
	if newer.Name() <= name {
		t.Errorf("%q sorts before the older %q", newer.Name(), name)
	}
	for _, other := range []string{
		"", "null", "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", name + "x", "x" + name, strings.ToUpper(name),
		"20261321T173059Z" + name[16:], strings.Replace(name, "18446744073709551615", "18446744073709551616", 1),
	} {
		if s, ok := state.ParseSnapshot(other); ok {
			t.Errorf("ParseSnapshot(%q): got %+v, want none", other, s)
		}
	}
}

// A bucket that keeps versions costs not one request more; one that keeps none, a HEAD and a PUT.
func TestSession_Write_Snapshot(t *testing.T) {
	t.Parallel()
	one, two := body(1, lineage, "x"), body(2, lineage, "x y")
	r := newRig()
	r.Snapshots = true
	r.seed(t, one)
	if _, err := write(t, r.begin(t, holding()), two, opts()); err != nil {
		t.Fatal(err)
	}
	wantRequests(t, r, 0, "get", "put If-Match")

	r = newPlainRig()
	r.seed(t, one)
	if _, err := write(t, r.begin(t, holding()), two, opts()); err != nil {
		t.Fatal(err)
	}
	wantRequests(t, r, 0, "get", "head", "put If-None-Match", "put If-Match")
	if got := r.kept(t); !slices.Equal(got, []string{one}) {
		t.Errorf("kept: %q", got)
	}
	skip := len(r.bucket.Requests())
	x := r.begin(t, holding())
	if _, err := write(t, x, two, opts()); err != nil { // nothing changes, nothing is kept
		t.Fatal(err)
	}
	wantRequests(t, r, skip, "get")
	if err := r.Touch(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if got := r.kept(t); len(got) != 1 {
		t.Errorf("a touch was kept: %q", got)
	}
	if _, err := write(t, r.begin(t, holding()), body(3, lineage, ""), state.WriteOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if got := r.kept(t); len(got) != 2 || trimmed(got[1]) != trimmed(two) {
		t.Errorf("kept: %q", got)
	}
}

// Off unless asked for, and of nothing there is no snapshot.
func TestSession_Write_NoSnapshot(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		base string
		on   bool
	}{{body(1, lineage, "x"), false}, {absent, true}, {"", true}} {
		r := newPlainRig()
		r.Snapshots = tc.on
		r.seed(t, tc.base)
		if _, err := write(t, r.begin(t, holding()), body(2, lineage, "y"), opts()); err != nil {
			t.Fatal(err)
		}
		if got := r.kept(t); len(got) != 0 {
			t.Errorf("base %q: kept %q", tc.base, got)
		}
	}
}

// What is kept twice is stored once: a snapshot has the name of its version.
func TestStore_Snapshot_Again(t *testing.T) {
	t.Parallel()
	r := newPlainRig()
	r.seed(t, body(1, lineage, "x"))
	v, err := r.Mark(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Snapshot(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	wantRequests(t, r, 0, "get", "head", "get", "put If-None-Match", "head")
}

// A write whose snapshot fails does not happen, and its lock may be released.
func TestSession_Write_SnapshotFails(t *testing.T) {
	t.Parallel()
	r := newPlainRig(faultbucket.Rule{Match: underHistory, Fault: faultbucket.Answer(403)})
	r.seed(t, body(1, lineage, "x"))
	lock := holding()
	_, err := write(t, r.begin(t, lock), body(2, lineage, "x"), opts())
	wantKind(t, "write", err, statelatch.ErrDenied)
	if se, ok := errors.AsType[*statelatch.StoreError](errors.Unwrap(errors.Unwrap(err))); !ok || !strings.HasPrefix(se.Key, ref.HistoryPrefix()) {
		t.Errorf("got %v, want the refusal in its tree, for the policy that would grant it", err)
	}
	if !strings.Contains(err.Error(), ref.HistoryPrefix()) || len(lock.held) != 0 {
		t.Errorf("got %v, held %v", err, lock.held)
	}
	wantStored(t, r, body(1, lineage, "x"))
}

// Without the right to list, a HEAD of what is not there is denied.
func TestStore_Snapshot_MayNotList(t *testing.T) {
	t.Parallel()
	r := newPlainRig(faultbucket.Rule{
		Match: func(q faultbucket.Request) bool { return q.Op == "head" && underHistory(q) }, Fault: faultbucket.Answer(403),
	})
	r.seed(t, body(1, lineage, "x"))
	v, err := r.Mark(t.Context(), ref)
	if err == nil {
		err = r.Snapshot(t.Context(), v)
	}
	if err != nil || len(r.kept(t)) != 1 {
		t.Errorf("got %v, kept %q", err, r.kept(t))
	}
}

// What is replaced must be what was read.
func TestStore_Snapshot_Changed(t *testing.T) {
	t.Parallel()
	r := newPlainRig()
	r.seed(t, body(1, lineage, "x"))
	v, err := r.Mark(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	r.seed(t, body(2, lineage, "y"))
	wantKind(t, "snapshot", r.Snapshot(t.Context(), v), statelatch.ErrPreconditionFailed)
	if got := r.kept(t); len(got) != 0 {
		t.Errorf("kept: %q", got)
	}
}

// Where versioning is suspended the "null" version is replaced without a trace.
func TestStore_Snapshot_NullVersion(t *testing.T) {
	t.Parallel()
	r := newPlainRig()
	r.seed(t, body(1, lineage, "x"))
	v, err := r.Mark(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	v.VersionID = "null"
	if err := r.Snapshot(t.Context(), v); err != nil || len(r.kept(t)) != 1 {
		t.Errorf("got %v, kept %q", err, r.kept(t))
	}
}

func TestStore_OpenVersion_Snapshot(t *testing.T) {
	t.Parallel()
	r := newPlainRig()
	one := body(1, lineage, "x")
	r.seed(t, one)
	if _, err := write(t, r.begin(t, holding()), body(2, lineage, "y"), opts()); err != nil {
		t.Fatal(err)
	}
	var name string
	for obj, err := range r.inner.List(t.Context(), bucket.ListOptions{Prefix: ref.HistoryPrefix()}) {
		if err != nil {
			t.Fatal(err)
		}
		name = strings.TrimPrefix(obj.Key, ref.HistoryPrefix())
	}
	v, data, err := r.OpenVersion(t.Context(), ref, name)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	kept, _ := state.ParseSnapshot(name)
	if got := readAll(t, data); got != one || v.Ref != ref || v.VersionID != name || !v.LastModified.Equal(kept.Written) || v.Header.Serial != 1 || kept.MD5 != v.MD5 {
		t.Errorf("got %q and %+v", got, v)
	}
	_, _, err = r.OpenVersion(t.Context(), ref, state.Snapshot{Serial: 9, MD5: kept.MD5}.Name())
	wantKind(t, "open what was not kept", err, statelatch.ErrNotFound)
}

func underHistory(q faultbucket.Request) bool { return strings.HasPrefix(q.Key, ref.HistoryPrefix()) }

func TestSession_Write_Restore(t *testing.T) {
	t.Parallel()
	old := body(3, lineage, "old")
	for name, tc := range map[string]struct {
		base, old string
		opts      state.WriteOptions
		want      string // stored; empty: unchanged
		kind      error
	}{
		"raised (B29)":            {body(7, lineage, "x"), old, state.WriteOptions{Restore: 9}, body(9, lineage, "old"), nil},
		"of no resources":         {body(7, lineage, "x"), body(3, lineage, ""), state.WriteOptions{Restore: 8}, body(8, lineage, ""), nil},
		"what was deleted":        {absent, old, state.WriteOptions{Restore: 9}, body(9, lineage, "old"), nil},
		"over zero bytes":         {"", old, state.WriteOptions{Restore: 9}, body(9, lineage, "old"), nil},
		"over broken bytes":       {"{", old, state.WriteOptions{Restore: 9}, body(9, lineage, "old"), nil},
		"the same":                {body(7, lineage, "x"), body(7, lineage, "x"), state.WriteOptions{Restore: 8}, "", nil},
		"another lineage":         {body(7, "other", "x"), old, state.WriteOptions{Restore: 8}, "", state.ErrGuarded},
		"another lineage, forced": {body(7, "other", "x"), old, state.WriteOptions{Restore: 8, Force: true}, body(8, lineage, "old"), nil},
		"a serial not above":      {body(7, lineage, "x"), old, state.WriteOptions{Restore: 7}, "", statelatch.ErrInvalid},
		"of zero bytes":           {body(7, lineage, "x"), "", state.WriteOptions{Restore: 8}, "", statelatch.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.seed(t, tc.base)
			d := r.withTable("")
			x, err := r.BeginRestore(t.Context(), holding(), state.Version{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = write(t, x, tc.old, tc.opts); tc.kind != nil {
				wantKind(t, "restore", err, tc.kind)
			} else if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				wantStored(t, r, tc.base)
				return
			}
			wantStored(t, r, tc.want)
			if d.items[ref] != md5of(tc.want) {
				t.Errorf("digest: got %q", d.items[ref])
			}
		})
	}
}

// R12: an encrypted version cannot be edited, and its bytes must not come back either.
func TestSession_Write_RestoreEncrypted(t *testing.T) {
	t.Parallel()
	for _, base := range []string{encrypted(7, lineage, "now"), encrypted(2, lineage, "now"), absent} {
		old := encrypted(3, lineage, "old")
		r := newRig()
		r.seed(t, base)
		x := r.begin(t, holding())
		if _, err := write(t, x, old, state.WriteOptions{Restore: 9}); err != nil {
			t.Fatal(err)
		}
		if got := r.stored(t); trimmed(got) != old || got == old {
			t.Errorf("base %q: got %q, want the old bytes and fresh blanks", base, got)
		}
	}
}

// A digest that is not of what is stored stops every other client; bringing an older version back heals that.
func TestStore_BeginRestore_Mismatch(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(7, lineage, "overwritten past the table"))
	d := r.withTable(md5of("what the table knows"))
	x, err := r.BeginRestore(t.Context(), holding(), state.Version{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write(t, x, body(3, lineage, "old"), state.WriteOptions{Restore: 8}); err != nil {
		t.Fatal(err)
	}
	if want := md5of(body(8, lineage, "old")); d.items[ref] != want {
		t.Errorf("digest: got %q, want %q", d.items[ref], want)
	}
	lost := holding()
	lost.verifyErr = statelatch.ErrLockLost
	_, err = r.BeginRestore(t.Context(), lost, state.Version{})
	wantKind(t, "begin without the lock", err, statelatch.ErrLockLost)
}

// A workspace that is deleted is kept too.
func TestWorkspaces_Delete_Snapshot(t *testing.T) {
	t.Parallel()
	r := newPlainRig()
	one := body(1, lineage, "")
	r.seed(t, one)
	x := r.begin(t, holding())
	if err := (state.Workspaces{Store: r.Store, Key: "terraform.tfstate"}).Delete(t.Context(), x, false); err != nil {
		t.Fatal(err)
	}
	wantStored(t, r, absent)
	if got := r.kept(t); !slices.Equal(got, []string{one}) {
		t.Errorf("kept: %q", got)
	}
}

// Who has read the state already is asked for no second copy of it: a HEAD tells whether it is there still.
func TestStore_BeginRestore_Known(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*rig{"versioned": newRig(), "unversioned": newPlainRig()} {
		r.seed(t, body(4, lineage, "a"))
		known := r.mark(t)
		gets := r.bucket.Count("get", ref.Key)
		x, err := r.BeginRestore(t.Context(), holding(), known)
		if err != nil || !x.Base().SameContent(known) || x.Base().ETag != known.ETag {
			t.Errorf("%s: got %+v, %v", name, x, err)
		}
		if n := r.bucket.Count("get", ref.Key) - gets; n != 0 {
			t.Errorf("%s: %d reads of what is known", name, n)
		}
		if _, err := x.Write(t.Context(), strings.NewReader(body(1, lineage, "b")), state.WriteOptions{Restore: 5}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		x, err = r.BeginRestore(t.Context(), holding(), known)
		if err != nil || x.Base().Header.Serial != 5 {
			t.Errorf("%s: replaced meanwhile: got %v, want what is stored now", name, err)
		}
	}
	r := newRig()
	r.seed(t, absent)
	known := r.mark(t)
	gets := r.bucket.Count("get", ref.Key)
	if x, err := r.BeginRestore(t.Context(), holding(), known); err != nil || x.Base().Exists || r.bucket.Count("get", ref.Key) != gets {
		t.Errorf("absent: got %+v, %v, want that it is known", x, err)
	}
}
