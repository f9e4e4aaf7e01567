package history_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/state"
)

func isKind(err, kind error) bool { return errors.Is(err, kind) }

func TestFind_Selectors(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.put(ref.Key, "")
	r.later(1, `{"version":4,"terraform_version":"0.12.0","serial":0,"lineage":"claim","outputs":{},"resources":[],"check_results":null}`)
	one := r.later(1, body(1, lineage, "a"))
	two := r.later(1, body(2, lineage, "b"))
	touched := r.later(1, body(2, lineage, "b")+" ")
	three := r.later(1, body(3, lineage, "c"))
	lost := r.later(1, body(3, lineage, "lost"))
	five := r.later(1, body(5, lineage, "d"))
	five2 := r.later(1, body(5, lineage, "d")+"\t")
	entries := r.list(0)
	for selector, want := range map[string]string{
		"current": five2, "previous": lost, "1": one, "2": touched, "5": five2, two: two, three: three, five: five,
	} {
		if e, err := history.Find(entries, selector); err != nil || e.VersionID != want {
			t.Errorf("%q: got %q, %v; want %q", selector, e.VersionID, err, want)
		}
		e, err := history.Resolve(t.Context(), r.Store, ref, selector)
		if err != nil || e.VersionID != want {
			t.Errorf("Resolve %q: got %q, %v; want %q", selector, e.VersionID, err, want)
		}
	}
	for selector, kind := range map[string]error{
		"": statelatch.ErrInvalid, "3": statelatch.ErrInvalid, "4": statelatch.ErrNotFound, "0": statelatch.ErrNotFound, "nosuch": statelatch.ErrNotFound,
	} {
		if _, err := history.Find(entries, selector); !isKind(err, kind) {
			t.Errorf("%q: got %v, want %v", selector, err, kind)
		}
	}
	if _, err := history.Find(entries, "3"); !strings.Contains(err.Error(), three) || !strings.Contains(err.Error(), lost) {
		t.Errorf("an ambiguous serial: got %v, want both IDs", err)
	}

	r.delete(ref.Key)
	if e, err := history.Find(r.list(0), "previous"); err != nil || e.VersionID != five2 {
		t.Errorf("previous of a deleted state: got %q, %v", e.VersionID, err)
	}
	if e, err := history.Find(r.list(0), "current"); err != nil || e.Exists {
		t.Errorf("current of a deleted state: got %+v, %v", e, err)
	}
}

// Serial 0 is that of the first state that an engine could not save, and of what stands for no state: the content
// tells.
func TestFind_SerialZero(t *testing.T) {
	t.Parallel()
	for name, versioned := range map[string]bool{"versions": true, "snapshots": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, versioned)
			r.write(body(0, lineage, "first"))
			r.write(body(1, lineage, "second"))
			for _, selector := range []string{"previous", "0"} {
				e, err := history.Resolve(t.Context(), r.Store, ref, selector)
				if err != nil || e.Header.Serial != 0 || !e.Exists {
					t.Errorf("%q: got %+v, %v; want the one of serial 0", selector, e, err)
				}
			}
			r.delete(ref.Key)
			want := map[bool]uint64{true: 1, false: 0}[versioned] // whoever deletes an object makes no snapshot of it
			if e, err := history.Resolve(t.Context(), r.Store, ref, "previous"); err != nil || e.Header.Serial != want || !e.Exists {
				t.Errorf("previous of a deleted state: got %+v, %v; want serial %d", e, err, want)
			}
		})
	}
}

// Any number of touches may lie between the current version and the previous one.
func TestResolve_PreviousFarDown(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	one := r.put(ref.Key, body(1, lineage, "a"))
	for i := range 30 {
		r.later(1, body(2, lineage, "b")+strings.Repeat(" ", i))
	}
	if e, err := history.Resolve(t.Context(), r.Store, ref, "previous"); err != nil || e.VersionID != one {
		t.Errorf("got %q, %v; want %q", e.VersionID, err, one)
	}
}

