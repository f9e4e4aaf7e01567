package state_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/state"
)

const deleted = "deleted"

// happen stores contents one after the other; deleted deletes.
func (r *rig) happen(tb testing.TB, contents ...string) {
	tb.Helper()
	for _, content := range contents {
		if content != deleted {
			r.seed(tb, content)
			continue
		}
		if _, err := r.inner.Delete(tb.Context(), ref.Key, bucket.DeleteOptions{}); err != nil {
			tb.Fatal(err)
		}
	}
}

func (r *rig) mark(tb testing.TB) state.Version {
	tb.Helper()
	v, err := r.Mark(tb.Context(), ref)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func (r *rig) since(tb testing.TB, mark state.Version, own ...string) state.Report {
	tb.Helper()
	report, err := r.Since(tb.Context(), mark, own...)
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

func TestStore_Since_Report(t *testing.T) {
	t.Parallel()
	const other = "99999999-2222-3333-4444-555555555555"
	s := func(serial int, names string) string { return body(serial, lineage, names) }
	touched := trimmed(s(1, "x")) + "\n \t \t"
	for name, tc := range map[string]struct {
		before, after []string
		moved         bool
		foreign       int
		anomalies     []state.AnomalyKind
		overwritten   []string // the contents to bring back
	}{
		"nothing":              {[]string{s(1, "x")}, nil, false, 0, nil, nil},
		"nothing, absent":      {nil, nil, false, 0, nil, nil},
		"an apply":             {[]string{s(1, "x")}, []string{s(2, "x y"), s(3, "x")}, true, 2, nil, nil},
		"a touch":              {[]string{s(1, "x")}, []string{touched}, false, 0, nil, nil},
		"created":              {nil, []string{s(1, "x")}, true, 1, nil, nil},
		"created anew":         {[]string{s(9, "x"), deleted}, []string{s(1, "x")}, true, 1, nil, nil},
		"touched, then work":   {[]string{s(1, "x")}, []string{touched, s(2, "y")}, true, 1, nil, nil},
		"zero bytes, claimed":  {[]string{""}, []string{s(0, ""), s(1, "x")}, true, 1, nil, nil},
		"zero bytes, serial 0": {[]string{""}, []string{s(0, "x")}, true, 1, nil, nil},
		"lost update":          {[]string{s(1, "x")}, []string{s(2, "ours"), s(2, "theirs")}, true, 2, []state.AnomalyKind{state.SerialRepeated}, []string{s(2, "ours")}},
		"lost update at once":  {[]string{s(1, "x")}, []string{s(1, "y")}, true, 1, []state.AnomalyKind{state.SerialRepeated}, []string{s(1, "x")}},
		"serial back":          {[]string{s(5, "x")}, []string{s(6, "ours"), s(3, "theirs")}, true, 2, []state.AnomalyKind{state.SerialBack}, []string{s(6, "ours")}},
		"there and back again": {[]string{s(5, "x")}, []string{s(3, "y"), s(5, "x")}, false, 2, []state.AnomalyKind{state.SerialBack}, []string{s(5, "x")}},
		"another lineage":      {[]string{s(5, "x")}, []string{body(6, other, "y")}, true, 1, []state.AnomalyKind{state.LineageChanged}, []string{s(5, "x")}},
		"deleted":              {[]string{s(5, "x")}, []string{deleted}, true, 1, []state.AnomalyKind{state.Vanished}, []string{s(5, "x")}},
		"deleted, then anew":   {[]string{s(5, "x")}, []string{s(6, "y"), deleted, s(1, "z")}, true, 3, []state.AnomalyKind{state.Vanished}, []string{s(6, "y")}},
		"emptied (B12)":        {[]string{s(5, "x")}, []string{""}, true, 1, []state.AnomalyKind{state.Vanished}, []string{s(5, "x")}},
		"garbage":              {[]string{s(5, "x")}, []string{"oops"}, true, 1, []state.AnomalyKind{state.Unreadable}, []string{s(5, "x")}},
		"no state at all":      {[]string{"one"}, []string{"two"}, true, 1, []state.AnomalyKind{state.SerialRepeated}, []string{"one"}},
		"twice lost":           {[]string{s(1, "x")}, []string{s(2, "a"), s(2, "b"), s(2, "c")}, true, 3, []state.AnomalyKind{state.SerialRepeated, state.SerialRepeated}, []string{s(2, "a"), s(2, "b")}},
	} {
		for how, mark := range marks {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				r := newRig()
				// Other keys that a listing by prefix finds as well.
				r.seedAt(t, ref.LockKey(), "lock")
				r.seedAt(t, ref.Key+".rescue/1", s(77, "x"))
				r.happen(t, mark.sized(tc.before...)...)
				was, err := mark.of(r.Store, t.Context(), ref)
				if err != nil {
					t.Fatal(err)
				}
				r.happen(t, mark.sized(tc.after...)...)
				before := len(r.bucket.Requests())
				got := r.since(t, was)
				if len(tc.after) == 0 {
					wantRequests(t, r, before, "list versions")
				}
				if got.Moved != tc.moved || len(got.Versions) != len(tc.after) || len(got.Foreign) != tc.foreign || got.Unlisted != nil {
					t.Errorf("got moved %v, %d versions, %d foreign, %v; want %v, %d, %d, all listed",
						got.Moved, len(got.Versions), len(got.Foreign), got.Unlisted, tc.moved, len(tc.after), tc.foreign)
				}
				var kinds []state.AnomalyKind
				var overwritten []string
				for _, a := range got.Anomalies {
					kinds = append(kinds, a.Kind)
					id := a.Before.VersionID
					overwritten = append(overwritten, readVersion(t, r, bucket.Object{Key: ref.Key, VersionID: id}))
					if !strings.Contains(a.String(), id) {
						t.Errorf("%q does not name version %s", a, id)
					}
				}
				if want := mark.sized(tc.overwritten...); fmt.Sprint(kinds) != fmt.Sprint(tc.anomalies) || !slices.Equal(overwritten, want) {
					t.Errorf("anomalies: got %v over %.200q, want %v over %.200q", kinds, overwritten, tc.anomalies, want)
				}
			})
		}
	}
}

