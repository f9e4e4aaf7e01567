package state_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/state"
)

const put, get = faultbucket.OpPut, faultbucket.OpGet

// Acceptance 5: read 1, write 1, and exactly one look at the lock for a tenure with state.
func TestSession_OneRequestEach(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		base     string
		requests []string
		verified int
	}{
		"a state":    {body(1, lineage, "x"), []string{"get", "put If-Match", "put If-Match"}, 1},
		"absent":     {absent, []string{"get", "put If-None-Match", "put If-Match"}, 1},
		"zero bytes": {"", []string{"get", "put If-Match", "put If-Match", "put If-Match"}, 2}, // the first write claims them
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.seed(t, tc.base)
			lock := holding()
			x := r.begin(t, lock)
			if len(r.bucket.Requests()) != 1 || lock.verified != 1 {
				t.Errorf("Begin took %d requests and %d looks at the lock, want 1 and 1", len(r.bucket.Requests()), lock.verified)
			}
			for serial := 2; serial <= 3; serial++ {
				content := body(serial, lineage, "x y")
				v, err := write(t, x, content, state.WriteOptions{})
				if err != nil {
					t.Fatal(err)
				}
				wantStored(t, r, content)
				if v.MD5 != md5of(content) || v.Header.Serial != uint64(serial) || v.ETag == "" || v.VersionID == "" || x.Base().ETag != v.ETag {
					t.Errorf("got %+v", v)
				}
			}
			wantRequests(t, r, 0, tc.requests...)
			if lock.verified != tc.verified || len(lock.held) != 0 {
				t.Errorf("%d looks at the lock, want %d; held %v", lock.verified, tc.verified, lock.held)
			}
		})
	}
}

func TestStore_Begin_R7_VerifiesAfterReading(t *testing.T) {
	t.Parallel()
	r := newRig()
	lock := holding()
	lock.verifyErr = statelatch.ErrLockLost
	_, err := r.Begin(t.Context(), lock)
	wantKind(t, "Begin", err, statelatch.ErrLockLost)
	wantRequests(t, r, 0, "get")
}

