package state_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/state"
)

// withLockTable stores base and gives the rig a whole table, whose digest is of base.
func (r *rig) withLockTable(t *testing.T, base string) *dynamotest.Table {
	t.Helper()
	table := dynamotest.NewTable("locks")
	r.Digests = table
	r.seed(t, base)
	table.SetItem(dynamotest.StringItem(ref.DynamoDBDigestID(), "Digest", md5of(base)))
	return table
}

// wantDigest checks that the table holds the digest of what is stored.
func wantDigest(t *testing.T, r *rig, table *dynamotest.Table) {
	t.Helper()
	want := ""
	if content := r.stored(t); content != absent {
		want = md5of(content)
	}
	item, _ := table.Item(ref.DynamoDBDigestID())
	if got, _ := item["Digest"]["S"].(string); got != want {
		t.Errorf("digest: got %q, the state's is %q", got, want)
	}
}

// newer are those who come when the lease of a writer that does not answer is over.
var newer = map[string]func(*testing.T, *rig, *dynamotest.Table){
	"nobody comes": func(*testing.T, *rig, *dynamotest.Table) {},
	"touched": func(t *testing.T, r *rig, _ *dynamotest.Table) {
		t.Helper()
		fence(t, r)
	},
	"written": func(t *testing.T, r *rig, _ *dynamotest.Table) {
		t.Helper()
		fence(t, r)
		if _, err := write(t, r.begin(t, holding()), body(3, lineage, "newer"), opts()); err != nil {
			t.Errorf("the newer Write: %v", err)
		}
	},
	"written by an engine": func(t *testing.T, r *rig, table *dynamotest.Table) {
		t.Helper()
		content := body(3, lineage, "newer")
		r.seed(t, content)
		table.SetItem(dynamotest.StringItem(ref.DynamoDBDigestID(), "Digest", md5of(content)))
	},
}

// W22: a writer stops after its state, before any of the requests that bring the table in step, and goes on when
// somebody newer has come. The digest is that of the state, whoever wrote it.
func TestSession_Write_W22_StoppedBeforeTheDigest(t *testing.T) {
	t.Parallel()
	for name, come := range newer {
		for held, request := range []string{"swap", "read", "second swap"} {
			t.Run(name+" before the "+request, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRig()
					table := r.withLockTable(t, body(1, lineage, "x"))
					x := r.begin(t, holding())
					goOn := make(chan struct{})
					if held > 0 {
						table.Add(dynamotest.Rule{Nth: 1, Fault: dynamotest.Throttle()})
					}
					table.Add(dynamotest.Rule{Nth: held + 1, Fault: dynamotest.Hold(goOn)})
					result := make(chan error)
					go func() {
						_, err := write(t, x, body(2, lineage, "ours"), opts())
						result <- err
					}()
					time.Sleep(time.Second) // it waits for goOn
					come(t, r, table)
					close(goOn)
					if err := <-result; err != nil {
						t.Errorf("Write: %v", err)
					}
					wantDigest(t, r, table)
				})
			})
		}
	}
}

// W22: what the network holds back of a swap can do no harm, whenever it comes.
func TestSession_Write_W22_LateDigest(t *testing.T) {
	t.Parallel()
	for name, come := range newer {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				table := r.withLockTable(t, body(1, lineage, "x"))
				x := r.begin(t, holding())
				table.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Fault: dynamotest.Late(dynamotest.Held)})
				_, err := write(t, x, body(2, lineage, "ours"), opts())
				wantKind(t, "Write", err, state.ErrDigestStale)
				table.Heal()
				come(t, r, table)
				if table.Deliver() < 2 {
					t.Error("it was not tried again")
				}
				wantDigest(t, r, table)
			})
		})
	}
}

// A swap of an older holder comes between the read of a touch and its swap.
func TestStore_Touch_LateDigestBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		table := r.withLockTable(t, body(1, lineage, "x"))
		x := r.begin(t, holding())
		table.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Fault: dynamotest.Late(dynamotest.Held)})
		_, err := write(t, x, body(2, lineage, "ours"), opts())
		wantKind(t, "Write", err, state.ErrDigestStale)
		table.Heal()
		goOn := make(chan struct{})
		table.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Nth: 1, Fault: dynamotest.Hold(goOn)})
		result := make(chan error)
		go func() { result <- r.Touch(t.Context(), ref) }()
		synctest.Wait()
		table.Deliver()
		close(goOn)
		if err := <-result; err != nil {
			t.Errorf("Touch: %v", err)
		}
		wantDigest(t, r, table)
	})
}

// A swap that was done, but not answered, is recognised, and not sent again.
func TestSession_Write_W22_DigestReplyLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		table := r.withLockTable(t, body(1, lineage, "x"))
		x := r.begin(t, holding())
		table.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Limit: 1, Fault: dynamotest.LoseReply()})
		if _, err := write(t, x, body(2, lineage, "ours"), opts()); err != nil {
			t.Errorf("Write: %v", err)
		}
		wantDigest(t, r, table)
		wantRequests(t, r, 0, "get", "put If-Match")
		if n := table.Count(dynamotest.OpPutItem, ""); n != 1 {
			t.Errorf("got %d swaps, want 1", n)
		}
	})
}

// Whatever the item holds is swapped as it was read. Only a value that no condition can name is left to a person.
func TestSession_Write_OddDigest(t *testing.T) {
	t.Parallel()
	base := body(1, lineage, "x")
	for name, tc := range map[string]struct {
		digest dynamotest.Attribute // nil: the item has none
		want   error
	}{
		"no MD5":     {dynamotest.Attribute{"S": "oops"}, nil},
		"other case": {dynamotest.Attribute{"S": strings.ToUpper(md5of(base))}, nil},
		"missing":    {nil, nil},
		"a number":   {dynamotest.Attribute{"N": "1"}, state.ErrDigestStale},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				table := r.withLockTable(t, base)
				item := dynamotest.Item{"LockID": {"S": ref.DynamoDBDigestID()}}
				if tc.digest != nil {
					item["Digest"] = tc.digest
				}
				table.SetItem(item)
				x := r.begin(t, holding())
				_, err := write(t, x, body(2, lineage, "ours"), opts())
				if !errors.Is(err, tc.want) || errors.Is(err, statelatch.ErrPreconditionFailed) {
					t.Errorf("Write: got %v, want %v, and no word of the state's condition", err, tc.want)
				}
				if tc.want != nil {
					return
				}
				wantDigest(t, r, table)
				if n := table.Count(dynamotest.OpPutItem, ""); n != 1 {
					t.Errorf("got %d swaps, want 1", n)
				}
			})
		})
	}
}

// A delete stops before it removes the digest, and the workspace is created again meanwhile, over what is left of the digest.
func TestWorkspaces_Delete_RecreatedBeforeTheDigest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		w, lock := workspace(t, r)
		lock.ref = ref
		w.Key = strings.TrimPrefix(ref.Key, "app/")
		w.Prefix = ""
		table := r.withLockTable(t, body(1, lineage, ""))
		x := r.begin(t, lock)
		goOn := make(chan struct{})
		table.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Nth: 1, Fault: dynamotest.Hold(goOn)})
		result := make(chan error)
		go func() { result <- w.Delete(t.Context(), x, false) }()
		synctest.Wait()
		if _, err := r.New(t.Context(), ref, state.Provenance{}); err != nil {
			t.Errorf("New: %v", err)
		}
		close(goOn)
		if err := <-result; err != nil {
			t.Errorf("Delete: %v", err)
		}
		wantDigest(t, r, table)
	})
}
