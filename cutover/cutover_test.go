package cutover_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/cutover"
	"github.com/statelatch/statelatch/digest"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/migrate"
	"github.com/statelatch/statelatch/probe/verdict"
	"github.com/statelatch/statelatch/site"
)

const (
	inTable  = `    dynamodb_table = "locks"`
	inBoth   = "    use_lockfile = true\n" + inTable
	inObject = "    use_lockfile = true"
)

// rig is a bucket "demo", a table "locks", and the way to both.
type rig struct {
	t     *testing.T
	table *dynamotest.Server
	site  *site.Site
}

func newRig(t *testing.T) *rig {
	t.Helper()
	srv, err := embedded.Open(embedded.Config{Dir: t.TempDir(), AccessKeyID: "key", SecretAccessKey: "secret-key"})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	store := httptest.NewServer(srv.Handler())
	r := &rig{t: t, table: dynamotest.NewServer("locks")}
	table := httptest.NewServer(r.table)
	t.Cleanup(func() {
		table.Close()
		store.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	r.site, err = site.Open(t.Context(), "s3://demo", site.Options{
		BackendConfig: []string{
			"access_key=key", "secret_key=secret-key", "region=us-east-1", "dynamodb_table=locks",
			"dynamodb_endpoint=" + table.URL,
		},
		Endpoint: store.URL, Getenv: func(string) string { return "" }, Verdicts: verdict.Keeper{Trust: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tree is one of roots with the same arguments; the state of each is at NAME/s.
func (r *rig) tree(arguments string, names ...string) *migrate.Tree {
	r.t.Helper()
	dir := r.t.TempDir()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			r.t.Fatal(err)
		}
		text := fmt.Sprintf("terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    bucket = \"demo\"\n    key = \"%s/s\"\n%s\n  }\n}\n", name, arguments)
		if err := os.WriteFile(filepath.Join(dir, name, "main.tf"), []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	tree, err := migrate.Scan(r.t.Context(), dir, migrate.Options{})
	if err != nil || len(tree.Roots) != len(names) {
		r.t.Fatalf("%d roots, %v", len(tree.Roots), err)
	}
	return tree
}

func (r *rig) put(key, body string) {
	r.t.Helper()
	if _, err := r.site.Bucket.Put(r.t.Context(), key, strings.NewReader(body), bucket.PutOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func body(serial int) string {
	return fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":"l","outputs":{},"resources":[{"mode":"managed"}]}`, serial)
}

func md5Of(body string) string {
	sum := md5.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}

// digest stores that of a body for a state.
func (r *rig) digest(key, body string) {
	r.table.SetItem("locks", dynamotest.StringItem("demo/"+key+"-md5", "Digest", md5Of(body)))
}

var foreign = statelatch.LockInfo{ID: "11111111-2222-3333-4444-555555555555", Operation: "OperationTypeApply", Who: "ann@elsewhere", Version: "1.10.0", Path: "demo/a/s"}

func (r *rig) item(key string) {
	r.table.SetItem("locks", dynamotest.StringItem("demo/"+key, "Info", string(foreign.Marshal())))
}

func (r *rig) has(id string) bool {
	_, ok := r.table.Item("locks", "demo/"+id)
	return ok
}

func (r *rig) open(context.Context, *migrate.Root, statelatch.Ref) (*site.Site, error) {
	return r.site, nil
}

// part is the only one of a tree in phase 2 with the roots a and b.
func (r *rig) part() *cutover.Part {
	r.t.Helper()
	parts, err := cutover.Parts(r.t.Context(), r.tree(inObject, "a", "b"), r.open)
	if err != nil || len(parts) != 1 || !slices.Equal(parts[0].Roots, []string{"a/s", "b/s"}) {
		r.t.Fatalf("got %+v, %v, want one part with both", parts, err)
	}
	return parts[0]
}

func (r *rig) plan(opts cutover.PlanOptions) *cutover.Part {
	r.t.Helper()
	p := r.part()
	if err := p.Plan(r.t.Context(), opts); err != nil {
		r.t.Fatal(err)
	}
	return p
}

func TestInUse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for arguments, want := range map[string][2]int{inTable: {2, 0}, inBoth: {2, 0}, inObject: {0, 0}, `    dynamodb_table = var.x`: {2, 0}} {
		used, unknown := cutover.InUse(r.tree(arguments, "a", "b"))
		if len(used) != want[0] || len(unknown) != want[1] {
			t.Errorf("%q: %q are in use, %q unknown, want %v", arguments, used, unknown, want)
		}
	}
}

func TestParts_FailsAsOpenDoes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := cutover.Parts(t.Context(), r.tree(inObject, "a"), func(context.Context, *migrate.Root, statelatch.Ref) (*site.Site, error) {
		return nil, statelatch.ErrDenied
	})
	if !errors.Is(err, statelatch.ErrDenied) {
		t.Errorf("got %v", err)
	}
}

// What is planned is of the part's roots and their workspaces alone.
func TestPart_Plan_Covers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, key := range []string{"a/s", "env:/w/a/s", "b/s", "c/s", "env:/w/c/s"} {
		r.put(key, body(3))
		r.digest(key, body(3))
	}
	r.item("b/s")
	r.item("c/s")
	p := r.plan(cutover.PlanOptions{})
	var keys []string
	for _, f := range p.Digests {
		keys = append(keys, f.Ref.Key)
	}
	slices.Sort(keys)
	if !slices.Equal(keys, []string{"a/s", "b/s", "env:/w/a/s"}) || len(p.Items) != 1 || p.Items[0].Ref.Key != "b/s" {
		t.Errorf("got digests %q and items %v", keys, p.Items)
	}
	if len(p.Unproven()) != 1 || p.Planned() != 4 {
		t.Errorf("%d of %d need a person's word, want 1 of 4", len(p.Unproven()), p.Planned())
	}
}

// While somebody uses the table nothing is planned.
func TestPart_Plan_Refuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before func(*rig)
		says   string
	}{
		"held in both": {func(r *rig) { r.item("a/s"); r.put("a/s.tflock", string(foreign.Marshal())) }, "both places"},
		"an odd item": {func(r *rig) {
			r.table.SetItem("locks", dynamotest.StringItem("demo/a/s", "Note", "x"))
		}, "no Info"},
	} {
		r := newRig(t)
		tc.before(r)
		err := r.part().Plan(t.Context(), cutover.PlanOptions{})
		if !errors.Is(err, statelatch.ErrLocked) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got %v, want who holds it, and %q", name, err, tc.says)
		}
	}
	r := newRig(t)
	r.put("a/s.tflock", string(foreign.Marshal())) // by a client of phase 2
	if p := r.plan(cutover.PlanOptions{}); p.Planned() != 0 {
		t.Errorf("%d are planned, want none", p.Planned())
	}
}

// A digest that shows that a state was rolled back stays, unless a person accepts it.
func TestPart_Plan_Suspicious(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put("a/s", body(3))
	r.put("a/s", body(2))
	r.digest("a/s", body(3))
	p := r.plan(cutover.PlanOptions{Doubt: func(_ *cutover.Part, f digest.Finding) string { return "look at " + f.Ref.Key }})
	if p.Planned() != 0 || len(p.Left) != 1 || !strings.Contains(p.Left[0].Why, "look at a/s; -accept") {
		t.Errorf("%d are planned, left is %+v", p.Planned(), p.Left)
	}
	if p = r.plan(cutover.PlanOptions{Accept: true}); p.Planned() != 1 || len(p.Left) != 0 {
		t.Errorf("accepted: %d are planned, left is %+v", p.Planned(), p.Left)
	}
}

// What changed since it was looked at stays; what is gone is gone, though the answer was lost; what may not be removed
// is named, and a second run goes on behind it.
func TestPart_Remove(t *testing.T) {
	t.Parallel()
	seeded := func() *rig {
		r := newRig(t)
		for _, key := range []string{"a/s", "b/s"} {
			r.put(key, body(3))
			r.digest(key, body(3))
		}
		return r
	}

	r := seeded()
	r.item("a/s")
	p := r.plan(cutover.PlanOptions{})
	r.digest("b/s", body(9))
	var done []int
	var told []cutover.Left
	removed, err := p.Remove(t.Context(), func(n int) { done = append(done, n) }, func(l cutover.Left) { told = append(told, l) })
	if err != nil || !slices.Equal(removed.Locks, []string{"a/s"}) || !slices.Equal(removed.Digests, []string{"a/s"}) ||
		!slices.Equal(done, []int{1, 2}) {
		t.Errorf("removed %+v, told %v, %v", removed, done, err)
	}
	if len(told) != 1 || told[0].Key != "b/s" || !slices.Equal(told, p.Left) || !r.has("b/s-md5") || r.has("a/s") || r.has("a/s-md5") {
		t.Errorf("left is %+v, told %+v, want b alone, and it in the table", p.Left, told)
	}
	if n, err := p.Remaining(t.Context()); n != 1 || err != nil {
		t.Errorf("%d remain, %v, want 1", n, err)
	}

	r = seeded()
	p = r.plan(cutover.PlanOptions{})
	r.table.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Nth: 1, Fault: dynamotest.LoseReply()})
	if removed, err = p.Remove(t.Context(), nil, nil); err != nil || len(removed.Digests) != 2 {
		t.Errorf("an answer is lost: removed %+v, %v", removed, err)
	}

	r = seeded()
	p = r.plan(cutover.PlanOptions{})
	r.table.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Nth: 2, Fault: dynamotest.Answer(400, "AccessDeniedException")})
	removed, err = p.Remove(t.Context(), nil, nil)
	if !errors.Is(err, statelatch.ErrDenied) || !strings.Contains(err.Error(), "s3://demo/"+p.Digests[1].Ref.Key) || len(removed.Digests) != 1 {
		t.Errorf("denied: removed %+v, %v", removed, err)
	}
	if p = r.plan(cutover.PlanOptions{}); p.Planned() != 1 {
		t.Errorf("%d are left to do, want 1", p.Planned())
	}
}