func TestSession_Write_Guards(t *testing.T) {
	t.Parallel()
	const other = "99999999-2222-3333-4444-555555555555"
	full, force, ofEngine := state.WriteOptions{}, state.WriteOptions{Force: true}, state.WriteOptions{OfEngine: true}
	const backendFile = `{"version":3,"terraform_version":"1.11.4","backend":{"type":"s3","config":{"bucket":"b"},"hash":2326359980}}`
	newer := strings.Replace(body(5, lineage, "y"), `"version":4`, `"version":5`, 1)
	guarded := state.ErrGuarded
	for name, tc := range map[string]struct {
		base, next string
		opts       state.WriteOptions
		want       error
		stored     string // the trimmed content; empty: next
	}{
		"greater serial":                         {body(4, lineage, "x"), body(5, lineage, "y"), full, nil, ""},
		"skipped serials":                        {body(4, lineage, "x"), body(50, lineage, "y"), full, nil, ""},
		"serial back":                            {body(4, lineage, "x"), body(3, lineage, "y"), full, guarded, ""},
		"serial back, forced (B29)":              {body(4, lineage, "x"), body(3, lineage, "y"), force, nil, body(5, lineage, "y")},
		"same serial":                            {body(4, lineage, "x"), body(4, lineage, "y"), full, guarded, ""},
		"same serial, forced":                    {body(4, lineage, "x"), body(4, lineage, "y"), force, nil, body(5, lineage, "y")},
		"greater serial, forced":                 {body(4, lineage, "x"), body(9, lineage, "y"), force, nil, ""},
		"foreign lineage":                        {body(4, lineage, "x"), body(5, other, "y"), full, guarded, ""},
		"foreign lineage, forced":                {body(4, lineage, "x"), body(5, other, "y"), force, nil, ""},
		"foreign and older, forced":              {body(400, lineage, "x"), body(5, other, "y"), force, nil, body(401, other, "y")},
		"shrink":                                 {body(4, lineage, "x"), body(5, lineage, ""), full, guarded, ""},
		"shrink, forced":                         {body(4, lineage, "x"), body(5, lineage, ""), force, nil, ""},
		"shrink, an engine's result":             {body(4, lineage, "x"), body(5, lineage, ""), state.WriteOptions{OfEngine: true}, nil, ""},
		"older, an engine's result":              {body(4, lineage, "x"), body(3, lineage, ""), state.WriteOptions{OfEngine: true}, guarded, ""},
		"over an emptied state":                  {body(4, lineage, ""), body(1, other, "y"), full, nil, ""},
		"over an emptied state, older":           {body(4, lineage, ""), body(3, lineage, "y"), full, guarded, ""},
		"over nothing":                           {absent, body(7, other, "y"), full, nil, ""},
		"over zero bytes":                        {"", body(7, other, "y"), full, nil, ""},
		"over a claim":                           {body(0, lineage, ""), body(1, other, ""), full, nil, ""},
		"zero bytes":                             {body(4, lineage, "x"), "", force, statelatch.ErrInvalid, ""},
		"blanks":                                 {body(4, lineage, "x"), "  \n", force, statelatch.ErrInvalid, ""},
		"not a state":                            {body(4, lineage, "x"), `{"a":1}`, force, statelatch.ErrInvalid, ""},
		"cut":                                    {body(4, lineage, "x"), body(5, lineage, "y")[:150], force, statelatch.ErrInvalid, ""},
		"no serial to raise":                     {body(4, lineage, "x"), `{"version":4,"lineage":"l"}`, force, statelatch.ErrInvalid, ""},
		"no serial left":                         {`{"version":4,"serial":18446744073709551615,"lineage":"l"}`, body(5, "l", "y"), force, statelatch.ErrInvalid, ""},
		"the highest serial, forced":             {body(5, "l", "y"), `{"version":4,"serial":18446744073709551615,"lineage":"l"}`, force, statelatch.ErrInvalid, ""},
		"format 5":                               {absent, newer, full, guarded, ""},
		"format 5 over 4":                        {body(4, lineage, "x"), newer, full, guarded, ""},
		"format 5, forced":                       {body(4, lineage, "x"), newer, force, nil, ""},
		"format 5, an engine's result":           {body(4, lineage, "x"), newer, ofEngine, nil, ""},
		"format 3 over nothing":                  {absent, old(5, lineage, `"a.b":{}`), full, nil, ""},
		"format 3 over 3":                        {old(4, lineage, `"a.b":{}`), old(5, lineage, `"a.c":{}`), full, nil, ""},
		"format 3 over 3, emptied":               {old(4, lineage, `"a.b":{}`), old(5, lineage, ""), full, guarded, ""},
		"format 3 over 4":                        {body(4, lineage, "x"), old(5, lineage, `"a.b":{}`), full, guarded, ""},
		"format 3 over 4, an engine's result":    {body(4, lineage, "x"), old(5, lineage, `"a.b":{}`), ofEngine, guarded, ""},
		"format 4 over 3":                        {old(4, lineage, `"a.b":{}`), body(5, lineage, "x"), full, guarded, ""},
		"format 4 over 3, an engine's upgrade":   {old(4, lineage, `"a.b":{}`), body(5, lineage, "x"), ofEngine, nil, ""},
		"format 3 is not empty":                  {old(4, other, `"a.b":{}`), old(5, lineage, `"a.b":{}`), full, guarded, ""},
		"over a backend file":                    {backendFile, body(5, lineage, "x"), full, nil, ""},
		"a backend file":                         {body(4, lineage, "x"), backendFile, force, statelatch.ErrInvalid, ""},
		"a backend file over nothing":            {absent, backendFile, force, statelatch.ErrInvalid, ""},
		"a backend file of another make":         {body(4, lineage, "x"), `{"version":3,"serial":9,"lineage":"` + lineage + `","state_store":{}}`, force, statelatch.ErrInvalid, ""},
		"a backend file that says format 4":      {absent, `{"version":4,"serial":1,"lineage":"l","backend":{"type":"s3"}}`, force, statelatch.ErrInvalid, ""},
		"format 3 without modules":               {absent, `{"version":3,"serial":1,"lineage":"l","sources":[]}`, force, statelatch.ErrInvalid, ""},
		"what show -json prints":                 {absent, `{"format_version":"1.0","terraform_version":"1.11.4","values":{}}`, force, statelatch.ErrInvalid, ""},
		"not UTF-8":                              {body(4, lineage, "x"), body(5, lineage, "caf\xe9"), force, statelatch.ErrInvalid, ""},
		"not UTF-8 in a comment of nobody":       {absent, `{"version":4,"serial":1,"lineage":"l","x":"` + "\xc3" + `"}`, force, statelatch.ErrInvalid, ""},
		"not UTF-8, encrypted":                   {absent, `{"serial":1,"lineage":"l","meta":{"k":"` + "\xff" + `"},"encrypted_data":"A","encryption_version":"v0"}`, force, statelatch.ErrInvalid, ""},
		"UTF-16":                                 {absent, "\xff\xfe{\x00", force, statelatch.ErrInvalid, ""},
		"not UTF-8, an engine's result":          {body(4, lineage, "x"), body(5, lineage, "caf\xe9"), ofEngine, statelatch.ErrInvalid, ""},
		"a bracket too much inside":              {absent, `{"version":4,"terraform_version":"1.0","serial":1,"lineage":"l","outputs":{},"resources":[}]}`, force, statelatch.ErrInvalid, ""},
		"a comma too much inside":                {absent, `{"version":4,"terraform_version":"1.0","serial":1,"lineage":"l","outputs":{},"resources":[{},]}`, force, statelatch.ErrInvalid, ""},
		"a word inside":                          {absent, `{"version":4,"terraform_version":"1.0","serial":1,"lineage":"l","outputs":{"a":{"value":nul}},"resources":[]}`, force, statelatch.ErrInvalid, ""},
		"a control character inside":             {absent, `{"version":4,"terraform_version":"1.0","serial":1,"lineage":"l","outputs":{},"resources":[{"name":"a` + "\x01" + `"}]}`, force, statelatch.ErrInvalid, ""},
		"resources that are no list":             {absent, `{"version":4,"serial":1,"lineage":"l","resources":{}}`, force, statelatch.ErrInvalid, ""},
		"outputs that are no object":             {absent, `{"version":4,"serial":1,"lineage":"l","outputs":[]}`, force, statelatch.ErrInvalid, ""},
		"no version of an engine":                {absent, `{"version":4,"terraform_version":"latest","serial":1,"lineage":"l"}`, force, statelatch.ErrInvalid, ""},
		"no lineage":                             {absent, `{"version":4,"serial":1,"resources":[]}`, full, guarded, ""},
		"the highest serial":                     {absent, `{"version":4,"serial":18446744073709551615,"lineage":"l","resources":[]}`, full, guarded, ""},
		"encrypted without data":                 {absent, `{"serial":1,"lineage":"l","encryption_version":"v0"}`, force, statelatch.ErrInvalid, ""},
		"encrypted by another format":            {absent, strings.Replace(encrypted(1, "l", "x"), "v0", "v7", 1), full, guarded, ""},
		"plain over encrypted":                   {encrypted(4, lineage, "x"), body(5, lineage, "x"), full, nil, ""},
		"serial 0 with resources is a state":     {body(0, lineage, "x"), body(3, other, "y"), full, guarded, ""},
		"serial 0 over nothing":                  {absent, body(0, lineage, "x"), full, nil, ""},
		"over no state":                          {"oops", body(1, lineage, "y"), full, guarded, ""},
		"over no state, forced":                  {"oops", body(1, lineage, "y"), force, nil, ""},
		"encrypted":                              {encrypted(4, lineage, "x"), encrypted(5, lineage, ""), full, nil, ""},
		"encrypted, older":                       {encrypted(4, lineage, "x"), encrypted(3, lineage, "y"), full, guarded, ""},
		"encrypted, older, forced":               {encrypted(4, lineage, "x"), encrypted(3, lineage, "y"), force, nil, ""},
		"encrypted, foreign":                     {encrypted(4, lineage, "x"), encrypted(5, other, "y"), full, guarded, ""},
		"encrypted over plain":                   {body(4, lineage, "x"), encrypted(5, lineage, "y"), full, nil, ""},
		"plain without resources over encrypted": {encrypted(4, lineage, "x"), body(5, lineage, ""), full, nil, ""},
		"serial with blanks, forced": {
			body(9, lineage, "x"), `{ "version": 4, "outputs": {"serial": {"value": 1}}, "serial" : 3 , "lineage": "` + lineage + `", "resources": [{}] }`, force, nil,
			`{ "version": 4, "outputs": {"serial": {"value": 1}}, "serial" : 10 , "lineage": "` + lineage + `", "resources": [{}] }`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.seed(t, tc.base)
			lock := holding()
			x := r.begin(t, lock)
			v, err := write(t, x, tc.next, tc.opts)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got error %v, want %v", err, tc.want)
			}
			if len(lock.held) != 0 {
				t.Errorf("held: %v", lock.held)
			}
			if tc.want != nil {
				wantKind(t, "Write", err, statelatch.ErrInvalid)
				wantStored(t, r, tc.base)
				wantRequests(t, r, 0, "get")
				if forced := tc.opts.Force; forced && errors.Is(err, state.ErrGuarded) {
					t.Errorf("got %v, which -force overrides", err)
				}
				return
			}
			want := tc.stored
			if want == "" {
				want = tc.next
			}
			got := r.stored(t)
			if trimmed(got) != trimmed(want) {
				t.Errorf("stored: got %q, want %q", got, want)
			}
			if v.MD5 != md5of(got) || v.Size != int64(len(got)) {
				t.Errorf("got %+v, want what is stored", v)
			}
			// What was written is a base like any other.
			after := state.WriteOptions{Force: v.Header.Version != 4 && !v.Header.Encrypted()}
			if _, err := write(t, x, body(1000, v.Header.Lineage, "z"), after); err != nil {
				t.Errorf("next write: %v", err)
			}
		})
	}
}