func TestResolve_VersionIDCostsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	if e, err := history.Resolve(t.Context(), r.Store, ref, "3sL4kqtJ"); err != nil || e.VersionID != "3sL4kqtJ" || len(r.faulty.Requests()) != 0 {
		t.Errorf("got %+v, %v, %d requests", e, err, len(r.faulty.Requests()))
	}
}

func TestFind_NoCurrent(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	r.write(body(1, lineage, "a"))
	r.write(body(2, lineage, "b"))
	r.delete(ref.Key)
	if _, err := history.Find(r.list(0), "current"); !isKind(err, statelatch.ErrNotFound) {
		t.Errorf("current: got %v", err)
	}
	if e, err := history.Find(r.list(0), "previous"); err != nil || e.Header.Serial != 1 {
		t.Errorf("previous: got %+v, %v", e, err)
	}
}

// A version that was read by its ID is stored when the listing says: a GET tells whole seconds, locks change within
// one.
func TestPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.later(1, body(1, lineage, "a"))
	r.later(1, body(2, lineage, "b"))
	r.now = r.now.Add(700 * time.Millisecond)
	r.later(0, body(3, lineage, "c"))
	for _, e := range r.list(0) {
		v := e.Version
		v.LastModified = v.LastModified.Truncate(time.Second)
		got, err := history.Place(t.Context(), r.Store, history.Entry{}, v)
		if err != nil || !got.LastModified.Equal(e.LastModified) || got.Current != e.Current {
			t.Errorf("serial %d: got %v, current %v, %v; want %v, %v", e.Header.Serial, got.LastModified, got.Current, err, e.LastModified, e.Current)
		}
	}
	listed := r.list(0)[1]
	v := listed.Version
	v.LastModified = v.LastModified.Truncate(time.Second)
	before := len(r.faulty.Requests())
	if got, err := history.Place(t.Context(), r.Store, listed, v); err != nil || !got.LastModified.Equal(listed.LastModified) ||
		len(r.faulty.Requests()) != before {
		t.Errorf("of one that was listed: got %+v, %v, want nothing asked again", got, err)
	}
	r.faulty.Add(faultbucket.Rule{Match: func(q faultbucket.Request) bool { return q.Op == "list versions" }, Fault: faultbucket.Answer(403)})
	if e, err := history.Place(t.Context(), r.Store, history.Entry{}, state.Version{Ref: ref, VersionID: "x"}); err != nil || e.VersionID != "x" {
		t.Errorf("may not list: got %+v, %v", e, err)
	}
}

// What a narrow terminal shows of a version ID names it, as long as only one begins like that.
func TestFind_ShortVersionIDs(t *testing.T) {
	t.Parallel()
	entries := []history.Entry{}
	for _, id := range []string{"6mJ1xVkq0aaaaaaaaaaaaaaaaaaaaaaa", "6mJ1xVkq0bbbbbbbbbbbbbbbbbbbbbbb", "Zz34567890aaaaaaaaaaaaaaaaaaaaaa"} {
		entries = append(entries, history.Entry{Version: state.Version{Ref: ref, Exists: true, VersionID: id}})
	}
	for selector, want := range map[string]string{
		"6mJ1xVkq0a": entries[0].VersionID, "6mJ1xVkq0b…": entries[1].VersionID, "Zz345678": entries[2].VersionID, "Zz345678…": entries[2].VersionID,
	} {
		if e, err := history.Find(entries, selector); err != nil || e.VersionID != want {
			t.Errorf("%q: got %q, %v; want %q", selector, e.VersionID, err, want)
		}
	}
	if _, err := history.Find(entries, "6mJ1xVkq0"); !isKind(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), entries[0].VersionID) || !strings.Contains(err.Error(), entries[1].VersionID) {
		t.Errorf("got %v, want both", err)
	}
	for _, selector := range []string{"Zz34567", "Zz34567x", "…"} {
		if _, err := history.Find(entries, selector); !isKind(err, statelatch.ErrNotFound) {
			t.Errorf("%q: got %v, want nothing", selector, err)
		}
	}
}