// marks are the ways to remember a state, with states that differ in size.
var marks = map[string]marking{
	"whole": {(*state.Store).Mark, false},
	"small": {(*state.Store).QuickMark, false},
	"large": {(*state.Store).QuickMark, true},
}

type marking struct {
	of    func(*state.Store, context.Context, statelatch.Ref) (state.Version, error)
	large bool // above 16 KiB
}

// sized are the contents in that size, as far as they are JSON.
func (m marking) sized(contents ...string) []string {
	contents = slices.Clone(contents)
	for i, c := range contents {
		if begun, ok := strings.CutSuffix(strings.TrimRight(c, " \t\n"), "}"); ok && m.large {
			contents[i] = begun + `,"check_results":"` + strings.Repeat("x", 16<<10) + `"}` + c[len(begun)+1:]
		}
	}
	return contents
}

// QuickMark reads no more than it needs: what the bucket keeps can be read later.
func TestStore_QuickMark_Reads(t *testing.T) {
	t.Parallel()
	large := marking{large: true}.sized(body(7, lineage, "x"))[0]
	late := `{"pad":"` + strings.Repeat("x", 16<<10) + `",` + body(7, lineage, "x")[1:]
	for name, tc := range map[string]struct {
		content   string
		versioned bool
		gets      int
		whole     bool
		serial    uint64
	}{
		"small":                            {body(7, lineage, "x"), true, 1, true, 7},
		"small, no versions":               {body(7, lineage, "x"), false, 1, true, 7},
		"zero bytes":                       {"", true, 1, true, 0},
		"no state":                         {"oops", true, 1, true, 0},
		"large":                            {large, true, 1, false, 7},
		"large, no versions":               {large, false, 2, true, 7},
		"header further back":              {late, true, 1, false, 0},
		"header further back, no versions": {late, false, 2, true, 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rigOn(membucket.New("b", membucket.Options{Versioned: tc.versioned}))
			r.seed(t, tc.content)
			got, err := r.QuickMark(t.Context(), ref)
			whole, wholeErr := r.Mark(t.Context(), ref)
			if err != nil || wholeErr != nil {
				t.Fatal(err, wholeErr)
			}
			if n := len(r.bucket.Requests()) - 1; n != tc.gets || (got.MD5 != "") != tc.whole || got.Header.Serial != tc.serial {
				t.Errorf("got %d GETs, whole %v, serial %d; want %d, %v, %d", n, got.MD5 != "", got.Header.Serial, tc.gets, tc.whole, tc.serial)
			}
			if got.ETag != whole.ETag || got.VersionID != whole.VersionID || got.Size != whole.Size || got.Exists != whole.Exists {
				t.Errorf("got %+v, want what the whole says, %+v", got, whole)
			}
		})
	}
}