// R12: where the serial does not prove that the bytes are new, blanks make them so.
func TestSession_Write_R12_NeverOldBytes(t *testing.T) {
	t.Parallel()
	const other = "99999999-2222-3333-4444-555555555555"
	r := newRig()
	old := r.seed(t, body(7, other, "x"))
	r.seed(t, body(4, lineage, "x"))
	x := r.begin(t, holding())
	v, err := write(t, x, body(7, other, "x"), state.WriteOptions{Force: true})
	if err != nil || v.ETag == old {
		t.Errorf("got ETag %s, %v, want another than the old one", v.ETag, err)
	}
}

func TestSession_Write_SameContentIsNoWrite(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]string{
		"same bytes":   body(4, lineage, "x"),
		"other blanks": trimmed(body(4, lineage, "x")) + "\n \t ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			etag := r.seed(t, body(4, lineage, "x"))
			x := r.begin(t, holding())
			v, err := write(t, x, next, state.WriteOptions{})
			if err != nil || v.ETag != etag {
				t.Errorf("got %s, %v, want the base", v.ETag, err)
			}
			wantRequests(t, r, 0, "get")
		})
	}
}

func TestSession_Write_LeaseIsOver(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(1, lineage, "x"))
	lock := holding()
	lock.checkTo = 1
	x := r.begin(t, lock)
	_, err := write(t, x, body(2, lineage, "x"), state.WriteOptions{})
	wantKind(t, "Write", err, statelatch.ErrLockLost)
	wantRequests(t, r, 0, "get")
	if len(lock.held) != 0 {
		t.Errorf("held: %v", lock.held)
	}
}

