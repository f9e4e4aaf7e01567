package state_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
)

func TestStore_Touch_KeepsContentMovesETag(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"a state":   body(3, lineage, "x"),
		"encrypted": encrypted(3, lineage, "x"),
		"touched":   body(3, lineage, "x") + strings.Repeat(" \t", 64),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.seed(t, content)
			seen := map[string]bool{content: true}
			for range 3 {
				before := len(r.bucket.Requests())
				fence(t, r)
				wantRequests(t, r, before, "get", "put If-Match")
				got := r.stored(t)
				if trimmed(got) != trimmed(content) || seen[got] {
					t.Errorf("stored %q, want the same content in new bytes", got)
				}
				if tail := strings.TrimPrefix(got, trimmed(content)); len(tail) != 129 || tail[0] != '\n' {
					t.Errorf("the blanks are %q, want a line feed and 128", tail)
				}
				seen[got] = true
			}
		})
	}
}

// R6: a write of an earlier tenure that is still under way is refused, whatever it was based on.
func TestStore_Touch_R6_FencesLateWrites(t *testing.T) {
	t.Parallel()
	for name, base := range map[string]string{"a state": body(1, lineage, "x"), "absent": absent, "zero bytes": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.seed(t, base)
				lock := holding()
				zombie := r.begin(t, lock)
				// Its lease ends while its first request is on the way; nothing of it has arrived.
				lock.checkTo = 2
				r.bucket.Add(faultbucket.Rule{Op: put, Nth: 1, Fault: faultbucket.Late(faultbucket.Held)})
				_, err := zombie.Write(t.Context(), strings.NewReader(body(2, lineage, "zombie")), opts())
				wantKind(t, "the zombie's Write", err, statelatch.ErrAmbiguous)

				fence(t, r)
				x := r.begin(t, holding())
				if r.bucket.Deliver() != 1 {
					t.Fatal("nothing was under way")
				}
				if got := r.stored(t); strings.Contains(got, "zombie") {
					t.Fatalf("the zombie wrote: %q", got)
				}
				content := body(2, lineage, "ours")
				if _, err := write(t, x, content, opts()); err != nil {
					t.Errorf("the holder's Write: %v", err)
				}
				wantStored(t, r, content)
			})
		})
	}
}

// Of zero bytes, deleted and created again, the ETag is the same. No data is ever written on it.
func TestSession_Write_NoDataOnZeroBytes(t *testing.T) {
	t.Parallel()
	r := newRig()
	zero := r.seed(t, "")
	x := r.begin(t, holding())
	if _, err := write(t, x, body(1, lineage, "x"), opts()); err != nil {
		t.Fatal(err)
	}
	for _, v := range versions(t, r) {
		data := readVersion(t, r, v)
		if strings.Contains(data, `"name":"x"`) && v.ETag == zero {
			t.Error("zero bytes and data have the same ETag")
		}
	}
	puts := 0
	for _, q := range r.bucket.Requests() {
		if q.Op != put {
			continue
		}
		if puts++; puts == 2 && q.If.ETag() == zero {
			t.Error("the data was sent on the ETag of zero bytes")
		}
	}
	if chain := versions(t, r); puts != 2 || len(chain) != 3 {
		t.Errorf("%d puts and %d versions, want the claim and the data over the zero bytes", puts, len(chain))
	}
}

func TestStore_Touch_AbsentAndZeroBytes(t *testing.T) {
	t.Parallel()
	r := newRig()
	fence(t, r)
	wantStored(t, r, "")
	wantRequests(t, r, 0, "get", "put If-None-Match")
	fence(t, r)
	wantStored(t, r, "")
	wantRequests(t, r, 2, "get")
}

// A lock on something that is no state must not jam for want of a fence.
func TestStore_Touch_NoState(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, "\x00binary")
	if err := r.Touch(t.Context(), ref); err != nil {
		t.Errorf("Touch: %v", err)
	}
	wantStored(t, r, "\x00binary")
}

func TestStore_Touch_Digest(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		content, digest string
		follows         bool
	}{
		"in step":    {body(1, lineage, "x"), md5of(body(1, lineage, "x")), true},
		"stale":      {body(2, lineage, "x"), md5of(body(1, lineage, "x")), true}, // its holder died before it told the table
		"zero bytes": {"", md5of("lost"), false},                                  // the only trace of a lost state
		"absent":     {absent, md5of("lost"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.seed(t, tc.content)
			digests := r.withTable(tc.digest)
			fence(t, r)
			want, calls := tc.digest, "[get]"
			if tc.follows {
				want, calls = md5of(r.stored(t)), "[get swap]"
			}
			if got := fmt.Sprint(digests.calls); got != calls {
				t.Errorf("calls of the table: %s, want %s", got, calls)
			}
			if digests.items[ref] != want {
				t.Errorf("digest: got %s, want %s", digests.items[ref], want)
			}
		})
	}
}

// A living holder writes between the touch's read and its write: the touch gives way and fences that too.
func TestStore_Touch_GivesWayToWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		newer := body(2, lineage, "newer")
		r := newRig(faultbucket.Rule{Op: put, Nth: 1, Fault: faultbucket.DelayWith(func(context.Context) error { return nil })})
		r.seed(t, body(1, lineage, "x"))
		var etag string
		r.bucket.Heal()
		r.bucket.Add(faultbucket.Rule{Op: put, Nth: 1, Fault: faultbucket.DelayWith(func(context.Context) error {
			etag = r.seed(t, newer)
			return nil
		})})
		fence(t, r)
		if got := r.stored(t); trimmed(got) != trimmed(newer) || got == newer {
			t.Errorf("stored %q, want the newer state, touched", got)
		}
		_, err := r.inner.Put(t.Context(), ref.Key, strings.NewReader("late"), bucket.PutOptions{If: bucket.IfMatch(etag)})
		wantKind(t, "a late write on the newer state", err, statelatch.ErrPreconditionFailed)
	})
}

func TestStore_Touch_EndlessWritesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.seed(t, body(1, lineage, "x"))
		serial := 1
		r.bucket.Add(faultbucket.Rule{Op: put, Fault: faultbucket.DelayWith(func(context.Context) error {
			serial++
			r.seed(t, body(serial, lineage, "x"))
			return nil
		})})
		wantKind(t, "Touch", r.Touch(t.Context(), ref), statelatch.ErrConflict)
	})
}

func TestStore_Touch_UnknownIsReported(t *testing.T) {
	t.Parallel()
	for _, base := range []string{absent, body(1, lineage, "x")} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(faultbucket.Rule{Op: put, Fault: faultbucket.LoseRequest()})
			r.seed(t, base)
			err := r.Touch(t.Context(), ref)
			if !errors.Is(err, statelatch.ErrAmbiguous) {
				t.Errorf("got %v, want ErrAmbiguous", err)
			}
			wantStored(t, r, base)
		})
	}
}