// Many new versions are a second listing, and none reads what is older.
func TestStore_Since_Pages(t *testing.T) {
	t.Parallel()
	for after, lists := range map[int]int{0: 1, 6: 1, 7: 1, 8: 2, 60: 2} {
		r := newRig()
		for i := range 300 {
			r.seed(t, body(i+1, lineage, "x"))
		}
		mark := r.mark(t)
		for i := range after {
			r.seed(t, body(301+i, lineage, "x"))
		}
		before := len(r.bucket.Requests())
		got := r.since(t, mark)
		n := 0
		for _, request := range r.bucket.Requests()[before:] {
			if request.Op == faultbucket.OpListVersions {
				n++
			}
		}
		if len(got.Versions) != after || len(got.Anomalies) != 0 || n != lists || len(r.bucket.Requests())-before != lists+after {
			t.Errorf("%d new versions: got %d, %v, by %d listings and %d requests; want %d listings and a GET for each",
				after, len(got.Versions), got.Anomalies, n, len(r.bucket.Requests())-before, lists)
		}
	}
}

func TestStore_Before(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seedAt(t, ref.LockKey(), "lock")
	r.happen(t, body(1, lineage, "x"))
	first := r.mark(t)
	r.happen(t, body(2, lineage, "x"))
	second := r.mark(t)
	r.happen(t, deleted, body(3, lineage, "x"))
	third := r.mark(t)
	for v, want := range map[*state.Version]state.Version{&second: first, &first: {}, &third: {}} {
		if got, err := r.Before(t.Context(), *v); err != nil || got.Exists != want.Exists || got.VersionID != want.VersionID ||
			got.Header.Serial != want.Header.Serial {
			t.Errorf("before serial %d: got %+v, %v, want %+v", v.Header.Serial, got, err, want)
		}
	}
	third.VersionID = "purged"
	_, err := r.Before(t.Context(), third)
	wantKind(t, "a version that is not there", err, statelatch.ErrNotFound)
}

// Without versions the mark and what is there now are compared, and the report says so.
func TestStore_Since_Unlisted(t *testing.T) {
	t.Parallel()
	t.Run("no versions", func(t *testing.T) {
		t.Parallel()
		inner := membucket.New("b", membucket.Options{})
		r := &rig{&state.Store{Bucket: inner}, nil, inner}
		r.seed(t, body(4, lineage, "x"))
		mark := r.mark(t)
		r.seed(t, body(3, lineage, "x"))
		wantUnlisted(t, r.since(t, mark), statelatch.ErrUnsupported)
	})
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		r := newRig(faultbucket.Rule{Op: faultbucket.OpListVersions, Fault: faultbucket.Answer(403)})
		r.seed(t, body(4, lineage, "x"))
		mark := r.mark(t)
		r.seed(t, body(3, lineage, "x"))
		wantUnlisted(t, r.since(t, mark), statelatch.ErrDenied)
	})
	t.Run("too many", func(t *testing.T) {
		t.Parallel()
		r := newRig()
		r.seed(t, body(400, lineage, "x"))
		mark := r.mark(t)
		for i := range 101 {
			r.seed(t, body(i, lineage, "x"))
		}
		wantUnlisted(t, r.since(t, mark), nil)
	})
}