// B11: a holder whose lock was taken over cannot write over the new holder's state, nor over what that one fenced.
func TestSession_Write_B11_LastHolderIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		base string
		take func(t *testing.T, r *rig)
	}{
		"a newer state":      {body(1, lineage, "x"), replaced(body(2, lineage, "theirs"))},
		"deleted":            {body(1, lineage, "x"), replaced(deleted)},
		"created":            {absent, replaced(body(1, lineage, "theirs"))},
		"fenced":             {body(1, lineage, "x"), fence},
		"fenced, absent":     {absent, fence},
		"fenced, zero bytes": {"", fence},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.seed(t, tc.base)
			lock := holding()
			x := r.begin(t, lock)
			tc.take(t, r)
			lock.verifyErr = statelatch.ErrLockLost
			before := r.stored(t)
			_, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{Force: true})
			if !errors.Is(err, statelatch.ErrPreconditionFailed) && !errors.Is(err, statelatch.ErrLockLost) || errors.Is(err, statelatch.ErrAmbiguous) {
				t.Errorf("got %v, want a certain refusal", err)
			}
			if got := r.stored(t); got != before && strings.Contains(got, "ours") {
				t.Errorf("stored: got %q, want no data of the last holder", got)
			}
			if len(lock.held) != 0 {
				t.Errorf("held: %v", lock.held)
			}
		})
	}
}