// The serial of one of more than a thousand versions costs a listing and some headers, wherever it is.
func TestResolve_SerialOfMany(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	const versions = 1200
	var ids []string
	for i := range versions {
		ids = append(ids, r.later(1, body(i+1, lineage, "a")))
	}
	for _, serial := range []int{1, 2, 49, 777, versions - 1, versions} {
		before := len(r.faulty.Requests())
		e, err := history.Resolve(t.Context(), r.Store, ref, fmt.Sprint(serial))
		if err != nil || e.VersionID != ids[serial-1] || e.LastModified.IsZero() || e.Current != (serial == versions) {
			t.Errorf("serial %d: got %+v, %v, want version %s", serial, e, err, ids[serial-1])
		}
		if n := len(r.faulty.Requests()) - before; n > 2+4*16+3*50 {
			t.Errorf("serial %d: %d requests of %d versions", serial, n, versions)
		}
	}
	if _, err := history.Resolve(t.Context(), r.Store, ref, fmt.Sprint(versions+1)); !isKind(err, statelatch.ErrNotFound) {
		t.Errorf("got %v, want that there is none", err)
	}

	twice := r.later(1, body(versions, lineage, "b")) // an update was lost
	if _, err := history.Resolve(t.Context(), r.Store, ref, fmt.Sprint(versions)); !isKind(err, statelatch.ErrInvalid) ||
		!strings.Contains(err.Error(), twice) || !strings.Contains(err.Error(), ids[versions-1]) {
		t.Errorf("got %v, want that there are two", err)
	}
	for i := range 5 { // an old one was written again, and work went on from there
		r.later(1, body(700+i, lineage, "c"))
	}
	again := r.later(1, body(versions+9, lineage, "c"))
	for _, tc := range []struct{ serial, id string }{{fmt.Sprint(versions + 9), again}, {"2", ids[1]}, {"1099", ids[1098]}} {
		if e, err := history.Resolve(t.Context(), r.Store, ref, tc.serial); err != nil || e.VersionID != tc.id {
			t.Errorf("serial %s behind a step back: got %q, %v, want %q", tc.serial, e.VersionID, err, tc.id)
		}
	}
}

// What is near the top costs a page and a few headers, however long the history is.
func TestResolve_NearTheTop(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	var ids []string
	for i := range 1100 {
		ids = append(ids, r.later(1, body(i+1, lineage, "a")))
	}
	for selector, want := range map[string]string{"current": ids[1099], "previous": ids[1098]} {
		before := len(r.faulty.Requests())
		if e, err := history.Resolve(t.Context(), r.Store, ref, selector); err != nil || e.VersionID != want {
			t.Errorf("%s: got %q, %v, want %q", selector, e.VersionID, err, want)
		}
		if n := len(r.faulty.Requests()) - before; n > 2+24 {
			t.Errorf("%s: %d requests", selector, n)
		}
	}
}

// All ends where its loop does, and is List otherwise.
func TestAll(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	for i := range 500 {
		r.later(1, body(i+1, lineage, "a"))
	}
	want := r.list(0)
	i := 0
	for e, err := range history.All(t.Context(), r.Store, ref, history.Options{}) {
		if err != nil || !reflect.DeepEqual(e, want[i]) {
			t.Fatalf("entry %d: got %+v, %v, want %+v", i, e, err, want[i])
		}
		i++
	}
	if i != len(want) {
		t.Errorf("got %d entries, want %d", i, len(want))
	}
	before := len(r.faulty.Requests())
	for _, err := range history.All(t.Context(), r.Store, ref, history.Options{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if n := len(r.faulty.Requests()) - before; n > 100 {
		t.Errorf("%d requests for one entry", n)
	}
}
