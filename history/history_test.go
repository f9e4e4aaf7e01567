package history_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/state"
)

var ref = statelatch.Ref{Bucket: "b", Key: "app/terraform.tfstate"}

const lineage = "11111111-2222-3333-4444-555555555555"

func body(serial int, lineage, name string) string {
	return fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":%q,"resources":[{"name":%q}]}`, serial, lineage, name)
}

// rig is a bucket whose clock is the test's.
type rig struct {
	*state.Store
	t      *testing.T
	inner  *membucket.Bucket
	faulty *faultbucket.Bucket
	now    time.Time
}

func newRig(t *testing.T, versioned bool) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	r.inner = membucket.New("b", membucket.Options{Versioned: versioned, Clock: func() time.Time { return r.now }})
	r.faulty = faultbucket.New(r.inner, faultbucket.Options{})
	r.Store = &state.Store{Bucket: r.faulty, Snapshots: true}
	return r
}

func (r *rig) put(key, content string) string {
	r.t.Helper()
	obj, err := r.inner.Put(r.t.Context(), key, strings.NewReader(content), bucket.PutOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return obj.VersionID
}

// later stores a state after some seconds.
func (r *rig) later(seconds int, content string) string {
	r.t.Helper()
	r.now = r.now.Add(time.Duration(seconds) * time.Second)
	return r.put(ref.Key, content)
}

func (r *rig) delete(key string) {
	r.t.Helper()
	if _, err := r.inner.Delete(r.t.Context(), key, bucket.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) list(limit int) []history.Entry {
	r.t.Helper()
	entries, err := history.List(r.t.Context(), r.Store, ref, history.Options{Limit: limit})
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}

// lines say of each entry what a test wants to know.
func lines(entries []history.Entry) []string {
	var got []string
	for _, e := range entries {
		line := fmt.Sprint(e.Header.Serial)
		for _, mark := range []struct {
			is   bool
			text string
		}{
			{e.Current, "current"},
			{!e.Exists, "deleted"},
			{e.Header.Empty, "empty"},
			{e.Err != nil, "unreadable"},
			{e.Snapshot, "snapshot"},
			{e.Unchanged, "unchanged"},
			{e.Anomaly != "", string(e.Anomaly)},
		} {
			if mark.is {
				line += " " + mark.text
			}
		}
		got = append(got, line)
	}
	return got
}

func wantLines(t *testing.T, entries []history.Entry, want ...string) {
	t.Helper()
	if got := lines(entries); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestList_Versions(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	if got := r.list(0); len(got) != 0 {
		t.Fatalf("of nothing: %+v", got)
	}
	r.put(ref.Key, "")
	first := r.later(1, body(1, lineage, "a"))
	r.later(1, body(2, lineage, "b"))
	r.later(1, body(2, lineage, "b")+"\n  \t ")
	r.later(1, body(2, lineage, "lost"))
	r.later(1, body(1, lineage, "older"))
	r.later(1, body(3, "other", "x"))
	r.later(1, "no json")
	r.delete(ref.Key)
	r.later(1, body(4, lineage, "again"))
	all := r.list(0)
	wantLines(t, all,
		"4 current", "0 deleted "+string(state.Vanished), "0 unreadable "+string(state.Unreadable), "3 "+string(state.LineageChanged),
		"1 "+string(state.SerialBack), "2 "+string(state.SerialRepeated), "2 unchanged", "2", "1", "0 empty")
	if e := all[8]; e.VersionID != first || e.Header.Lineage != lineage || e.Header.TerraformVersion != "1.11.4" || e.Size == 0 || e.Ref != ref || e.ETag == "" {
		t.Errorf("got %+v", e)
	}
	// The one before the last that is shown decides what the last is.
	wantLines(t, r.list(6), lines(all[:6])...)
	wantLines(t, r.list(1), "4 current")
}

// Keys that the state's key is a prefix of are other states, also when there are thousands of them, and so are
// those that sort between the state and its lock or its snapshots.
func TestList_ExactlyOneKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.put("app/terraform.tfstat", "shorter")
	r.put(ref.Key, body(1, lineage, "a"))
	for i := range 3000 {
		r.put(fmt.Sprintf("%s-%04d", ref.Key, i), body(9, "other", "x"))
	}
	r.put(ref.Key+".backup", body(9, "other", "x"))
	r.put(ref.Key+".history/readme.txt", "not a snapshot")
	r.put(ref.Key+"/below", body(9, "other", "x"))
	r.put(ref.LockKey(), "{}")
	r.later(1, body(2, lineage, "b"))
	wantLines(t, r.list(0), "2 current", "1")
	listings := 0
	for _, q := range r.faulty.Requests() {
		if strings.HasPrefix(q.Op, "list") {
			listings++
		}
	}
	if listings != 2 { // versions, snapshots
		t.Errorf("got %d listings, want 2", listings)
	}
}

// Of a long history only what is shown is read.
func TestList_LimitReadsNoMore(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	for i := range 40 {
		r.later(1, body(i+1, lineage, "a"))
	}
	wantLines(t, r.list(2), "40 current", "39")
	gets := 0
	for _, q := range r.faulty.Requests() {
		if q.Op == "get" {
			gets++
		}
	}
	if gets != 3 {
		t.Errorf("got %d GETs, want 3: two that are shown and the one before them", gets)
	}
}

// write replaces the state as our commands do.
func (r *rig) write(content string) {
	r.t.Helper()
	r.now = r.now.Add(time.Second)
	x, err := r.Begin(r.t.Context(), tenure{})
	if err == nil {
		_, err = x.Write(r.t.Context(), strings.NewReader(content), state.WriteOptions{Force: true})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

type tenure struct{}

func (tenure) Ref() statelatch.Ref          { return ref }
func (tenure) Check() error                 { return nil }
func (tenure) Verify(context.Context) error { return nil }
func (tenure) Hold(error)                   {}

func TestList_Snapshots(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	r.write(body(1, lineage, "a"))
	r.write(body(2, lineage, "b"))
	r.write(body(3, lineage, "c"))
	wantLines(t, r.list(0), "3 current", "2 snapshot", "1 snapshot")
	wantLines(t, r.list(2), "3 current", "2 snapshot")
	// What is kept of the current version is no other version.
	now, err := r.Mark(t.Context(), ref)
	if err == nil {
		err = r.Snapshot(t.Context(), now)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, r.list(0), "3 current", "2 snapshot", "1 snapshot")
	for i, want := range []string{body(3, lineage, "c"), body(2, lineage, "b"), body(1, lineage, "a")} {
		e := r.list(0)[i]
		v, data, err := history.Open(t.Context(), r.Store, e)
		if err != nil {
			t.Fatal(err)
		}
		if !v.LastModified.Equal(e.LastModified) || v.VersionID != e.VersionID || v.Ref != ref {
			t.Errorf("entry %d: got %+v, want the version as it was listed", i, v)
		}
		if got, err := io.ReadAll(data); err != nil || string(got) != want {
			t.Errorf("entry %d: got %q, %v", i, got, err)
		}
		data.Close()
	}
	r.delete(ref.Key)
	wantLines(t, r.list(0), "3 snapshot", "2 snapshot", "1 snapshot")
}

// Snapshots from before versioning was switched on lie below the versions.
func TestList_SnapshotsAndVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	at := r.now
	old := body(1, lineage, "a")
	r.put(ref.HistoryPrefix()+state.Snapshot{Written: at, Serial: 1, MD5: strings.Repeat("0", 32)}.Name(), old)
	between := state.Snapshot{Written: at.Add(15 * time.Second), Serial: 3, MD5: strings.Repeat("1", 32)}
	r.put(ref.HistoryPrefix()+between.Name(), body(3, lineage, "c"))
	r.later(10, body(2, lineage, "b"))
	r.later(10, body(4, lineage, "d"))
	wantLines(t, r.list(0), "4 current", "3 snapshot", "2", "1 snapshot")
}

// Of several versions of one second the current one need not have the highest serial, and is no version twice.
func TestList_SnapshotOfTheSameSecond(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	r.put(ref.Key, body(3, lineage, "now"))
	now, err := r.Mark(t.Context(), ref)
	if err == nil {
		err = r.Snapshot(t.Context(), now)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.put(ref.HistoryPrefix()+state.Snapshot{Written: r.now, Serial: 5, MD5: strings.Repeat("0", 32)}.Name(), body(5, lineage, "before"))
	if got := r.list(0); len(got) != 2 {
		t.Errorf("got %q, want the current one and the other", lines(got))
	}
}

func TestOpen_Replaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	r.write(body(1, lineage, "a"))
	e := r.list(1)[0]
	r.later(1, body(2, lineage, "b"))
	if _, _, err := history.Open(t.Context(), r.Store, e); !isKind(err, statelatch.ErrConflict) {
		t.Errorf("got %v, want ErrConflict", err)
	}
}

func TestList_Fails(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.later(1, body(1, lineage, "a"))
	r.faulty.Add(faultbucket.Rule{Match: func(q faultbucket.Request) bool { return q.Op == "get" }, Fault: faultbucket.Answer(403)})
	if _, err := history.List(t.Context(), r.Store, ref, history.Options{}); !isKind(err, statelatch.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
	if _, err := history.List(t.Context(), r.Store, statelatch.Ref{Bucket: "b", Key: "../b"}, history.Options{}); !isKind(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}

// Who may not list snapshots misses nothing where there are versions, and everything where there are none.
func TestList_SnapshotsDenied(t *testing.T) {
	t.Parallel()
	for _, versioned := range []bool{true, false} {
		r := newRig(t, versioned)
		r.later(1, body(1, lineage, "a"))
		r.faulty.Add(faultbucket.Rule{Match: func(q faultbucket.Request) bool { return q.Op == "list" }, Fault: faultbucket.Answer(403)})
		_, err := history.List(t.Context(), r.Store, ref, history.Options{})
		if versioned && err != nil || !versioned && !isKind(err, statelatch.ErrDenied) {
			t.Errorf("versioned %v: got %v", versioned, err)
		}
	}
}