func replaced(content string) func(*testing.T, *rig) {
	return func(t *testing.T, r *rig) {
		t.Helper()
		r.happen(t, content)
	}
}

func fence(t *testing.T, r *rig) {
	t.Helper()
	if err := r.Touch(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
}

func TestSession_Write_ChangedErrorNamesTheOther(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(1, lineage, "x"))
	x := r.begin(t, holding())
	etag := r.seed(t, body(2, lineage, "theirs"))
	_, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{})
	var changed *state.ChangedError
	if !errors.As(err, &changed) || changed.Now.Header.Serial != 2 || changed.Now.ETag != etag || changed.Unknown {
		t.Fatalf("got %v, want a ChangedError with serial 2", err)
	}
	for _, part := range []string{"serial 2", etag, "nothing was written", ref.String()} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("message %q does not name %q", err, part)
		}
	}
}

// R9: a proxy sends our write twice and answers with the second reply, a refusal; by the time we look, somebody has
// built on our write. It was not refused, and nothing of it is under way any more.
func TestSession_Write_R9_RefusedButBuiltOn(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(1, lineage, "x"))
	lock := holding()
	x := r.begin(t, lock)
	r.bucket.Add(
		faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.Resend()},
		faultbucket.Rule{Op: faultbucket.OpGet, Nth: 1, Fault: faultbucket.DelayWith(func(context.Context) error {
			r.happen(t, body(3, lineage, "built on ours"))
			return nil
		})},
	)
	_, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{})
	var changed *state.ChangedError
	if !errors.As(err, &changed) || !changed.Unknown || !errors.Is(err, statelatch.ErrAmbiguous) {
		t.Errorf("got %v, want an unknown outcome that names what is there now", err)
	}
	if len(lock.held) != 0 {
		t.Errorf("held: %v", lock.held)
	}
	if _, err := write(t, x, body(4, lineage, "ours"), state.WriteOptions{}); !errors.Is(err, statelatch.ErrAmbiguous) {
		t.Errorf("the next write: got %v, want it refused", err)
	}
}

// R7: our write landed and its reply was lost; meanwhile the lock was forced away and the next holder touched the
// state. What is read back is ours, but its ETag is not: the next write must look at the lock first.
func TestSession_Write_R7_AfterReadingBack(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(1, lineage, "x"))
	lock := holding()
	x := r.begin(t, lock)
	r.bucket.Add(
		faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.LoseReply()},
		faultbucket.Rule{Op: faultbucket.OpGet, Nth: 1, Fault: faultbucket.DelayWith(func(context.Context) error {
			fence(t, r)
			return nil
		})},
	)
	if _, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{}); err != nil {
		t.Fatalf("Write: %v", err)
	}
	lock.verifyErr = statelatch.ErrLockLost
	before := r.stored(t)
	if _, err := write(t, x, body(3, lineage, "zombie"), state.WriteOptions{}); !errors.Is(err, statelatch.ErrLockLost) {
		t.Errorf("the next write: got %v, want ErrLockLost", err)
	}
	if got := r.stored(t); got != before {
		t.Errorf("the last holder wrote %q", got)
	}
}

