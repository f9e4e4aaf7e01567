package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/gateway"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

const (
	key     = "app/terraform.tfstate"
	lineage = "11111111-2222-3333-4444-555555555555"
)

var ref = statelatch.Ref{Bucket: "b", Key: key}

// world is one bucket with several gateways before it.
type world struct {
	t     *testing.T
	store *membucket.Bucket
	rules access.Rules
}

func newWorld(t *testing.T, may ...access.Right) *world {
	t.Helper()
	if may == nil {
		may = []access.Right{access.Read, access.Lock, access.Write, access.Delete}
	}
	words := make([]string, len(may))
	for i, right := range may {
		words[i] = fmt.Sprintf("%q", right)
	}
	cfg, err := access.Parse(fmt.Appendf(nil, `
master_key_file = "master"
key "op" { file = "op" }
key "ana" { file = "ana" }
issuer "ci" {
  url      = "https://issuer.example"
  audience = "statelatch"
}
allow "operators" {
  keys   = ["op"]
  states = ["*"]
  may    = ["admin"]
}
allow "all keys" {
  keys   = ["*"]
  states = ["*"]
  may    = [%[1]s]
}
allow "pipelines" {
  issuer = "ci"
  states = ["*"]
  may    = [%[1]s]
}
`, strings.Join(words, ", ")), "rules.hcl")
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, store: membucket.New("b", membucket.Options{Versioned: true}), rules: cfg.Rules}
}

// node is one gateway.
type node struct {
	*gateway.Gateway
	bucket *faultbucket.Bucket
}

