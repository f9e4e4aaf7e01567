package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/lock"
)

// listed is a lock table that can be listed: it names what it is told to, in no order.
type listed struct {
	*dynamotest.Table
	ids []string
	err error
}

func (l listed) LockIDs(_ context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, id := range slices.Backward(l.ids) {
			if strings.HasPrefix(id, prefix) && !yield(id, nil) {
				return
			}
		}
		if l.err != nil {
			yield("", l.err)
		}
	}
}

// yard is a bucket with locks in it and a table beside it.
type yard struct {
	t     *testing.T
	store *faultbucket.Bucket
	table listed
}

func newYard(t *testing.T) *yard {
	t.Helper()
	return &yard{
		t:     t,
		store: faultbucket.New(membucket.New("b", membucket.Options{}), faultbucket.Options{}),
		table: listed{Table: dynamotest.NewTable("locks")},
	}
}

func info(id string) statelatch.LockInfo {
	return statelatch.LockInfo{ID: id, Who: "who@host", Operation: "OperationTypeApply", Created: time.Unix(0, 0)}
}

func (y *yard) object(key string, body []byte) {
	y.t.Helper()
	if _, err := y.store.Put(y.t.Context(), key, strings.NewReader(string(body)), bucket.PutOptions{}); err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) plain(key, id string) { y.t.Helper(); y.object(key+".tflock", info(id).Marshal()) }

func (y *yard) managed(key, id string, m statelatch.Managed) {
	y.t.Helper()
	m.Nonce = "n" + id
	y.object(key+".tflock", info(id).MarshalManaged(m))
}

func (y *yard) item(key, id string) {
	y.table.SetItem(dynamotest.StringItem("b/"+key, "Info", string(info(id).Marshal())))
	y.table.ids = append(y.table.ids, "b/"+key)
}

// locks lists a scope of the bucket, one line a lock.
func (y *yard) locks(ctx context.Context, prefix string) ([]string, LockList) {
	y.t.Helper()
	m := &lock.Manager{Bucket: y.store, Tier: lock.TierFull}
	if y.table.ids != nil || y.table.err != nil {
		m.Table = y.table
	}
	list, err := Locks(ctx, m, statelatch.Scope{Bucket: "b", Prefix: prefix}, LockOptions{WorkspacePrefix: "env:"})
	if err != nil {
		y.t.Fatalf("Locks: %v", err)
	}
	var lines []string
	for _, l := range list.Locks {
		seen := ""
		if l.ETag != "" {
			seen = "object"
		}
		if l.Item != nil {
			seen = strings.Trim(seen+"+item", "+")
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", l.Ref.Key, l.Kind, l.Verdict.State, seen, l.Info.ID)))
	}
	return lines, list
}

func TestLocks_Scopes(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.plain("team/a", "1")
	y.plain("env:/staging/team/a", "2")
	y.plain("teamwork", "3")
	y.plain("team/a/b c", "4")
	y.managed("team/z", "5", statelatch.Managed{TTL: time.Hour})
	y.object("team/a", []byte(`{"version":4}`))
	y.object("team/x.tflock/y", nil)
	y.object(statelatch.ProbePrefix+"team.tflock", nil)
	for prefix, want := range map[string][]string{
		"": {
			"env:/staging/team/a plain unknown object 2", "team/a plain unknown object 1", "team/a/b c plain unknown object 4",
			"team/z managed live object 5", "teamwork plain unknown object 3",
		},
		"team": {
			"env:/staging/team/a plain unknown object 2", "team/a plain unknown object 1", "team/a/b c plain unknown object 4",
			"team/z managed live object 5",
		},
		"team/z": {"team/z managed live object 5"},
		"other":  nil,
	} {
		if got, _ := y.locks(t.Context(), prefix); !cmp.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", prefix, got, want)
		}
	}
}

// B20: lock object and item of one holder are one lock, anything else is shown as half a lock.
func TestLocks_B20_HalfLocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t)
		y.plain("app/both", "1")
		y.item("app/both", "1")
		y.plain("app/file", "2")
		y.item("app/table", "3")
		y.plain("app/two", "4")
		y.item("app/two", "5")
		y.managed("app/half", "6", statelatch.Managed{TTL: time.Hour, Table: "locks"})
		y.managed("app/whole", "7", statelatch.Managed{TTL: time.Hour, Table: "locks"})
		y.item("app/whole", "7")
		y.managed("app/took-over", "8", statelatch.Managed{TTL: time.Hour, PrevID: "9"})
		y.item("app/took-over", "9")
		y.object("app/unreadable.tflock", nil)
		y.item("another", "10")
		y.table.SetItem(dynamotest.StringItem("b/app/both-md5", "Digest", "0"))
		y.table.ids = append(y.table.ids, "b/app/gone", "b/app/both-md5", "other/app/both")
		got, list := y.locks(t.Context(), "app")
		want := []string{
			"app/both plain unknown object+item 1",
			"app/file plain unknown object 2",
			"app/half half live object 6",
			"app/table dynamodb unknown item 3",
			"app/took-over managed live object+item 8",
			"app/two half unknown object 4",
			"app/two half unknown item 5",
			"app/unreadable unreadable unknown object",
			"app/whole managed live object+item 7",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		for i, words := range map[int]string{0: "", 1: "no item", 2: "item in the DynamoDB table is gone", 3: "no lock object", 5: "another", 6: "another"} {
			if half := list.Locks[i].Half; !strings.Contains(half, words) || (half == "") != (words == "") {
				t.Errorf("%s: got half %q, want %q", got[i], half, words)
			}
		}
	})
}