// R8: a touch by somebody who gave up again does not cost the holder its write.
func TestSession_Write_R8_FollowsATouch(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		base     string
		verified int // once in Begin, once for each time that the state had moved, once after the claim of zero bytes
	}{"a state": {body(1, lineage, "x"), 2}, "absent": {absent, 3}, "zero bytes": {"", 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.seed(t, tc.base)
				lock := holding()
				x := r.begin(t, lock)
				fence(t, r)
				fence(t, r)
				content := body(2, lineage, "ours")
				if _, err := write(t, x, content, state.WriteOptions{}); err != nil {
					t.Fatal(err)
				}
				wantStored(t, r, content)
				if lock.verified != tc.verified {
					t.Errorf("%d looks at the lock, want %d", lock.verified, tc.verified)
				}
			})
		})
	}
}

func TestSession_Write_R8_EndlessTouchesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.seed(t, body(1, lineage, "x"))
		x := r.begin(t, holding())
		r.bucket.Add(faultbucket.Rule{Op: put, Fault: faultbucket.DelayWith(func(context.Context) error {
			r.seed(t, trimmed(r.stored(t))+"\n"+strings.Repeat(" ", len(r.stored(t))%100))
			return nil
		})})
		_, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{})
		wantKind(t, "Write", err, statelatch.ErrPreconditionFailed)
		if n := r.bucket.Count(put, ref.Key); n != 6 {
			t.Errorf("%d attempts, want 6", n)
		}
	})
}

// A dead holder's claim of zero bytes that lands late is an empty state, which the living one follows.
func TestSession_Write_R8_FollowsALateClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(faultbucket.Rule{Op: put, Nth: 1, Fault: faultbucket.Late(faultbucket.Held)})
		r.seed(t, "")
		dead := holding()
		zombie := r.begin(t, dead)
		dead.checkTo = 2 // the lease ends while its claim is under way
		_, err := write(t, zombie, body(9, lineage, "zombie"), state.WriteOptions{})
		wantKind(t, "the zombie's Write", err, statelatch.ErrAmbiguous)

		fence(t, r)
		lock := holding()
		x := r.begin(t, lock)
		r.bucket.Deliver()
		content := body(1, lineage, "ours")
		if _, err := write(t, x, content, state.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		wantStored(t, r, content)
	})
}

// R9: a refusal after an attempt without a reply proves nothing. Ours landed and was built upon.
func TestSession_Write_R9_SupersededIsUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.seed(t, body(1, lineage, "x"))
		lock := holding()
		x := r.begin(t, lock)
		r.bucket.Add(
			faultbucket.Rule{Op: put, Nth: 1, Fault: faultbucket.LoseReply()},
			faultbucket.Rule{Op: get, Nth: 1, Fault: faultbucket.DelayWith(func(context.Context) error {
				r.seed(t, body(3, lineage, "ours theirs"))
				return nil
			})},
		)
		_, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{})
		var changed *state.ChangedError
		if !errors.As(err, &changed) || !changed.Unknown || changed.Now.Header.Serial != 3 {
			t.Fatalf("got %v, want a ChangedError that says unknown", err)
		}
		wantKind(t, "Write", err, statelatch.ErrAmbiguous)
		if errors.Is(err, statelatch.ErrPreconditionFailed) {
			t.Errorf("%v says that it was refused, which is not known", err)
		}
		if len(lock.held) != 1 {
			t.Errorf("Hold was called %d times, want once", len(lock.held))
		}
		_, err = write(t, x, body(4, lineage, "ours"), state.WriteOptions{})
		wantKind(t, "a later Write of the session", err, statelatch.ErrAmbiguous)
	})
}