func TestPart_TableRights(t *testing.T) {
	t.Parallel()
	p := newRig(t).part()
	doc, err := p.TableRights("us-east-1")
	if err != nil || len(doc.Statement) != 1 || !slices.Contains(doc.Statement[0].Action, "dynamodb:DescribeTable") ||
		!slices.Contains(doc.Statement[0].Action, "dynamodb:DeleteItem") {
		t.Fatalf("got %+v, %v", doc, err)
	}
	for _, action := range doc.Statement[0].Action {
		if !strings.HasPrefix(action, "dynamodb:") {
			t.Errorf("%s is no right on a table", action)
		}
	}
}

// verify holds a tree of the root a against the rig.
func (r *rig) verify(arguments string, change func(*cutover.Verifier)) cutover.Root {
	r.t.Helper()
	tree := r.tree(arguments, "a")
	var plans [2]*migrate.Plan
	for i := range plans {
		var err error
		if plans[i], err = tree.Plan(i + 1); err != nil {
			r.t.Fatal(err)
		}
	}
	v := cutover.Verifier{
		Open:      r.open,
		Prove:     func(context.Context, *site.Site) (lock.Tier, error) { return lock.TierFull, nil },
		FixDigest: func(_ *site.Site, ref statelatch.Ref) string { return "fix " + ref.Key },
	}
	if change != nil {
		change(&v)
	}
	roots, err := v.Verify(r.t.Context(), tree, plans)
	if err != nil || len(roots) != 1 {
		r.t.Fatalf("%d roots, %v", len(roots), err)
	}
	return roots[0]
}

