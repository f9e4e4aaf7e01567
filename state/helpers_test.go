package state_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/state"
)

var ref = statelatch.Ref{Bucket: "b", Key: "app/terraform.tfstate"}

const lineage = "11111111-2222-3333-4444-555555555555"

// body is a state with resources, or without if names is empty.
func body(serial int, lineage, names string) string {
	var resources []string
	for name := range strings.FieldsSeq(names) {
		resources = append(resources, fmt.Sprintf(`{"mode":"managed","name":%q}`, name))
	}
	return fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":%q,"outputs":{},"resources":[%s],"check_results":null}`+"\n",
		serial, lineage, strings.Join(resources, ","))
}

// old is a state of format 3, of Terraform before 0.12.
func old(serial int, lineage, resources string) string {
	return fmt.Sprintf(`{"version":3,"terraform_version":"0.11.14","serial":%d,"lineage":%q,"modules":[{"path":["root"],"outputs":{},"resources":{%s},"depends_on":[]}]}`,
		serial, lineage, resources)
}

func encrypted(serial int, lineage, data string) string {
	return fmt.Sprintf(`{"serial":%d,"lineage":%q,"meta":{},"encrypted_data":%q,"encryption_version":"v0"}`, serial, lineage, data)
}

// rig is a store over a bucket in memory that can misbehave.
type rig struct {
	*state.Store
	bucket *faultbucket.Bucket
	inner  *membucket.Bucket
}

func newRig(rules ...faultbucket.Rule) *rig {
	return rigOn(membucket.New("b", membucket.Options{Versioned: true}), rules...)
}

// newPlainRig is a store that makes snapshots, over a bucket that keeps no versions.
func newPlainRig(rules ...faultbucket.Rule) *rig {
	r := rigOn(membucket.New("b", membucket.Options{}), rules...)
	r.Snapshots = true
	return r
}

func rigOn(inner *membucket.Bucket, rules ...faultbucket.Rule) *rig {
	faulty := faultbucket.New(inner, faultbucket.Options{Rules: rules})
	return &rig{&state.Store{Bucket: faulty}, faulty, inner}
}

// kept returns the contents of the snapshots, oldest first.
func (r *rig) kept(tb testing.TB) []string {
	tb.Helper()
	var kept []string
	for obj, err := range r.inner.List(context.WithoutCancel(tb.Context()), bucket.ListOptions{Prefix: ref.HistoryPrefix()}) {
		if err != nil {
			tb.Fatal(err)
		}
		kept = append(kept, r.storedAt(tb, obj.Key))
	}
	return kept
}

// absent as the content of a state is no object.
const absent = "absent"

// seed stores content behind the back of everybody. It returns the ETag.
func (r *rig) seed(tb testing.TB, content string) string {
	tb.Helper()
	return r.seedAt(tb, ref.Key, content)
}