func (w *world) gateway(rules ...faultbucket.Rule) *node {
	w.t.Helper()
	b := faultbucket.New(w.store, faultbucket.Options{Rules: rules})
	states := &state.Store{Bucket: b}
	g, err := gateway.New(gateway.Config{
		Locks:  &lock.Manager{Bucket: b, Tier: lock.TierFull, Fence: states.Touch},
		States: states, Rules: w.rules,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return &node{g, b}
}

// pipeline is a process with a session.
func pipeline(id string) gateway.Caller {
	return gateway.Caller{Session: access.Session{
		ID: id, Principal: access.Principal{Name: "ci:acme/infra", Issuer: "ci"},
	}, Attempt: 1, Engine: true}
}

// person is a process with a static key.
func person(name string, conn uint64) gateway.Caller {
	return gateway.Caller{Session: access.Session{Principal: access.KeyPrincipal(name)}, Conn: conn, Attempt: 1, Engine: true}
}

func info(id string) statelatch.LockInfo {
	return statelatch.LockInfo{ID: id, Operation: "OperationTypeApply", Who: "ci@runner", Version: "1.11.4", Path: ref.Path()}
}

func body(serial int, names string) string {
	var resources []string
	for name := range strings.FieldsSeq(names) {
		resources = append(resources, fmt.Sprintf(`{"mode":"managed","name":%q}`, name))
	}
	return fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":%q,"outputs":{},"resources":[%s],"check_results":null}`+"\n",
		serial, lineage, strings.Join(resources, ","))
}

func (n *node) lock(t *testing.T, c gateway.Caller, id string) {
	t.Helper()
	if _, err := n.Lock(t.Context(), c, key, info(id)); err != nil {
		t.Fatalf("Lock %s: %v", id, err)
	}
}

func (n *node) write(t *testing.T, c gateway.Caller, content string) error {
	t.Helper()
	_, err := n.WriteState(t.Context(), c, key, strings.NewReader(content))
	return err
}

func (n *node) mustWrite(t *testing.T, c gateway.Caller, content string) {
	t.Helper()
	if err := n.write(t, c, content); err != nil {
		t.Fatalf("WriteState: %v", err)
	}
}

func (n *node) unlock(t *testing.T, c gateway.Caller) {
	t.Helper()
	if err := n.Unlock(t.Context(), c, key); err != nil {
		t.Fatalf("Unlock: %v", err)
	}
}

// read is what an engine does to read a state: HEAD, then GET.
func (n *node) read(t *testing.T, c gateway.Caller) string {
	t.Helper()
	var got string
	for _, again := range []bool{false, true} {
		r, err := n.OpenState(t.Context(), c, key, again)
		if err != nil {
			t.Fatalf("OpenState: %v", err)
		}
		if again && r.Version.Exists {
			data, err := io.ReadAll(r.Body())
			if err != nil {
				t.Fatal(err)
			}
			got = string(data)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if !r.Version.Exists {
			return ""
		}
	}
	return got
}

// stored is what is in the bucket, without the blanks of a fence; empty: nothing.
func (w *world) stored(key string) string {
	w.t.Helper()
	_, data, err := bucket.ReadAll(context.WithoutCancel(w.t.Context()), w.store, key, 1<<20)
	if errors.Is(err, statelatch.ErrNotFound) {
		return ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimRight(string(data), " \t\n")
}

func (w *world) wantLock(id string) {
	w.t.Helper()
	got := w.stored(ref.LockKey())
	if id == "" && got != "" || id != "" && !strings.Contains(got, `"ID":"`+id+`"`) {
		w.t.Errorf("the lock object is %q, want ID %q", got, id)
	}
}

func (w *world) wantState(content string) {
	w.t.Helper()
	if got := w.stored(key); got != strings.TrimSpace(content) {
		w.t.Errorf("stored is %s, want %s", got, content)
	}
}

func wantRefused(t *testing.T, err error, words ...string) {
	t.Helper()
	if _, ok := errors.AsType[*gateway.RefusedError](err); !ok {
		t.Errorf("got %v, want a refusal", err)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want it to name %q", err, word)
		}
	}
}

// A plan and an apply, and what they cost.
func TestGateway_Requests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, c := w.gateway(), pipeline("s1")
	apply := func(serial int) {
		t.Helper()
		id := fmt.Sprintf("id-%d", serial)
		n.lock(t, c, id)
		n.read(t, c)
		if serial > 0 {
			n.mustWrite(t, c, body(serial, "a"))
		}
		if _, err := n.ReadLock(t.Context(), c, key); err != nil {
			t.Fatal(err)
		}
		n.unlock(t, c)
	}
	apply(1)
	before := len(n.bucket.Requests())
	apply(2)
	// without the listing, which is passed on as it is
	if got := len(n.bucket.Requests()) - before; got != 5 {
		t.Errorf("an apply cost %d requests, want 5: %v", got, n.bucket.Requests()[before:])
	}
	before = len(n.bucket.Requests())
	apply(0)
	if got := len(n.bucket.Requests()) - before; got != 3 {
		t.Errorf("a plan cost %d requests, want 3: %v", got, n.bucket.Requests()[before:])
	}
	w.wantLock("")
	w.wantState(body(2, "a"))
	for _, r := range n.bucket.Requests() {
		if (r.Op == faultbucket.OpPut || r.Op == faultbucket.OpDelete) && r.If.IsZero() {
			t.Errorf("a write without a condition: %+v", r)
		}
	}
}

// The lock is one for engines on the bucket and behind the gateway, and each sees who has it.
func TestGateway_LockExcludes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, other := w.gateway(), w.gateway()
	n.lock(t, pipeline("s1"), "one")
	for _, at := range []*node{n, other} {
		c := pipeline("s2")
		_, err := at.Lock(t.Context(), c, key, info("two"))
		if locked, ok := errors.AsType[*statelatch.LockedError](err); !ok || locked.Holder.ID != "one" {
			t.Fatalf("got %v, want one to hold it", err)
		}
		seen, err := at.ReadLock(t.Context(), c, key)
		if err != nil || string(seen.Body) != w.stored(ref.LockKey()) {
			t.Errorf("the holder is shown as %s, %v, want %s", seen.Body, err, w.stored(ref.LockKey()))
		}
	}
	n.unlock(t, pipeline("s1"))
	w.wantLock("")
}

// A refused engine sees the holder that it was refused for, also when that one has gone: without it, it gives up.
func TestGateway_RefusedSeesTheHolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, holder, waiter := w.gateway(), pipeline("s1"), pipeline("s2")
	n.lock(t, holder, "one")
	if _, err := n.Lock(t.Context(), waiter, key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
		t.Fatal(err)
	}
	n.unlock(t, holder)
	seen, err := n.ReadLock(t.Context(), waiter, key)
	if err != nil || !strings.Contains(string(seen.Body), `"ID":"one"`) {
		t.Errorf("got %s, %v, want the holder that it was refused for", seen.Body, err)
	}
	if _, err := n.ReadLock(t.Context(), waiter, key); !errors.Is(err, statelatch.ErrNotLocked) {
		t.Errorf("asked again: %v, want what is there", err)
	}
	n.lock(t, waiter, "two")
	if seen, err := n.ReadLock(t.Context(), waiter, key); err != nil || !strings.Contains(string(seen.Body), `"ID":"two"`) {
		t.Errorf("its own lock: got %s, %v", seen.Body, err)
	}
}