func TestVerifier_Verify(t *testing.T) {
	t.Parallel()
	object := func(r *rig) { r.put("a/s.tflock", string(foreign.Marshal())) }
	for name, tc := range map[string]struct {
		arguments string
		before    func(*rig)
		change    func(*cutover.Verifier)
		want      cutover.Verdict
		says      string // in the way; empty: nothing is
	}{
		"phase 0":                {inTable, func(*rig) {}, nil, cutover.ReadyForPhase1, ""},
		"phase 1":                {inBoth, func(*rig) {}, nil, cutover.ReadyForPhase2, ""},
		"phase 2":                {inObject, func(*rig) {}, nil, cutover.Done, ""},
		"held in both, phase 1":  {inBoth, func(r *rig) { object(r); r.item("a/s") }, nil, cutover.ReadyForPhase2, ""},
		"held in both, phase 2":  {inObject, func(r *rig) { object(r); r.item("a/s") }, nil, cutover.NotReady, "still in phase 1"},
		"table alone, phase 1":   {inBoth, func(r *rig) { r.item("a/s") }, nil, cutover.NotReady, "still in phase 0"},
		"object alone, phase 0":  {inTable, object, nil, cutover.NotReady, "the lock object alone"},
		"digest of other bytes":  {inBoth, func(r *rig) { r.digest("a/s", body(2)) }, nil, cutover.NotReady, "fix a/s"},
		"digest left in phase 2": {inObject, func(r *rig) { r.digest("a/s", body(2)) }, nil, cutover.Done, ""},
		"another root's digest":  {inBoth, func(r *rig) { r.digest("c/s", body(2)) }, nil, cutover.ReadyForPhase2, ""},
		"a workspace's digest":   {inBoth, func(r *rig) { r.put("env:/w/a/s", body(1)); r.digest("env:/w/a/s", body(2)) }, nil, cutover.NotReady, "env:/w/a/s is not in step"},
		"a store that locks none": {inBoth, func(*rig) {}, func(v *cutover.Verifier) {
			v.Prove = func(context.Context, *site.Site) (lock.Tier, error) { return lock.TierNone, statelatch.ErrUnsafeStore }
		}, cutover.NotReady, statelatch.ErrUnsafeStore.Error()},
		"out of reach": {inBoth, func(*rig) {}, func(v *cutover.Verifier) {
			v.Open = func(context.Context, *migrate.Root, statelatch.Ref) (*site.Site, error) {
				return nil, statelatch.ErrDenied
			}
		}, cutover.NotReady, "cannot be reached"},
		"the table cannot be listed": {inBoth, func(r *rig) {
			r.table.Add(dynamotest.Rule{Op: dynamotest.OpScan, Fault: dynamotest.Answer(400, "AccessDeniedException")})
		}, nil, cutover.NotReady, "the table cannot be listed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.put("a/s", body(3))
			tc.before(r)
			got := r.verify(tc.arguments, tc.change)
			if says := strings.Join(got.InTheWay, "\n"); got.Verdict != tc.want || !strings.Contains(says, tc.says) || (tc.says == "") != (says == "") {
				t.Errorf("got %q, in the way %q, want %q, %q", got.Verdict, says, tc.want, tc.says)
			}
		})
	}
}

