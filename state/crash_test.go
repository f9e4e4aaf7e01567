package state_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/state"
)

// mishaps are what can happen to the n-th request. Some cancel the caller's context at the same moment; some last from
// then on.
var mishaps = map[string]struct {
	fault   faultbucket.Fault
	cancels bool
	lasts   bool
}{
	"request lost":               {fault: faultbucket.LoseRequest()},
	"reply lost":                 {fault: faultbucket.LoseReply()},
	"late by 1":                  {fault: faultbucket.Late(1)},
	"late by 3":                  {fault: faultbucket.Late(3)},
	"late, after the operation":  {fault: faultbucket.Late(faultbucket.Held)},
	"duplicate":                  {fault: faultbucket.Duplicate(0)},
	"duplicate later":            {fault: faultbucket.Duplicate(2)},
	"duplicate afterwards":       {fault: faultbucket.Duplicate(faultbucket.Held)},
	"re-sent on the way":         {fault: faultbucket.Resend()},
	"409":                        {fault: faultbucket.Answer(409)},
	"409 after the write":        {fault: faultbucket.AnswerAfter(409)},
	"412 without reason":         {fault: faultbucket.Answer(412)},
	"412 after the write":        {fault: faultbucket.AnswerAfter(412)},
	"500":                        {fault: faultbucket.Answer(500)},
	"500 after the write":        {fault: faultbucket.AnswerAfter(500)},
	"503":                        {fault: faultbucket.Answer(503)},
	"503 after the write":        {fault: faultbucket.AnswerAfter(503)},
	"403":                        {fault: faultbucket.Answer(403)},
	"body cut":                   {fault: faultbucket.CutBody(5)},
	"cut before":                 {fault: faultbucket.LoseRequest(), cancels: true},
	"cut after":                  {fault: faultbucket.LoseReply(), cancels: true},
	"cut, late":                  {fault: faultbucket.Late(faultbucket.Held), cancels: true},
	"requests lost from then on": {fault: faultbucket.LoseRequest(), lasts: true},
	"replies lost from then on":  {fault: faultbucket.LoseReply(), lasts: true},
	"409 from then on":           {fault: faultbucket.Answer(409), lasts: true},
	"412 from then on":           {fault: faultbucket.Answer(412), lasts: true},
	"503 from then on":           {fault: faultbucket.Answer(503), lasts: true},
	"503 after, from then on":    {fault: faultbucket.AnswerAfter(503), lasts: true},
	"denied from then on":        {fault: faultbucket.Answer(403), lasts: true},
	"cut, and lost from then on": {fault: faultbucket.LoseReply(), cancels: true, lasts: true},
}

// scene is one operation under a mishap. do runs it and returns how to judge its end, once the network is well and
// has delivered everything.
type scene struct {
	base string
	do   func(ctx context.Context, t *testing.T, r *rig) (judge func())
	// snapshots: the bucket keeps no versions, so that what is replaced has to be kept first.
	snapshots bool
}

var scenes = map[string]scene{
	"write over a state":    {base: body(1, lineage, "x"), do: writeScene},
	"write over nothing":    {base: absent, do: writeScene},
	"write over zero bytes": {base: "", do: writeScene},
	"touch a state":         {base: body(1, lineage, "x"), do: touchScene},
	"touch nothing":         {base: absent, do: touchScene},
	"touch zero bytes":      {base: "", do: touchScene},
	"new":                   {base: absent, do: newScene},
	"new over a state":      {base: body(1, lineage, "x"), do: newScene},
	"ensure":                {base: absent, do: ensureScene},
	"ensure over a state":   {base: body(1, lineage, "x"), do: ensureScene},
	"delete":                {base: body(1, lineage, ""), do: deleteScene},
	"rescue":                {base: body(1, lineage, "x"), do: rescueScene},

	"write, with a snapshot":    {base: body(1, lineage, "x"), do: writeScene, snapshots: true},
	"first write, no snapshot":  {base: absent, do: writeScene, snapshots: true},
	"delete, with a snapshot":   {base: body(1, lineage, ""), do: deleteScene, snapshots: true},
	"restore":                   {base: body(7, lineage, "x"), do: restoreScene},
	"restore, with a snapshot":  {base: body(7, lineage, "x"), do: restoreScene, snapshots: true},
	"restore what was deleted":  {base: absent, do: restoreScene},
	"restore over zero bytes":   {base: "", do: restoreScene},
	"restore over broken bytes": {base: "{broken", do: restoreScene, snapshots: true},
	"snapshot":                  {base: body(1, lineage, "x"), do: snapshotScene, snapshots: true},
}