// What is just being taken or released is no half lock: one half comes after the other.
func TestLocks_B20_InBetween(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t)
		y.managed("app", "1", statelatch.Managed{TTL: time.Hour, Table: "locks"})
		y.table.ids = []string{"b/app"}
		go func() {
			time.Sleep(100 * time.Millisecond)
			y.table.SetItem(dynamotest.StringItem("b/app", "Info", string(info("1").Marshal())))
		}()
		if got, _ := y.locks(t.Context(), ""); !cmp.Equal(got, []string{"app managed live object+item 1"}) {
			t.Errorf("got %q, want the whole lock", got)
		}
	})
}

func TestLocks_FailuresAreRows(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	for i := range 5 {
		y.plain(fmt.Sprint(i), fmt.Sprint("id", i))
	}
	y.store.Add(
		faultbucket.Rule{Op: faultbucket.OpGet, Key: "1.tflock", Fault: faultbucket.Answer(403)},
		faultbucket.Rule{Op: faultbucket.OpGet, Key: "2.tflock", Fault: faultbucket.Answer(404)}, // released meanwhile
		faultbucket.Rule{Op: faultbucket.OpGet, Key: "3.tflock", Fault: faultbucket.LoseReply()},
	)
	got, list := y.locks(t.Context(), "")
	want := []string{"0 plain unknown object id0", "1 unreadable unknown", "3 unreadable unknown", "4 plain unknown object id4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
	if !errors.Is(list.Locks[1].Unread, statelatch.ErrDenied) || !errors.Is(list.Locks[2].Unread, statelatch.ErrBroken) {
		t.Errorf("got %v and %v, want denied and broken", list.Locks[1].Unread, list.Locks[2].Unread)
	}

	y.store.Add(faultbucket.Rule{Op: faultbucket.OpList, Fault: faultbucket.Answer(403)})
	_, err := Locks(t.Context(), &lock.Manager{Bucket: y.store, Tier: lock.TierFull}, statelatch.Scope{Bucket: "b"}, LockOptions{})
	if !errors.Is(err, statelatch.ErrDenied) {
		t.Errorf("a listing that is denied: got %v, want ErrDenied", err)
	}
}

// Engines need no right to list the table, and a table that cannot be read hides no lock object.
func TestLocks_TableDenied(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.plain("a", "1")
	y.table.err = &statelatch.StoreError{Kind: statelatch.ErrDenied}
	y.table.Add(dynamotest.Rule{Op: dynamotest.OpGetItem, Fault: dynamotest.Answer(400, "AccessDeniedException")})
	got, list := y.locks(t.Context(), "")
	if !cmp.Equal(got, []string{"a plain unknown object 1"}) || !errors.Is(list.Unlisted, statelatch.ErrDenied) ||
		!errors.Is(list.Locks[0].ItemUnread, statelatch.ErrDenied) || list.Locks[0].Half != "" {
		t.Errorf("got %q, %+v, want the lock object, and that the table was not looked at", got, list)
	}
}

// A lock's age is the store's: what its Created says, and this machine's clock, do not matter (B7).
func TestLocks_B7_Age(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t)
		y.managed("a", "1", statelatch.Managed{TTL: time.Minute})
		time.Sleep(66 * time.Second)
		_, list := y.locks(t.Context(), "")
		if l := list.Locks[0]; l.Age != 66*time.Second || l.Verdict.State != evidence.Stale {
			t.Errorf("got age %v, %+v, want 66s and stale", l.Age, l.Verdict)
		}
	})
}

func TestLocks_Cancelled(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.plain("a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	y.store.Add(faultbucket.Rule{Op: faultbucket.OpGet, Match: func(faultbucket.Request) bool { cancel(); return false }})
	if _, err := Locks(ctx, &lock.Manager{Bucket: y.store, Tier: lock.TierFull}, statelatch.Scope{Bucket: "b"}, LockOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
}