// Half a lock that is only half for an instant is in nobody's way.
func TestVerifier_Verify_HalfForAnInstant(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		look int // at the item, that finds it changed: the second is behind the listing
		then func(context.Context, *rig) error
	}{
		"released": {2, func(ctx context.Context, r *rig) error {
			return r.site.Table.Unlock(ctx, statelatch.Ref{Bucket: "demo", Key: "a/s"}, string(foreign.Marshal()))
		}},
		"taken": {1, func(ctx context.Context, r *rig) error {
			_, err := r.site.Bucket.Put(ctx, "a/s.tflock", strings.NewReader(string(foreign.Marshal())), bucket.PutOptions{})
			return err
		}},
	} {
		r := newRig(t)
		r.put("a/s", body(3))
		r.item("a/s")
		looked, changed := make(chan struct{}), make(chan struct{})
		looks := 0
		r.table.Add(dynamotest.Rule{
			Op: dynamotest.OpGetItem, LockID: "demo/a/s", Nth: tc.look, Fault: dynamotest.Hold(changed),
			Match: func(dynamotest.Request) bool {
				if looks++; looks == tc.look {
					close(looked)
				}
				return true
			},
		})
		go func() {
			defer close(changed)
			<-looked
			if err := tc.then(context.WithoutCancel(t.Context()), r); err != nil {
				t.Error(err)
			}
		}()
		if got := r.verify(inBoth, nil); got.Verdict != cutover.ReadyForPhase2 || len(got.Locks) != 1 {
			t.Errorf("%s: got %q, in the way %v, locks %v, want the lock seen, and nothing in the way", name, got.Verdict, got.InTheWay, got.Locks)
		}
	}
}