// A process that asks again by the same ID has its lock, whichever gateway it asks; another process has not.
func TestGateway_OwnLockAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, other := w.gateway(), w.gateway()
	n.lock(t, pipeline("s1"), "one")
	for _, at := range []*node{n, other} {
		at.lock(t, pipeline("s1"), "one")
		if _, err := at.Lock(t.Context(), pipeline("s2"), key, info("one")); !errors.Is(err, statelatch.ErrLocked) {
			t.Errorf("another process by the same ID: %v, want ErrLocked", err)
		}
		if _, err := at.Lock(t.Context(), pipeline("s1"), key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
			t.Errorf("the same process by another ID: %v, want ErrLocked", err)
		}
	}
	w.wantLock("one")
}

// Answers that are lost between gateway and bucket are settled inside, whichever request it is.
func TestGateway_LostUpstream(t *testing.T) {
	t.Parallel()
	for _, fault := range []faultbucket.Fault{faultbucket.LoseReply(), faultbucket.LoseRequest(), faultbucket.Answer(503)} {
		for nth := 1; nth <= 8; nth++ {
			t.Run(fmt.Sprintf("%v %d", fault, nth), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				n, c := w.gateway(), pipeline("s1")
				n.lock(t, c, "zero")
				n.mustWrite(t, c, body(1, "a"))
				n.unlock(t, c)
				n.bucket.Add(faultbucket.Rule{Nth: nth, Fault: fault})
				retry := func(what string, do func(c gateway.Caller) error) {
					t.Helper()
					var err error
					for try := 1; try <= 5; try++ {
						c.Attempt = try
						if err = do(c); err == nil {
							return
						}
					}
					t.Fatalf("%s: %v", what, err)
				}
				retry("lock", func(c gateway.Caller) error { _, err := n.Lock(t.Context(), c, key, info("one")); return err })
				retry("read", func(c gateway.Caller) error {
					r, err := n.OpenState(t.Context(), c, key, false)
					if err == nil {
						err = r.Close()
					}
					return err
				})
				retry("write", func(c gateway.Caller) error { return n.write(t, c, body(2, "a b")) })
				retry("unlock", func(c gateway.Caller) error { return n.Unlock(t.Context(), c, key) })
				w.wantLock("")
				w.wantState(body(2, "a b"))
			})
		}
	}
}

// Only the holder of the lock writes: not another process, not one whose lock was forced away, not one without.
func TestGateway_WritesUnderTheLockAlone(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"same gateway", "another gateway"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.gateway()
			second := n
			if where != "same gateway" {
				second = w.gateway()
			}
			first, other := pipeline("s1"), pipeline("s2")
			wantRefused(t, n.write(t, first, body(1, "a")), "nobody holds its lock")
			n.lock(t, first, "one")
			n.mustWrite(t, first, body(1, "a"))
			wantRefused(t, second.write(t, other, body(2, "b")), "does not hold its lock", "ci@runner")

			op := person("op", 9)
			if _, err := second.ReadLock(t.Context(), op, key); err != nil {
				t.Fatal(err)
			}
			second.unlock(t, op)
			w.wantLock("")
			wantRefused(t, n.write(t, first, body(2, "a zombie")), "was taken from this process")
			second.lock(t, other, "two")
			wantRefused(t, n.write(t, first, body(2, "a zombie")))
			second.mustWrite(t, other, body(2, "a b"))
			wantRefused(t, n.write(t, first, body(3, "a zombie")))
			wantRefused(t, n.Unlock(t.Context(), first, key))
			w.wantState(body(2, "a b"))
			w.wantLock("two")
		})
	}
}