// R5: while it is not known, the lock stays.
func TestSession_Write_R5_UnknownHolds(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultbucket.Fault{
		"every reply lost":   faultbucket.LoseReply(),
		"every request lost": faultbucket.LoseRequest(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.seed(t, body(1, lineage, "x"))
				lock := holding()
				x := r.begin(t, lock)
				r.bucket.Add(faultbucket.Rule{Fault: fault})
				start := time.Now()
				_, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{})
				wantKind(t, "Write", err, statelatch.ErrAmbiguous)
				if len(lock.held) != 1 || !errors.Is(lock.held[0], statelatch.ErrAmbiguous) {
					t.Errorf("held %v, want once", lock.held)
				}
				if d := time.Since(start); d < 25*time.Second || d > 31*time.Second {
					t.Errorf("gave up after %v, want about 30s", d)
				}
			})
		})
	}
}

// The lease ends while the outcome is unknown: nothing is sent any more, but it is looked whether it landed.
func TestSession_Write_LeaseEndsInDoubt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault faultbucket.Fault
		want  error
	}{
		"it landed":     {faultbucket.Late(5), nil},
		"it did not":    {faultbucket.LoseRequest(), statelatch.ErrAmbiguous},
		"reply is lost": {faultbucket.LoseReply(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(faultbucket.Rule{Op: put, Nth: 1, Fault: tc.fault})
				r.seed(t, body(1, lineage, "x"))
				lock := holding()
				lock.checkTo = 2
				x := r.begin(t, lock)
				_, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{})
				if !errors.Is(err, tc.want) || errors.Is(err, statelatch.ErrLockLost) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if n := r.bucket.Count(put, ref.Key); n != 1 {
					t.Errorf("sent %d times, want once", n)
				}
				if (len(lock.held) == 1) != (tc.want != nil) {
					t.Errorf("held %v", lock.held)
				}
			})
		})
	}
}

// Ctrl-C in the middle of a write: what became of it is found out nevertheless.
func TestSession_Write_CancelledInFlightIsResolved(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultbucket.Fault{
		"landed":     faultbucket.LoseReply(),
		"not landed": faultbucket.LoseRequest(),
		"late":       faultbucket.Late(3),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.seed(t, body(1, lineage, "x"))
				lock := holding()
				x := r.begin(t, lock)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r.bucket.Add(faultbucket.Rule{Op: put, Nth: 1, Fault: fault, Match: func(faultbucket.Request) bool { cancel(); return true }})
				content := body(2, lineage, "ours")
				if _, err := x.Write(ctx, strings.NewReader(content), state.WriteOptions{}); err != nil {
					t.Fatal(err)
				}
				wantStored(t, r, content)
			})
		})
	}
}

func TestSession_Write_CancelledBeforeSendingIsNothing(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(1, lineage, "x"))
	lock := holding()
	x := r.begin(t, lock)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := x.Write(ctx, strings.NewReader(body(2, lineage, "ours")), state.WriteOptions{})
	if !errors.Is(err, context.Canceled) || errors.Is(err, statelatch.ErrAmbiguous) || len(lock.held) != 0 {
		t.Errorf("got %v, held %v, want only the context's error", err, lock.held)
	}
	if _, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{}); err != nil {
		t.Errorf("the session goes on: %v", err)
	}
}

// B25: a denial is final, and is not a conflict.
func TestSession_Write_B25_Denied(t *testing.T) {
	t.Parallel()
	r := newRig(faultbucket.Rule{Op: put, Fault: faultbucket.Answer(403)})
	r.seed(t, body(1, lineage, "x"))
	x := r.begin(t, holding())
	_, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{})
	wantKind(t, "Write", err, statelatch.ErrDenied)
	wantRequests(t, r, 0, "get", "put If-Match")
}

