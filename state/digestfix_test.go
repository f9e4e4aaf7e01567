package state_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/state"
)

// digestItem is the digest as it is stored; ok is false where there is no item.
func digestItem(table *dynamotest.Table) (stored string, ok bool) {
	item, ok := table.Item(ref.DynamoDBDigestID())
	stored, _ = item["Digest"]["S"].(string)
	return stored, ok
}

func TestStore_FixDigest(t *testing.T) {
	t.Parallel()
	now := body(2, lineage, "x")
	for name, tc := range map[string]struct {
		state, digest string
		want          string // empty: no item
		changed       bool
	}{
		"stale":           {now, md5of(body(1, lineage, "x")), md5of(now), true},
		"malformed":       {now, "oops", md5of(now), true},
		"in step":         {now, strings.ToUpper(md5of(now)), strings.ToUpper(md5of(now)), false},
		"no state":        {absent, md5of(now), "", true},
		"zero bytes":      {"", md5of(now), "", true},
		"no item":         {now, "", "", false},
		"not even a JSON": {"oops", md5of(now), md5of("oops"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				table := dynamotest.NewTable("locks")
				r.Digests = table
				r.seed(t, tc.state)
				if tc.digest != "" {
					table.SetItem(dynamotest.StringItem(ref.DynamoDBDigestID(), "Digest", tc.digest))
				}
				shown, err := r.ReadDigest(t.Context(), ref)
				if err != nil {
					t.Fatalf("ReadDigest: %v", err)
				}
				if got := shown.InStep(); got == tc.changed {
					t.Errorf("InStep: got %v", got)
				}
				changed, err := r.FixDigest(t.Context(), holding(), shown)
				if err != nil || changed != tc.changed {
					t.Errorf("FixDigest: got %v, %v, want %v", changed, err, tc.changed)
				}
				if got, ok := digestItem(table); got != tc.want || ok != (tc.want != "") {
					t.Errorf("digest: got %q, want %q", got, tc.want)
				}
				if r.stored(t) != tc.state {
					t.Error("the state was changed")
				}
			})
		})
	}
}

// What is not as it was shown, and what cannot be told from a lock, is left alone.
func TestStore_FixDigest_LeftAlone(t *testing.T) {
	t.Parallel()
	old, now, newer := body(1, lineage, "x"), body(2, lineage, "x"), body(3, lineage, "x")
	for name, tc := range map[string]struct {
		meanwhile func(*testing.T, *rig, *dynamotest.Table, *tenure)
		want      error
	}{
		"the state changed": {func(t *testing.T, r *rig, _ *dynamotest.Table, _ *tenure) { t.Helper(); r.seed(t, newer) }, statelatch.ErrConflict},
		"the digest changed": {func(_ *testing.T, _ *rig, table *dynamotest.Table, _ *tenure) {
			table.SetItem(dynamotest.StringItem(ref.DynamoDBDigestID(), "Digest", md5of(newer)))
		}, statelatch.ErrConflict},
		"the lock was lost": {func(_ *testing.T, _ *rig, _ *dynamotest.Table, x *tenure) { x.verifyErr = statelatch.ErrLockLost }, statelatch.ErrLockLost},
		"the swap is refused": {func(_ *testing.T, _ *rig, table *dynamotest.Table, _ *tenure) {
			table.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Fault: dynamotest.Answer(400, "AccessDeniedException")})
		}, state.ErrDigestStale},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				table := r.withLockTable(t, old)
				r.seed(t, now)
				shown, err := r.ReadDigest(t.Context(), ref)
				if err != nil {
					t.Fatal(err)
				}
				x := holding()
				tc.meanwhile(t, r, table, x)
				before, _ := digestItem(table)
				_, err = r.FixDigest(t.Context(), x, shown)
				wantKind(t, "FixDigest", err, tc.want)
				if after, _ := digestItem(table); after != before {
					t.Errorf("digest: got %q, want it left at %q", after, before)
				}
			})
		})
	}
	t.Run("an item without Digest", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig()
			table := dynamotest.NewTable("locks")
			r.Digests = table
			table.SetItem(dynamotest.StringItem(ref.DynamoDBDigestID(), "Info", "a lock of the key "+ref.Key+"-md5"))
			shown, err := r.ReadDigest(t.Context(), ref)
			if err != nil || !shown.Malformed() || shown.InStep() {
				t.Fatalf("ReadDigest: %+v, %v", shown, err)
			}
			_, err = r.FixDigest(t.Context(), holding(), shown)
			wantKind(t, "FixDigest", err, statelatch.ErrUnsupported)
			if _, ok := digestItem(table); !ok {
				t.Error("the item is gone")
			}
		})
	})
}

// A digest that lags behind its state only while a writer works is not stale.
func TestStore_ReadDigest_WriterUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		table := r.withLockTable(t, body(1, lineage, "x"))
		next := body(2, lineage, "x")
		r.seed(t, next)
		read := make(chan state.DigestReading)
		go func() {
			got, err := r.ReadDigest(t.Context(), ref)
			if err != nil {
				t.Errorf("ReadDigest: %v", err)
			}
			read <- got
		}()
		synctest.Wait() // it pauses, because they differ
		table.SetItem(dynamotest.StringItem(ref.DynamoDBDigestID(), "Digest", md5of(next)))
		if got := <-read; !got.InStep() || got.Stored != md5of(next) {
			t.Errorf("got %+v, want it in step", got)
		}
	})
}