// A write that was on its way when the lock was forced away does not land.
func TestGateway_LateWriteIsFencedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, second := w.gateway(), w.gateway()
	first, op := pipeline("s1"), person("op", 9)
	n.lock(t, first, "one")
	n.mustWrite(t, first, body(1, "a"))
	n.bucket.Add(faultbucket.Rule{Op: faultbucket.OpPut, Key: key, Fault: faultbucket.Late(faultbucket.Held)})
	written := make(chan error, 1)
	go func() { written <- n.write(t, first, body(2, "a late")) }()
	for n.bucket.Count(faultbucket.OpPut, key) < 2 { // until it is on its way
		runtime.Gosched()
	}
	if _, err := second.ReadLock(t.Context(), op, key); err != nil {
		t.Fatal(err)
	}
	second.unlock(t, op)
	other := pipeline("s2")
	second.lock(t, other, "two")
	if n.bucket.Deliver() == 0 {
		t.Error("no write was on its way")
	}
	second.mustWrite(t, other, body(2, "a b"))
	n.bucket.Deliver()
	w.wantState(body(2, "a b"))
	n.bucket.Heal()
	if err := <-written; err == nil {
		t.Error("the late write was reported as done")
	}
	w.wantState(body(2, "a b"))
}

// What does not follow on what is stored is not written.
func TestGateway_JudgesWhatIsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, c := w.gateway(), pipeline("s1")
	n.lock(t, c, "one")
	n.mustWrite(t, c, body(5, "a"))
	wantRefused(t, n.write(t, c, body(5, "b")), "serial 5")
	wantRefused(t, n.write(t, c, body(4, "b")), "step back")
	wantRefused(t, n.write(t, c, strings.Replace(body(6, "b"), lineage, "22222222-2222-3333-4444-555555555555", 1)), "lineage")
	if err := n.write(t, c, "no state"); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	n.mustWrite(t, c, body(5, "a")) // the same again
	n.mustWrite(t, c, body(6, ""))  // after destroy
	w.wantState(body(6, ""))
}

// The write of a process goes on at another gateway, which marks the lock; the release at the first fences then.
func TestGateway_TwoGatewaysOneTenure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.gateway(), w.gateway(), pipeline("s1")
	a.lock(t, c, "one")
	a.read(t, c)
	b.mustWrite(t, c, body(1, "a"))
	a.mustWrite(t, c, body(2, "a b"))
	b.mustWrite(t, c, body(3, "a b c"))
	etag := func() string {
		obj, err := w.store.Head(t.Context(), key, bucket.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return obj.ETag
	}
	before := etag()
	a.unlock(t, c)
	if etag() == before {
		t.Error("the release by another gateway than the one that wrote last did not fence")
	}
	w.wantLock("")
	w.wantState(body(3, "a b c"))
}

// A release that comes again touches nobody's lock.
func TestGateway_ReleaseAgain(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"same gateway", "another gateway"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.gateway()
			c := pipeline("s1")
			n.lock(t, c, "one")
			n.unlock(t, c)
			again := n
			if where != "same gateway" {
				again = w.gateway()
			}
			c.Attempt = 2
			again.unlock(t, c) // nothing there
			n.lock(t, pipeline("s2"), "two")
			again.unlock(t, c)
			w.wantLock("two")
		})
	}
}

// Force-unlock needs the right, and ends the lock that was shown alone.
func TestGateway_ForceUnlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.gateway()
	n.lock(t, pipeline("s1"), "one")
	denied := person("ana", 7)
	if _, err := n.ReadLock(t.Context(), denied, key); err != nil {
		t.Fatal(err)
	}
	if err := n.Unlock(t.Context(), denied, key); !errors.Is(err, statelatch.ErrDenied) {
		t.Errorf("without the right: %v, want ErrDenied", err)
	}
	op := person("op", 8)
	wantRefused(t, n.Unlock(t.Context(), op, key), "read it first")
	if _, err := n.ReadLock(t.Context(), op, key); err != nil {
		t.Fatal(err)
	}
	n.unlock(t, pipeline("s1"))
	n.lock(t, pipeline("s2"), "two")
	wantRefused(t, n.Unlock(t.Context(), op, key), "another than the one that was last shown")
	w.wantLock("two")
	if _, err := n.ReadLock(t.Context(), op, key); err != nil {
		t.Fatal(err)
	}
	n.unlock(t, op)
	w.wantLock("")
}