// B24: the digest is of the bytes that were sent, whatever the ETag says.
func TestSession_Write_B24_DigestOfTheBytes(t *testing.T) {
	t.Parallel()
	r := newRig()
	base := body(1, lineage, "x")
	r.seed(t, base)
	digests := r.withTable(md5of(base))
	x := r.begin(t, holding())
	// Forced, so that the bytes sent are not those given.
	v, err := write(t, x, body(1, lineage, "y"), state.WriteOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := md5of(r.stored(t)); digests.items[ref] != want || v.MD5 != want {
		t.Errorf("digest: got %s and %s, want %s", digests.items[ref], v.MD5, want)
	}
	if v, err = write(t, x, body(3, lineage, "y"), opts()); err != nil || digests.items[ref] != v.MD5 {
		t.Errorf("second Write: %v, digest %s, want %s", err, digests.items[ref], v.MD5)
	}
	if got := fmt.Sprint(digests.calls); got != "[get swap swap]" {
		t.Errorf("calls of the table: %s, want one read and one write for each write", got)
	}
}

// Ctrl-C between the state and its digest leaves no stale digest.
func TestSession_Write_W22_CancelledBeforeTheDigest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		base, content := body(1, lineage, "x"), body(2, lineage, "ours")
		r.seed(t, base)
		digests := r.withTable(md5of(base))
		x := r.begin(t, holding())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r.bucket.Add(faultbucket.Rule{Op: put, Fault: faultbucket.DelayReplyWith(func(context.Context) error { cancel(); return nil })})
		if _, err := x.Write(ctx, strings.NewReader(content), opts()); err != nil || digests.items[ref] != md5of(content) {
			t.Errorf("got %v, digest %s, want %s", err, digests.items[ref], md5of(content))
		}
	})
}

// W22: a digest that cannot be written is tried again, and then reported as what it is: the state is in place.
func TestSession_Write_W22_DigestFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		faults []error
		want   error
	}{
		"in passing": {[]error{nil, statelatch.ErrAmbiguous, statelatch.ErrThrottled}, nil},
		"for good":   {[]error{nil, statelatch.ErrDenied}, state.ErrDigestStale},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				base := body(1, lineage, "x")
				r.seed(t, base)
				digests := r.withTable(md5of(base), tc.faults...)
				lock := holding()
				x := r.begin(t, lock)
				content := body(2, lineage, "ours")
				v, err := write(t, x, content, state.WriteOptions{})
				if !errors.Is(err, tc.want) {
					t.Fatalf("got %v, want %v", err, tc.want)
				}
				wantStored(t, r, content)
				if v.MD5 != md5of(content) || len(lock.held) != 0 {
					t.Errorf("got %+v, held %v", v, lock.held)
				}
				var stale *state.DigestError
				if errors.As(err, &stale) {
					wantKind(t, "Write", err, statelatch.ErrDenied)
					if stale.MD5 != md5of(content) || !strings.Contains(err.Error(), stale.MD5) {
						t.Errorf("got %v, want the digest to set", err)
					}
					// The same write once more heals it, without a PUT.
					before := len(r.bucket.Requests())
					if _, err := write(t, x, content, state.WriteOptions{}); err != nil {
						t.Errorf("again: %v", err)
					}
					wantRequests(t, r, before)
				}
				if digests.items[ref] != md5of(content) {
					t.Errorf("digest: got %s, want %s", digests.items[ref], md5of(content))
				}
			})
		})
	}
}

// expiring refuses its first puts with expired credentials.
type expiring struct {
	bucket.Bucket
	left int
}

func (e *expiring) Put(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
	if e.left > 0 {
		e.left--
		return bucket.Object{}, &statelatch.StoreError{Kind: statelatch.ErrDenied, Op: "put", Status: 400, Code: "ExpiredToken"}
	}
	return e.Bucket.Put(ctx, key, body, opts)
}

// B14: a state is not lost because a session expired while it was made.
func TestSession_Write_B14_ExpiredCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.seed(t, body(1, lineage, "x"))
		x := r.begin(t, holding())
		r.Bucket = &expiring{r.Bucket, 3}
		if _, err := write(t, x, body(2, lineage, "ours"), state.WriteOptions{}); err != nil {
			t.Errorf("Write: %v", err)
		}
		if got := r.stored(t); got != body(2, lineage, "ours") {
			t.Errorf("stored: %q", got)
		}
	})
}
