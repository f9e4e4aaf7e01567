package history_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/state"
)

// recorded stores a state after a second, with what a writer records.
func (r *rig) recorded(serial int, metadata map[string]string) {
	r.t.Helper()
	r.after(1)
	_, err := r.inner.Put(r.t.Context(), ref.Key, strings.NewReader(body(serial, lineage, "a")), bucket.PutOptions{Metadata: metadata})
	if err != nil {
		r.t.Fatal(err)
	}
}

// under is what a writer records under a lock of rig.lock.
func under(id string) map[string]string {
	return map[string]string{
		"statelatch-lock-id": id, "statelatch-principal": id + "@host", "statelatch-run": "https://ci/" + id + "/1",
	}
}

func (r *rig) wantStoredBy(want ...string) []history.Entry {
	r.t.Helper()
	entries := r.list(0)
	if err := history.Attribute(r.t.Context(), r.Store, ref, entries); err != nil {
		r.t.Fatal(err)
	}
	for i, e := range entries {
		got, err := json.Marshal(struct {
			By       *history.StoredBy `json:"by"`
			Disputed bool              `json:"disputed"`
		}{e.StoredBy(), e.Disputed()})
		if err != nil {
			r.t.Fatal(err)
		}
		if i >= len(want) || string(got) != want[i] {
			r.t.Errorf("entry %d of %d, serial %d: got  %s\nwant %s", i, len(want), e.Header.Serial, got, want[min(i, len(want)-1)])
		}
	}
	return entries
}

// Recorded is told from concluded, and where they contradict each other, that is told.
func TestEntry_StoredBy(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.later(1, body(1, lineage, "without a lock"))
	r.after(1)
	r.lock("alice", 1)
	r.recorded(2, nil)            // an engine's
	r.recorded(3, under("alice")) // ours
	r.after(1)
	r.delete(ref.LockKey())
	r.after(1)
	r.lock("bob", 1)
	r.recorded(4, under("alice")) // late, or forged
	r.recorded(5, map[string]string{"statelatch-principal": "carol@host"})
	r.recorded(6, map[string]string{"statelatch-principal": "bob@host"})
	r.after(1)
	r.delete(ref.LockKey())
	r.recorded(7, map[string]string{"statelatch-principal": "carol@host"})
	r.after(1)
	r.delete(ref.Key)

	concluded := func(id string) string {
		return `{"by":{"basis":"concluded","who":"` + id + `@host","operation":"OperationTypeApply","lock_id":"` + id +
			`","run_url":"https://ci/` + id + `"},"disputed":false}`
	}
	const nothing = `{"by":null,"disputed":false}`
	r.wantStoredBy(
		nothing, // the delete
		`{"by":{"basis":"recorded","who":"carol@host"},"disputed":false}`,
		`{"by":{"basis":"recorded","who":"bob@host"},"disputed":false}`,
		`{"by":{"basis":"recorded","who":"carol@host"},"disputed":true}`,
		`{"by":{"basis":"recorded","who":"alice@host","lock_id":"alice","run_url":"https://ci/alice/1"},"disputed":true}`,
		`{"by":{"basis":"recorded","who":"alice@host","operation":"OperationTypeApply","lock_id":"alice",`+
			`"run_url":"https://ci/alice/1"},"disputed":false}`,
		concluded("alice"),
		nothing,
	)
}

// A fence is by who held the lock, and contradicts nothing: what is recorded with it is of the content.
func TestEntry_StoredBy_Touch(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.lock("alice", 1)
	r.recorded(1, nil)
	r.recorded(2, under("alice"))
	r.after(1)
	r.lock("bob took over", 1)
	r.after(1)
	if err := r.Touch(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	entries := r.list(0)
	if err := history.Attribute(t.Context(), r.Store, ref, entries); err != nil {
		t.Fatal(err)
	}
	touch := entries[0]
	if by := touch.StoredBy(); !touch.Unchanged || by.Basis != history.Concluded || by.LockID != "bob took over" || touch.Disputed() {
		t.Errorf("the touch: got %+v by %+v, disputed %t, want it to be bob's, and undisputed", touch, by, touch.Disputed())
	}
	if touch.Provenance.LockID != "alice" {
		t.Errorf("the content: got %+v, want it to be alice's still", touch.Provenance)
	}
	if by := entries[1].StoredBy(); by.Basis != history.Recorded || by.LockID != "alice" {
		t.Errorf("what was touched: got %+v, want it to be alice's", by)
	}

	// Seen alone it may be a touch or not: nobody says that it is disputed.
	v, err := r.Read(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := history.Place(t.Context(), r.Store, history.Entry{}, v)
	if err != nil {
		t.Fatal(err)
	}
	placed := []history.Entry{alone}
	if err := history.Attribute(t.Context(), r.Store, ref, placed); err != nil {
		t.Fatal(err)
	}
	if by := placed[0].StoredBy(); placed[0].Holder == nil || by.LockID != "alice" || placed[0].Disputed() {
		t.Errorf("alone: got %+v, disputed %t, want the content's writer", by, placed[0].Disputed())
	}
}

// A snapshot, of which no lock tells anything, keeps what is recorded.
func TestEntry_StoredBy_Snapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, false)
	r.recorded(1, under("alice"))
	r.write(body(2, lineage, "b"))
	r.wantStoredBy(
		`{"by":null,"disputed":false}`,
		`{"by":{"basis":"recorded","who":"alice@host","lock_id":"alice","run_url":"https://ci/alice/1"},"disputed":false}`,
	)
}

// What is recorded comes with the header: no request more.
func TestList_RecordedCostsNothing(t *testing.T) {
	t.Parallel()
	var counts []int
	for _, metadata := range []map[string]string{nil, under("alice")} {
		r := newRig(t, true)
		r.lock("alice", 1)
		for serial := range 20 {
			r.recorded(serial+1, metadata)
		}
		entries := r.list(0)
		if err := history.Attribute(t.Context(), r.Store, ref, entries); err != nil {
			t.Fatal(err)
		}
		if got := entries[0].Provenance != (state.Provenance{}); got != (metadata != nil) {
			t.Errorf("recorded: got %t, want %t", got, metadata != nil)
		}
		counts = append(counts, len(r.faulty.Requests()))
	}
	// Two listings for the versions, a header each, a listing and a GET for the lock.
	if want := 2 + 20 + 2; counts[0] != want || counts[1] != want {
		t.Errorf("requests without and with what is recorded: got %v, want %d of both", counts, want)
	}
}
