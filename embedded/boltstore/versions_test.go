package boltstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/s3/s3model"
)

// versionsOf lists the versions of all keys as "key=content", "key=marker", with * on the latest.
func versionsOf(tb testing.TB, s *Store) string {
	tb.Helper()
	page, err := s.ListVersions(tb.Context(), s3model.ListRequest{Bucket: "b", Max: 1000})
	if err != nil {
		tb.Fatalf("ListVersions: %v", err)
	}
	var all []string
	for _, o := range page.Objects {
		what := "marker"
		if !o.DeleteMarker {
			what = get(tb, s, o.Key, o.VersionID)
		}
		if o.VersionID == s3model.NullVersion {
			what += "(null)"
		}
		if o.IsLatest {
			what += "*"
		}
		all = append(all, o.Key+"="+what)
	}
	return strings.Join(all, " ")
}

func TestStore_Versioning_Life(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	step := func(what, want string) {
		t.Helper()
		if got := versionsOf(t, s); got != want {
			t.Fatalf("%s: got versions %q, want %q", what, got, want)
		}
	}
	if o := put(t, s, "k", "0"); o.VersionID != "" {
		t.Errorf("unversioned: got version ID %q, want none", o.VersionID)
	}
	put(t, s, "k", "1")
	step("unversioned", "k=1(null)*")
	if r := remove(t, s, "absent", ""); r != (s3model.DeleteResult{}) {
		t.Errorf("deleting nothing: got %+v", r)
	}

	setVersioning(t, s, "b", s3model.Enabled)
	if o, err := s.Head(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k"}); err != nil || o.VersionID != s3model.NullVersion {
		t.Errorf("old object in a versioned bucket: got %+v, %v", o, err)
	}
	v2 := put(t, s, "k", "2")
	v3 := put(t, s, "k", "3")
	step("enabled", "k=3* k=2 k=1(null)")
	m1 := remove(t, s, "k", "")
	if !m1.DeleteMarker || m1.VersionID == "" {
		t.Errorf("Delete: got %+v, want a marker", m1)
	}
	m2 := remove(t, s, "k", "")
	step("two markers", "k=marker* k=marker k=3 k=2 k=1(null)")
	if got := get(t, s, "k", ""); got != "<NoSuchKey>" {
		t.Errorf("Get of a marker: got %s", got)
	}
	_, err := s.Head(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k"})
	var e *s3model.Error
	if !errors.As(err, &e) || e.Status != 404 || !e.DeleteMarker || e.VersionID != m2.VersionID {
		t.Errorf("Head of a current marker: got %#v", err)
	}
	_, err = s.Head(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k", VersionID: m1.VersionID})
	if !errors.As(err, &e) || e.Status != 405 || !e.DeleteMarker || e.VersionID != m1.VersionID {
		t.Errorf("Head of a marker by ID: got %#v", err)
	}
	if s3model.ErrNoSuchKey.DeleteMarker {
		t.Fatal("a shared refusal was modified")
	}
	if r := remove(t, s, "k", m2.VersionID); !r.DeleteMarker || r.VersionID != m2.VersionID {
		t.Errorf("deleting a marker: got %+v", r)
	}
	step("one marker left", "k=marker* k=3 k=2 k=1(null)")
	remove(t, s, "k", m1.VersionID)
	step("markers gone", "k=3* k=2 k=1(null)")
	remove(t, s, "k", v3.VersionID)
	step("current gone", "k=2* k=1(null)")

	setVersioning(t, s, "b", s3model.Suspended)
	if o := put(t, s, "k", "4"); o.VersionID != s3model.NullVersion {
		t.Errorf("suspended: got version ID %q, want null", o.VersionID)
	}
	step("null replaced in history", "k=4(null)* k=2")
	put(t, s, "k", "5")
	step("null replaced on top", "k=5(null)* k=2")
	if r := remove(t, s, "k", ""); !r.DeleteMarker || r.VersionID != s3model.NullVersion {
		t.Errorf("Delete, suspended: got %+v", r)
	}
	step("null marker", "k=marker(null)* k=2")
	remove(t, s, "k", "")
	step("null marker again", "k=marker(null)* k=2")
	put(t, s, "k", "6")
	step("null over null marker", "k=6(null)* k=2")

	setVersioning(t, s, "b", s3model.Enabled)
	put(t, s, "k", "7")
	step("enabled again", "k=7* k=6(null) k=2")
	if got := get(t, s, "k", s3model.NullVersion); got != "6" {
		t.Errorf("null version: got %s, want 6", got)
	}
	setVersioning(t, s, "b", s3model.Suspended)
	remove(t, s, "k", "")
	step("null in history removed by a null marker", "k=marker(null)* k=7 k=2")
	remove(t, s, "k", s3model.NullVersion)
	step("null marker removed by ID", "k=7* k=2")
	remove(t, s, "k", v2.VersionID)
	remove(t, s, "k", s3model.NullVersion) // absent: succeeds
	step("only one", "k=7*")
	if n := smallBodyCount(t, s); n != 1 {
		t.Errorf("small bodies: got %d, want 1", n)
	}
}

func TestStore_VersionIDs_AreBoundAndUnique(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	a, b := put(t, s, "a", "1"), put(t, s, "b", "1")
	if a.VersionID == b.VersionID {
		t.Error("two versions have one ID")
	}
	seq, ok := parseVersionID(a.VersionID)
	if !ok {
		t.Fatalf("version ID %q", a.VersionID)
	}
	forged := (&record{Seq: seq, ID: make([]byte, idSize)}).versionID()
	for name, version := range map[string]string{"of another key": b.VersionID, "forged": forged, "malformed": "x", "null": "null"} {
		if got := get(t, s, "a", version); got != "<NoSuchVersion>" {
			t.Errorf("ID %s: got %s, want NoSuchVersion", name, got)
		}
		if r := remove(t, s, "a", version); r.VersionID != version || r.DeleteMarker {
			t.Errorf("deleting ID %s: got %+v", name, r)
		}
	}
	if got := versionsOf(t, s); got != "a=1* b=1*" {
		t.Errorf("got %s", got)
	}
	put(t, s, "a", "2")
	if got := get(t, s, "a", forged) + get(t, s, "a", a.VersionID); got != "<NoSuchVersion>1" {
		t.Errorf("forged and true ID of a noncurrent version: got %s", got)
	}
}

// The order of versions is the order of the writes, whatever the clock says.
func TestStore_Versions_ClockGoesBack(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Enabled)
	for i := range 5 {
		put(t, s, "k", fmt.Sprint(i))
		clock.Advance(-1000)
	}
	if got, want := versionsOf(t, s), "k=4* k=3 k=2 k=1 k=0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStore_Conditions(t *testing.T) {
	t.Parallel()
	one := md5Hex([]byte("1"))
	for _, state := range []struct {
		name       string
		versioning s3model.Versioning
		prepare    func(*testing.T, *Store)
		want       map[string]string // condition and operation to code
	}{
		{
			"absent", s3model.Unversioned, func(*testing.T, *Store) {},
			map[string]string{
				"put absent": "OK", "put " + one: "NoSuchKey", "put *": "NoSuchKey",
				"delete " + one: "NoSuchKey", "delete *": "NoSuchKey", "delete": "OK", "delete absent": "InvalidRequest",
			},
		},
		{
			"present", s3model.Unversioned, func(t *testing.T, s *Store) { t.Helper(); put(t, s, "k", "1") },
			map[string]string{
				"put absent": "PreconditionFailed", "put " + one: "OK", "put *": "OK", "put other": "PreconditionFailed",
				"delete " + one: "OK", "delete *": "OK", "delete other": "PreconditionFailed",
			},
		},
		{
			"only noncurrent matches", s3model.Enabled, func(t *testing.T, s *Store) { t.Helper(); put(t, s, "k", "1"); put(t, s, "k", "2") },
			map[string]string{"put " + one: "PreconditionFailed", "delete " + one: "PreconditionFailed", "put absent": "PreconditionFailed"},
		},
		{
			"delete marker", s3model.Enabled, func(t *testing.T, s *Store) { t.Helper(); put(t, s, "k", "1"); remove(t, s, "k", "") },
			map[string]string{
				"put absent": "OK", "put " + one: "NoSuchKey", "put *": "NoSuchKey",
				"delete " + one: "NoSuchKey", "delete *": "PreconditionFailed", "delete": "OK",
			},
		},
		{
			"null marker", s3model.Suspended, func(t *testing.T, s *Store) { t.Helper(); put(t, s, "k", "1"); remove(t, s, "k", "") },
			map[string]string{"put absent": "OK", "put " + one: "NoSuchKey", "delete *": "PreconditionFailed", "delete " + one: "NoSuchKey"},
		},
	} {
		for request, want := range state.want {
			t.Run(state.name+"/"+request, func(t *testing.T) {
				t.Parallel()
				s, _ := newStore(t, state.versioning)
				state.prepare(t, s)
				before := versionsOf(t, s)
				op, value, _ := strings.Cut(request, " ")
				c := s3model.Condition{IfMatch: value}
				if value == "absent" {
					c = s3model.Condition{IfAbsent: true}
				}
				var err error
				if op == "put" {
					_, err = s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: "k", If: c}, strings.NewReader("new"))
				} else {
					_, err = s.Delete(t.Context(), s3model.DeleteRequest{Bucket: "b", Key: "k", If: c})
				}
				if code(err) != want {
					t.Errorf("got %v, want %s", err, want)
				}
				if after := versionsOf(t, s); want != "OK" && after != before {
					t.Errorf("refused, but the versions went from %q to %q", before, after)
				}
			})
		}
	}
}

func TestStore_DeleteVersion_ConditionIsAboutThatVersion(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	old := put(t, s, "k", "1")
	put(t, s, "k", "2")
	marker := remove(t, s, "k", "")
	for _, tt := range []struct{ version, ifMatch, want string }{
		{old.VersionID, md5Hex([]byte("2")), "PreconditionFailed"},
		{marker.VersionID, "*", "PreconditionFailed"},
		{marker.VersionID, old.ETag, "NoSuchKey"},
		{"null", "*", "NoSuchKey"},
		{old.VersionID, old.ETag, "OK"},
	} {
		_, err := s.Delete(t.Context(), s3model.DeleteRequest{Bucket: "b", Key: "k", VersionID: tt.version, If: s3model.Condition{IfMatch: tt.ifMatch}})
		if code(err) != tt.want {
			t.Errorf("delete of %s if %s: got %v, want %s", tt.version, tt.ifMatch, err, tt.want)
		}
	}
	if got := versionsOf(t, s); got != "k=marker* k=2" {
		t.Errorf("got %s", got)
	}
}