func writeScene(ctx context.Context, t *testing.T, r *rig) func() {
	t.Helper()
	base, ours := r.stored(t), body(2, lineage, "ours")
	lock := holding()
	x, err := r.Begin(ctx, lock)
	if err == nil {
		_, err = x.Write(ctx, strings.NewReader(ours), state.WriteOptions{})
	}
	return func() {
		got := r.stored(t)
		kept := got == base || !strings.Contains(base, "name") && !strings.Contains(got, "name")
		switch {
		case err == nil && got != ours:
			t.Errorf("done, but stored is %q", got)
		case errors.Is(err, statelatch.ErrAmbiguous) && len(lock.held) == 0:
			t.Errorf("unknown, but the lock may be released: %v", err)
		case errors.Is(err, statelatch.ErrAmbiguous) && got != ours && !kept:
			t.Errorf("unknown, and stored is neither: %q", got)
		case err != nil && !errors.Is(err, statelatch.ErrAmbiguous) && (!kept || len(lock.held) != 0):
			t.Errorf("refused (%v), but stored is %q; held %v", err, got, lock.held)
		}
	}
}

func touchScene(ctx context.Context, t *testing.T, r *rig) func() {
	t.Helper()
	base := r.stored(t)
	condition := bucket.IfAbsent
	if head, err := r.inner.Head(t.Context(), ref.Key, bucket.ReadOptions{}); err == nil {
		condition = bucket.IfMatch(head.ETag)
	}
	err := r.Touch(ctx, ref)
	return func() {
		got := r.stored(t)
		if trimmed(got) != trimmed(base) && (base != absent || got != "") {
			t.Errorf("the content changed from %q to %q", base, got)
		}
		if err != nil || base == "" {
			return
		}
		_, late := r.inner.Put(t.Context(), ref.Key, strings.NewReader("late"), bucket.PutOptions{If: condition})
		wantKind(t, "a late write", late, statelatch.ErrPreconditionFailed)
	}
}

func newScene(ctx context.Context, t *testing.T, r *rig) func() {
	t.Helper()
	base := r.stored(t)
	v, err := r.New(ctx, ref, state.Provenance{})
	return func() {
		got := r.stored(t)
		switch {
		case base != absent:
			if err == nil || got != base {
				t.Errorf("got %v and %q, want an untouched state and an error", err, got)
			}
		case err == nil && (md5of(got) != v.MD5 || v.ETag == "" || v.Header.Serial != 1):
			t.Errorf("done with %+v, but stored is %q", v, got)
		case errors.Is(err, statelatch.ErrPreconditionFailed) && got != absent:
			t.Errorf("it is said to have existed, but it was created here: %q", got)
		case err != nil && !errors.Is(err, statelatch.ErrAmbiguous) && got != absent:
			t.Errorf("refused (%v), but stored is %q", err, got)
		}
	}
}

func ensureScene(ctx context.Context, t *testing.T, r *rig) func() {
	t.Helper()
	base := r.stored(t)
	err := r.EnsureExists(ctx, ref, state.Provenance{})
	return func() {
		got := r.stored(t)
		lied := slices.ContainsFunc(r.bucket.Requests(), func(q faultbucket.Request) bool { return q.Fault == "answer 412" })
		if base != absent && got != base || base == absent && err == nil && got != "" && !lied {
			t.Errorf("got %v, stored %q", err, got)
		}
	}
}

func deleteScene(ctx context.Context, t *testing.T, r *rig) func() {
	t.Helper()
	base := r.stored(t)
	lock := holding()
	x, err := r.Begin(ctx, lock)
	if err == nil {
		err = state.Workspaces{Store: r.Store, Key: "terraform.tfstate", Prefix: ""}.Delete(ctx, x, false)
	}
	return func() {
		got := r.stored(t)
		switch {
		case err == nil && got != absent:
			t.Errorf("done, but stored is %q", got)
		case errors.Is(err, statelatch.ErrAmbiguous) && len(lock.held) == 0:
			t.Errorf("unknown, but the lock may be released: %v", err)
		case err != nil && !errors.Is(err, statelatch.ErrAmbiguous) && got != base:
			t.Errorf("refused (%v), but stored is %q", err, got)
		}
	}
}