func wantUnlisted(tb testing.TB, r state.Report, kind error) {
	tb.Helper()
	if r.Unlisted == nil || len(r.Versions) != 1 || !r.Moved || len(r.Anomalies) != 1 || r.Anomalies[0].Kind != state.SerialBack {
		tb.Errorf("got %+v, want a comparison of the two ends that finds the step back", r)
	}
	if kind != nil {
		wantKind(tb, "Unlisted", r.Unlisted, kind)
	}
}

func TestStore_Since_OwnWritesAreNotForeign(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(4, lineage, "x"))
	x := r.begin(t, holding())
	mark := x.Base()
	v, err := write(t, x, body(2, "forced-lineage", "y"), state.WriteOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.since(t, mark, v.ETag); !got.Moved || len(got.Foreign) != 0 || len(got.Anomalies) != 0 {
		t.Errorf("got %+v, want a move and nothing foreign", got)
	}
	if got := r.since(t, mark); len(got.Foreign) != 1 || len(got.Anomalies) != 1 {
		t.Errorf("got %+v, want it foreign to others", got)
	}
}

func TestStore_Since_MarkPurged(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(1, lineage, "x"))
	mark := r.mark(t)
	r.seed(t, body(2, lineage, "x"))
	if _, err := r.inner.Delete(t.Context(), ref.Key, bucket.DeleteOptions{VersionID: mark.VersionID}); err != nil {
		t.Fatal(err)
	}
	got := r.since(t, mark)
	if len(got.Anomalies) != 1 || got.Anomalies[0].Kind != state.MarkGone || len(got.Versions) != 1 {
		t.Errorf("got %+v, want the mark's version missing", got)
	}
}

func TestStore_Since_SurvivesFaults(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 6; n++ {
		synctest.Test(t, func(t *testing.T) {
			r := newRig()
			r.seed(t, body(1, lineage, "x"))
			mark := r.mark(t)
			r.happen(t, body(2, lineage, "a"), body(2, lineage, "b"))
			r.bucket.Add(faultbucket.Rule{Nth: n, Fault: faultbucket.Answer(503)})
			if got := r.since(t, mark); len(got.Anomalies) != 1 || len(got.Versions) != 2 {
				t.Errorf("request %d throttled: got %+v", n, got)
			}
		})
	}
}

// A header is read from the beginning of a large body, and from all of it where it stands further back or is none.
func TestStore_ReadHeader_LargeBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x ", 100<<10)
	for name, tc := range map[string]struct {
		body   string
		serial uint64
		gets   int
		bad    bool
	}{
		"plain":         {body(7, lineage, long), 7, 1, false},
		"encrypted":     {encrypted(8, lineage, long), 8, 2, false},
		"sorted keys":   {fmt.Sprintf(`{"a":%q,"lineage":"x","serial":9,"terraform_version":"1","version":4}`, long), 9, 2, false},
		"no state":      {long, 0, 2, true},
		"small":         {body(7, lineage, "a"), 7, 1, false},
		"small, no end": {body(7, lineage, "a")[:20], 0, 1, true},
	} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprint(name, known), func(t *testing.T) {
				t.Parallel()
				r := newRig()
				r.seed(t, tc.body)
				v := state.Version{Ref: ref, Exists: true}
				if known {
					v.Size = int64(len(tc.body))
				}
				if err := r.ReadHeader(t.Context(), &v); err != nil {
					t.Fatal(err)
				}
				if v.Header.Serial != tc.serial || (v.Err != nil) != tc.bad {
					t.Errorf("got serial %d, %v, want %d", v.Header.Serial, v.Err, tc.serial)
				}
				if n := r.bucket.Count("get", ref.Key); n != tc.gets {
					t.Errorf("%d requests, want %d", n, tc.gets)
				}
			})
		}
	}
}