// With a static key, whose processes look alike, a lock of somebody else is ended also by who had one before: that the
// request comes again is not what it means once it was shown the other lock.
func TestGateway_ForceUnlock_AfterOwnLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.gateway()
	op, other := person("op", 8), person("op", 9)
	force := func(what string) {
		t.Helper()
		n.lock(t, pipeline(what), what)
		if _, err := n.ReadLock(t.Context(), other, key); err != nil {
			t.Fatal(err)
		}
		n.unlock(t, other)
		w.wantLock("")
		n.lock(t, pipeline(what+" too"), what+" too")
		other.Attempt = 2
		n.unlock(t, other) // the request again, which meant the lock before
		other.Attempt = 1
		w.wantLock(what + " too")
		n.unlock(t, pipeline(what+" too"))
	}
	force("never had one")
	force("has forced one")
	n.lock(t, op, "own")
	n.unlock(t, op)
	force("has released one")
	n.lock(t, op, "own again")
	held, err := w.gateway().ReadLock(t.Context(), pipeline("s"), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Delete(t.Context(), ref.LockKey(), bucket.DeleteOptions{If: bucket.IfMatch(held.ETag)}); err != nil {
		t.Fatal(err) // somebody on the bucket itself forced it away
	}
	wantRefused(t, n.Unlock(t.Context(), op, key), "was taken from it")
	n.lock(t, op, "own at last")
	held, err = w.gateway().ReadLock(t.Context(), pipeline("s"), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Delete(t.Context(), ref.LockKey(), bucket.DeleteOptions{If: bucket.IfMatch(held.ETag)}); err != nil {
		t.Fatal(err)
	}
	n.lock(t, pipeline("thief"), "thief's")
	wantRefused(t, n.Unlock(t.Context(), op, key), "was taken from it")
	w.wantLock("thief's")
	n.unlock(t, pipeline("thief"))
	force("has lost one")
}

// Of an engine on the bucket itself the lock is plain, and is ended as such.
func TestGateway_ForceUnlockPlain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.gateway()
	plain := info("plain")
	if _, err := w.store.Put(t.Context(), ref.LockKey(), strings.NewReader(string(plain.Marshal())),
		bucket.PutOptions{If: bucket.IfAbsent}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Lock(t.Context(), pipeline("s1"), key, info("one")); !errors.Is(err, statelatch.ErrLocked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
	wantRefused(t, n.write(t, pipeline("s1"), body(1, "a")), "does not hold")
	op := person("op", 8)
	if _, err := n.ReadLock(t.Context(), op, key); err != nil {
		t.Fatal(err)
	}
	n.unlock(t, op)
	w.wantLock("")
}

// Deleting a workspace is done under its lock, and not if somebody wrote after it was read.
func TestGateway_DeleteState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.gateway()
	first, second := pipeline("s1"), pipeline("s2")
	n.lock(t, first, "one")
	n.mustWrite(t, first, body(1, ""))
	n.unlock(t, first)
	n.read(t, second)
	n.lock(t, first, "two")
	if err := n.DeleteState(t.Context(), second, key); !errors.Is(err, statelatch.ErrLocked) {
		t.Errorf("while it is locked: %v, want ErrLocked", err)
	}
	n.mustWrite(t, first, body(2, "a"))
	n.unlock(t, first)
	wantRefused(t, n.DeleteState(t.Context(), second, key), "was written after")
	w.wantState(body(2, "a"))
	n.read(t, second)
	if err := n.DeleteState(t.Context(), second, key); err != nil {
		t.Fatal(err)
	}
	w.wantState("")
	w.wantLock("")
	if err := n.DeleteState(t.Context(), second, key); err != nil {
		t.Errorf("again: %v", err)
	}
}

// Every right gives what it says and no more.
func TestGateway_Rights(t *testing.T) {
	t.Parallel()
	operations := []struct {
		name string
		by   []access.Right // any of them allows it
		do   func(*testing.T, *world, *node, gateway.Caller) error
	}{
		{"read", []access.Right{access.Read}, func(t *testing.T, _ *world, n *node, c gateway.Caller) error {
			t.Helper()
			r, err := n.OpenState(t.Context(), c, key, false)
			if err == nil {
				err = r.Close()
			}
			return err
		}},
		{"read lock", []access.Right{access.Read, access.Lock, access.ForceUnlock}, func(t *testing.T, _ *world, n *node, c gateway.Caller) error {
			t.Helper()
			_, err := n.ReadLock(t.Context(), c, key)
			return err
		}},
		{"version", []access.Right{access.Read}, func(t *testing.T, w *world, n *node, c gateway.Caller) error {
			t.Helper()
			obj, err := w.store.Head(t.Context(), key, bucket.ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, body, err := n.OpenVersion(t.Context(), c, key, obj.VersionID)
			if err == nil {
				err = body.Close()
			}
			return err
		}},
		{"head", []access.Right{access.Read}, func(t *testing.T, _ *world, n *node, c gateway.Caller) error {
			t.Helper()
			_, err := n.HeadObject(t.Context(), c, key, bucket.ReadOptions{})
			return err
		}},
		{"lock", []access.Right{access.Lock}, func(t *testing.T, _ *world, n *node, c gateway.Caller) error {
			t.Helper()
			_, err := n.Lock(t.Context(), c, "free.tfstate", info("x"))
			return err
		}},
		{"write", []access.Right{access.Write}, func(t *testing.T, w *world, n *node, c gateway.Caller) error {
			t.Helper()
			w.takeFor(c)
			return n.write(t, c, body(2, "a"))
		}},
		{"force-unlock", []access.Right{access.ForceUnlock}, func(t *testing.T, _ *world, n *node, c gateway.Caller) error {
			t.Helper()
			if _, err := n.ReadLock(t.Context(), c, key); err != nil {
				return err
			}
			return n.Unlock(t.Context(), c, key)
		}},
		{"delete", []access.Right{access.Delete}, func(t *testing.T, w *world, n *node, c gateway.Caller) error {
			t.Helper()
			w.free()
			return n.DeleteState(t.Context(), c, key)
		}},
	}
	for _, right := range append([]access.Right{""}, access.Rights...) {
		for _, op := range operations {
			t.Run(fmt.Sprintf("%s %s", right, op.name), func(t *testing.T) {
				t.Parallel()
				may := []access.Right{}
				if right != "" {
					may = append(may, right)
				}
				switch right {
				case "":
					may = []access.Right{access.Lock} // the rules are taken away below
				case access.Write:
					may = append(may, access.Lock) // one without the other is refused
				}
				w := newWorld(t, may...)
				w.seed()
				if right == "" {
					w.rules = nil
				}
				err := op.do(t, w, w.gateway(), pipeline("s1"))
				allowed := right == access.Admin
				for _, by := range op.by {
					allowed = allowed || right != "" && slices.Contains(may, by)
				}
				if allowed && err != nil {
					t.Errorf("with %q: %v", right, err)
				}
				if !allowed && !errors.Is(err, statelatch.ErrDenied) {
					t.Errorf("with %q: got %v, want ErrDenied", right, err)
				}
			})
		}
	}
}

// seed stores a state, and a lock of somebody else.
func (w *world) seed() {
	w.t.Helper()
	foreign := info("foreign")
	for k, content := range map[string]string{
		key: body(1, "a"), ref.LockKey(): string(foreign.MarshalManaged(statelatch.Managed{
			Nonce: "n", Seq: 1, Through: &statelatch.Through{Gateway: "g", Principal: "ci:acme/infra", Session: "other"},
		})),
	} {
		if _, err := w.store.Put(w.t.Context(), k, strings.NewReader(content), bucket.PutOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) free() {
	if _, err := w.store.Delete(w.t.Context(), ref.LockKey(), bucket.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// takeFor makes the lock c's.
func (w *world) takeFor(c gateway.Caller) {
	own := info("own")
	if _, err := w.store.Put(w.t.Context(), ref.LockKey(), strings.NewReader(string(own.MarshalManaged(statelatch.Managed{
		Nonce: "m", Seq: 1, Through: &statelatch.Through{Gateway: "g", Principal: c.Principal.Name, Session: c.ID},
	}))), bucket.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// A gateway that has marked a lock, and stored nothing since, fences when it is released: the one before it may have a
// write under way.
func TestGateway_MarkedAndNotWritten(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"the same": body(1, "a"), "nothing that follows": body(1, "b")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a, b, c := w.gateway(), w.gateway(), pipeline("s1")
			a.lock(t, c, "one")
			a.mustWrite(t, c, body(1, "a"))
			if err := b.write(t, c, content); (err == nil) != (name == "the same") {
				t.Fatal(err)
			}
			obj, err := w.store.Head(t.Context(), key, bucket.ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			b.unlock(t, c)
			_, err = w.store.Put(t.Context(), key, strings.NewReader(body(2, "a late")), bucket.PutOptions{If: bucket.IfMatch(obj.ETag)})
			if !errors.Is(err, statelatch.ErrPreconditionFailed) {
				t.Errorf("a late write of the other gateway: %v, want ErrPreconditionFailed", err)
			}
			w.wantState(body(1, "a"))
		})
	}
}

// A release that comes late, when its process has been refused by the next holder, is no force-unlock of that one.
func TestGateway_LateReleaseForcesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, access.Admin)
	n, c := w.gateway(), pipeline("s1")
	signed := time.Now().Add(-time.Minute)
	n.lock(t, c, "one")
	n.unlock(t, c)
	n.lock(t, pipeline("s2"), "two")
	if _, err := n.Lock(t.Context(), c, key, info("three")); !errors.Is(err, statelatch.ErrLocked) {
		t.Fatal(err)
	}
	if _, err := n.ReadLock(t.Context(), c, key); err != nil {
		t.Fatal(err)
	}
	n.unlock(t, c)
	w.wantLock("two")
	late := person("op", 3)
	if _, err := n.ReadLock(t.Context(), late, key); err != nil {
		t.Fatal(err)
	}
	late.Signed = signed
	wantRefused(t, n.Unlock(t.Context(), late, key), "read it first")
	w.wantLock("two")
}

// What is written without a lock is what the process goes on from, and is told as any other write.
func TestGateway_WriteWithoutLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var told bytes.Buffer
	states := &state.Store{Bucket: w.store}
	g, err := gateway.New(gateway.Config{
		Locks:  &lock.Manager{Bucket: w.store, Tier: lock.TierFull, Fence: states.Touch},
		States: states, Rules: w.rules, Logger: slog.New(slog.NewTextHandler(&told, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	n, op := &node{Gateway: g}, person("op", 1)
	n.mustWrite(t, op, body(1, "a"))
	v, err := n.OpenState(t.Context(), op, key, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	n.mustWrite(t, op, body(2, "a b"))
	v, err = n.OpenState(t.Context(), op, key, true)
	if err != nil {
		t.Fatal(err)
	}
	if serial := v.Version.Header.Serial; serial != 2 {
		t.Errorf("the process reads serial %d after it wrote 2", serial)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	n.mustWrite(t, op, body(3, "a b c"))
	if n := strings.Count(told.String(), "msg=push outcome=ok"); n != 3 || strings.Contains(told.String(), `lock=""`) {
		t.Errorf("%d of 3 writes were told, each with its lock:\n%s", n, &told)
	}
	if err := n.DeleteState(t.Context(), op, key); err != nil {
		t.Errorf("the state that the process wrote last is not deleted: %v", err)
	}
}

// What a client puts a condition on itself is held against what a gateway promises all the same: no lock in another's
// name, nothing that is no state, and nothing of a probe for who may lock nothing.
func TestGateway_ConditionalWritesAreJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, c := w.gateway(), pipeline("s1")
	put := func(c gateway.Caller, key, content string, cond bucket.Condition) error {
		_, err := n.PutObject(t.Context(), c, key, strings.NewReader(content), bucket.PutOptions{If: cond})
		return err
	}
	own := info("own")
	forged := string(own.MarshalManaged(statelatch.Managed{
		Nonce: "n", Seq: 1, Through: &statelatch.Through{Gateway: "g", Principal: "key:op"},
	}))
	if err := put(c, ref.LockKey(), forged, bucket.IfAbsent); !errors.Is(err, statelatch.ErrDenied) {
		t.Errorf("a lock in another's name: %v, want ErrDenied", err)
	}
	if err := put(c, ref.LockKey(), string(own.MarshalManaged(statelatch.Managed{Nonce: "n", Seq: 1})), bucket.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if err := put(c, key, "no state", bucket.IfAbsent); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("no state: %v, want ErrInvalid", err)
	}
	if err := put(c, key, body(1, "a"), bucket.IfAbsent); err != nil {
		t.Errorf("a state: %v", err)
	}
	for _, tc := range []struct {
		c       gateway.Caller
		name    string
		allowed bool
	}{
		{c, "x/y.tflock", true},
		{c, "verdict-1.json", false},
		{person("op", 1), "verdict-1.json", true},
		{gateway.Caller{Session: access.Session{Principal: access.Principal{Name: "nobody"}}}, "x/z.tflock", false},
	} {
		err := put(tc.c, statelatch.ProbePrefix+tc.name, "{}", bucket.Condition{})
		if tc.allowed && err != nil || !tc.allowed && !errors.Is(err, statelatch.ErrDenied) {
			t.Errorf("%s of a probe by %s: %v", tc.name, tc.c.Principal.Name, err)
		}
	}
}