func rescueScene(ctx context.Context, t *testing.T, r *rig) func() {
	t.Helper()
	taken, content := ref.Key+".rescue/run", body(7, lineage, "ours")
	r.seedAt(t, taken, "somebody else's")
	key, err := r.SaveRescue(ctx, ref, "run", strings.NewReader(content), state.Provenance{})
	return func() {
		if got := r.storedAt(t, taken); got != "somebody else's" {
			t.Errorf("replaced somebody else's: %q", got)
		}
		second := r.storedAt(t, taken+"-2")
		switch {
		case err == nil && (key != taken+"-2" || second != content):
			t.Errorf("done at %q, but stored is %q", key, second)
		case err != nil && !errors.Is(err, statelatch.ErrAmbiguous) && second != absent:
			t.Errorf("refused (%v), but stored is %q", err, second)
		}
	}
}

// restoreScene is a rollback: old bytes with a serial that nothing ever had.
func restoreScene(ctx context.Context, t *testing.T, r *rig) func() {
	t.Helper()
	base, ours := r.stored(t), body(9, lineage, "old")
	lock := holding()
	x, err := r.BeginRestore(ctx, lock, state.Version{})
	if err == nil {
		_, err = x.Write(ctx, strings.NewReader(body(5, lineage, "old")), state.WriteOptions{Restore: 9})
	}
	return func() {
		got := r.stored(t)
		kept := got == base || !strings.Contains(base, "name") && !strings.Contains(got, "name")
		switch {
		case err == nil && got != ours:
			t.Errorf("done, but stored is %q", got)
		case errors.Is(err, statelatch.ErrAmbiguous) && (len(lock.held) == 0 || got != ours && !kept):
			t.Errorf("unknown (%v), held %v, stored is %q", err, lock.held, got)
		case err != nil && !errors.Is(err, statelatch.ErrAmbiguous) && (!kept || len(lock.held) != 0):
			t.Errorf("refused (%v), but stored is %q; held %v", err, got, lock.held)
		}
	}
}

// snapshotScene is what run does before an engine starts.
func snapshotScene(ctx context.Context, t *testing.T, r *rig) func() {
	t.Helper()
	base := r.stored(t)
	v, err := r.Mark(ctx, ref)
	if err == nil {
		err = r.Snapshot(ctx, v)
	}
	return func() {
		if errors.Is(err, statelatch.ErrAmbiguous) {
			t.Errorf("got %v: nothing but a snapshot can be in doubt", err)
		}
		if kept := r.kept(t); err == nil && !slices.Equal(kept, []string{base}) {
			t.Errorf("done, but kept is %q", kept)
		}
	}
}

// wantKept checks that a state which is not there any more was kept, once, and nothing else was.
func (s scene) wantKept(t *testing.T, r *rig) {
	t.Helper()
	kept := r.kept(t)
	if void := s.base == absent || s.base == ""; len(kept) > 1 || len(kept) == 1 && (kept[0] != s.base || void) {
		t.Errorf("kept: %q, want nothing but %q", kept, s.base)
	} else if got := r.stored(t); len(kept) == 0 && !void && got != s.base {
		t.Errorf("%q was replaced by %q, and not kept", s.base, got)
	}
}

// Whatever happens to the n-th request of an operation, for every n, it ends as done, as refused
// with nothing changed, or as unknown with the lock held, and stays so when the network delivers what it kept.
func TestState_EveryRequestMayFail(t *testing.T) {
	t.Parallel()
	for name, s := range scenes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for mishap, m := range mishaps {
				for n, met := 1, true; met; n++ {
					if n > 50 {
						t.Fatalf("%s: more than 50 requests", mishap)
					}
					t.Run(fmt.Sprintf("%s %d", mishap, n), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							met = s.play(t, m.fault, n, m.cancels, m.lasts)
						})
					})
					if m.lasts && n > 4 {
						break
					}
				}
			}
		})
	}
}

// play reports whether there was an n-th request.
func (s scene) play(t *testing.T, fault faultbucket.Fault, n int, cancels, lasts bool) (met bool) {
	t.Helper()
	r := newRig()
	if s.snapshots {
		r = newPlainRig()
	}
	r.seed(t, s.base)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	count := 0
	r.bucket.Add(faultbucket.Rule{Fault: fault, Match: func(faultbucket.Request) bool {
		count++
		if count == n && cancels {
			cancel()
		}
		return count == n || count > n && lasts
	}})
	judge := s.do(ctx, t, r)
	r.bucket.Heal()
	r.bucket.Deliver()
	judge()
	if s.snapshots {
		s.wantKept(t, r)
	}
	return count >= n
}

// L1, L3: among clients that only know conditions, with 15 % of everything going wrong, no acknowledged update is lost.
// There is no lock here at all.
func TestSession_Write_NoUpdateIsLost(t *testing.T) {
	t.Parallel()
	for seed := range 20 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { raceForState(t, uint64(seed)) })
		})
	}
}