func (r *rig) seedAt(tb testing.TB, key, content string) string {
	tb.Helper()
	if content == absent {
		return ""
	}
	obj, err := r.inner.Put(context.WithoutCancel(tb.Context()), key, strings.NewReader(content), bucket.PutOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return obj.ETag
}

// stored returns what is stored now, or absent.
func (r *rig) stored(tb testing.TB) string {
	tb.Helper()
	return r.storedAt(tb, ref.Key)
}

func (r *rig) storedAt(tb testing.TB, key string) string {
	tb.Helper()
	_, data, err := bucket.ReadAll(context.WithoutCancel(tb.Context()), r.inner, key, 1<<30)
	if errors.Is(err, statelatch.ErrNotFound) {
		return absent
	}
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// begin starts a session that must start.
func (r *rig) begin(tb testing.TB, t *tenure) *state.Session {
	tb.Helper()
	x, err := r.Begin(tb.Context(), t)
	if err != nil {
		tb.Fatalf("Begin: %v", err)
	}
	return x
}

func write(tb testing.TB, x *state.Session, content string, opts state.WriteOptions) (state.Version, error) {
	tb.Helper()
	return x.Write(tb.Context(), strings.NewReader(content), opts)
}

// tenure is a lock that does as it is told.
type tenure struct {
	ref              statelatch.Ref
	checked, checkTo int // Check fails from the checkTo-th call on; 0: never
	verified         int
	verifyErr        error
	held             []error
}

func holding() *tenure { return &tenure{ref: ref} }

func (t *tenure) Ref() statelatch.Ref { return t.ref }

func (t *tenure) Check() error {
	t.checked++
	if t.checkTo != 0 && t.checked >= t.checkTo {
		return fmt.Errorf("%w: the lease is over: %w", statelatch.ErrLockLost, statelatch.ErrNotFound)
	}
	return nil
}

func (t *tenure) Verify(context.Context) error {
	t.verified++
	return t.verifyErr
}

func (t *tenure) Hold(reason error) { t.held = append(t.held, reason) }

// table is a DynamoDB table with digests. Each fault is the error of one call, in their order.
type table struct {
	mu     sync.Mutex
	items  map[statelatch.Ref]string
	faults []error
	calls  []string
}

func (d *table) call(name string) error {
	d.calls = append(d.calls, name)
	if len(d.faults) == 0 {
		return nil
	}
	err := d.faults[0]
	d.faults = d.faults[1:]
	return err
}

func (d *table) Digest(_ context.Context, ref statelatch.Ref) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("get"); err != nil {
		return "", err
	}
	digest, ok := d.items[ref]
	if !ok {
		return "", fmt.Errorf("no item: %w", statelatch.ErrNotFound)
	}
	return digest, nil
}

func (d *table) SwapDigest(ctx context.Context, ref statelatch.Ref, old, next string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", statelatch.ErrBroken, ctx.Err())
	}
	if err := d.call("swap"); err != nil {
		return err
	}
	switch {
	case d.items[ref] != old:
		return fmt.Errorf("swap item: %w", statelatch.ErrPreconditionFailed)
	case next == "":
		delete(d.items, ref)
	default:
		d.items[ref] = next
	}
	return nil
}

// withTable gives the rig a table that knows digest; empty: none.
func (r *rig) withTable(digest string, faults ...error) *table {
	d := &table{items: map[statelatch.Ref]string{}, faults: faults}
	if digest != "" {
		d.items[ref] = digest
	}
	r.Digests = d
	return d
}

func md5of(content string) string {
	sum := md5.Sum([]byte(content))
	return hex.EncodeToString(sum[:])
}

func trimmed(content string) string { return strings.TrimRight(content, " \t\r\n") }

func wantKind(tb testing.TB, what string, err, kind error) {
	tb.Helper()
	if !errors.Is(err, kind) {
		tb.Errorf("%s: got error %v, want %v", what, err, kind)
	}
}

func wantStored(tb testing.TB, r *rig, want string) {
	tb.Helper()
	if got := r.stored(tb); got != want {
		tb.Errorf("stored: got %q, want %q", got, want)
	}
}

// wantRequests compares the requests since the first skip ones.
func wantRequests(tb testing.TB, r *rig, skip int, want ...string) {
	tb.Helper()
	var got []string
	for _, q := range r.bucket.Requests()[skip:] {
		line := q.Op
		if !q.If.IsZero() {
			line += " " + strings.SplitN(q.If.String(), ":", 2)[0]
		}
		got = append(got, line)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		tb.Errorf("requests: got %v, want %v", got, want)
	}
}

func readAll(tb testing.TB, r io.Reader) string {
	tb.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func opts() state.WriteOptions { return state.WriteOptions{} }

// versions returns the versions of the state, newest first.
func versions(tb testing.TB, r *rig) []bucket.Object {
	tb.Helper()
	var list []bucket.Object
	for obj, err := range r.inner.ListVersions(tb.Context(), bucket.ListOptions{Prefix: ref.Key}) {
		if err != nil {
			tb.Fatal(err)
		}
		if obj.Key == ref.Key {
			list = append(list, obj)
		}
	}
	return list
}

func readVersion(tb testing.TB, r *rig, v bucket.Object) string {
	tb.Helper()
	_, data, err := r.inner.Get(tb.Context(), v.Key, bucket.ReadOptions{VersionID: v.VersionID})
	if err != nil {
		tb.Fatal(err)
	}
	defer data.Close()
	return readAll(tb, data)
}
