package history_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/history"
)

// after moves the clock.
func (r *rig) after(seconds int) { r.now = r.now.Add(time.Duration(seconds) * time.Second) }

// lock stores a lock object; a renewal has another nonce.
func (r *rig) lock(id string, renewal int) {
	r.t.Helper()
	info := statelatch.LockInfo{ID: id, Operation: "OperationTypeApply", Who: id + "@host", Created: r.now}
	r.put(ref.LockKey(), string(info.MarshalManaged(statelatch.Managed{
		Nonce: fmt.Sprint(renewal), Seq: uint64(renewal), Run: &statelatch.Run{URL: "https://ci/" + id},
	})))
}

func (r *rig) wantHolders(want ...string) []history.Entry {
	r.t.Helper()
	entries := r.list(0)
	if err := history.Attribute(r.t.Context(), r.Store, ref, entries); err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		who := ""
		if e.Holder != nil {
			who = e.Holder.ID
		}
		got = append(got, who)
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("holders, newest first: got %q, want %q", got, want)
	}
	return entries
}

func TestAttribute(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.lock("ancient", 1)
	r.after(1)
	r.delete(ref.LockKey())
	r.later(5, body(1, lineage, "nobody's"))
	r.after(5)
	r.lock("alice", 1)
	r.after(5)
	r.lock("alice", 2)
	r.later(0, body(2, lineage, "in the second of a renewal"))
	r.after(5)
	r.delete(ref.LockKey())
	r.later(5, body(3, lineage, "without a lock"))
	r.after(5)
	r.lock("bob", 1)
	r.later(5, body(4, lineage, "bob's"))
	r.later(1, body(5, lineage, "bob's or carol's"))
	r.delete(ref.LockKey())
	r.lock("carol", 1)
	r.later(1, body(6, lineage, "carol's"))
	r.after(1)
	r.lock("dave took over", 1)
	r.delete(ref.Key)
	r.later(5, body(7, lineage, "dave's"))
	r.put(ref.LockKey()+".bak", "{}")

	entries := r.wantHolders("dave took over", "", "carol", "", "bob", "", "alice", "")
	if h := entries[0].Holder; h.Who != "dave took over@host" || h.Operation != "OperationTypeApply" || h.Run == nil || h.Run.URL != "https://ci/dave took over" {
		t.Errorf("got %+v", h)
	}
}

// Of thousands of plans only the locks under which something was stored are read.
func TestAttribute_ReadsFewLocks(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	for i := range 200 {
		r.after(2)
		r.lock(fmt.Sprint("plan ", i), 1)
		r.after(2)
		if i == 150 {
			r.later(1, body(1, lineage, "a"))
			r.after(1)
		}
		r.delete(ref.LockKey())
	}
	entries := r.list(0)
	skip := len(r.faulty.Requests())
	if err := history.Attribute(t.Context(), r.Store, ref, entries); err != nil || entries[0].Holder == nil || entries[0].Holder.ID != "plan 150" {
		t.Fatalf("got %+v, %v", entries[0].Holder, err)
	}
	if n := len(r.faulty.Requests()) - skip; n != 2 {
		t.Errorf("got %d requests, want a listing and a GET", n)
	}
}

// Nobody is named where the lock's versions cannot be read, or are none.
func TestAttribute_Unknown(t *testing.T) {
	t.Parallel()
	r := newRig(t, true)
	r.put(ref.LockKey(), "not a lock")
	r.later(1, body(1, lineage, "a"))
	r.wantHolders("")

	for _, op := range []string{"list versions", "get"} {
		r = newRig(t, true)
		r.lock("alice", 1)
		r.later(1, body(1, lineage, "a"))
		r.wantHolders("alice")
		r.faulty.Add(faultbucket.Rule{
			Match: func(q faultbucket.Request) bool { return q.Op == op && q.Key == ref.LockKey() },
			Fault: faultbucket.Answer(403),
		})
		r.wantHolders("")
	}

	r = newRig(t, false)
	r.lock("alice", 1)
	r.write(body(1, lineage, "a"))
	r.write(body(2, lineage, "b"))
	r.wantHolders("", "")
}
