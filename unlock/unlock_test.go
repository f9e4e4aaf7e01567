package unlock_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/unlock"
)

// owner took the locks with these IDs here, and its CI run those.
type owner struct {
	took, run []string
	unknown   error
	forgot    []string
}

func (o *owner) Took(h lock.Held) bool { return h.Err == nil && slices.Contains(o.took, h.Info.ID) }
func (o *owner) Owns(h lock.Held) bool { return o.Took(h) || slices.Contains(o.run, h.Info.ID) }
func (o *owner) Unknown() error        { return o.unknown }
func (o *owner) Forget(_ statelatch.Ref, id string) error {
	o.forgot = append(o.forgot, id)
	return nil
}
func (o *owner) ForgetAll(ref statelatch.Ref) error { return o.Forget(ref, "all of "+ref.Key) }

func with(opts unlock.Options) unlock.Options {
	if opts.Owner == nil {
		opts.Owner = &owner{}
	}
	return opts
}

// What is done with a lock, of whom and in what state, by what was asked for.
func TestPlan_Decides(t *testing.T) {
	t.Parallel()
	const hour, notMeant = time.Hour, unlock.Action(-1)
	held := func(age time.Duration, m *statelatch.Managed) lock.Held {
		h := lock.Held{
			Ref: statelatch.Ref{Bucket: "b", Key: "k"}, ETag: "e", Managed: m, Age: age,
			Info: statelatch.LockInfo{ID: "id-1", Who: "bob"},
		}
		if age > 0 {
			h.Since = time.Now().Add(-age)
		}
		return h
	}
	engine, ageless, kept := held(hour, nil), held(0, nil), held(hour, &statelatch.Managed{})
	fresh, stale := held(time.Second, &statelatch.Managed{TTL: hour}), held(2*hour, &statelatch.Managed{TTL: hour})
	here := held(time.Second, &statelatch.Managed{TTL: hour, Client: identity.Client()})
	expired := held(2*hour, &statelatch.Managed{Expires: hour})
	unreadable := lock.Held{Ref: engine.Ref, ETag: "e", Err: statelatch.ErrInvalid, Since: time.Now(), Age: hour}
	mine, runs := &owner{took: []string{"id-1"}}, &owner{run: []string{"id-1"}}
	for name, tc := range map[string]struct {
		held lock.Held
		opts unlock.Options
		want unlock.Action
		why  string // a part of the refusal or the note
	}{
		"another's, nobody to ask":        {engine, unlock.Options{}, unlock.None, "locked"},
		"another's, somebody is asked":    {engine, unlock.Options{Ask: true}, unlock.Force, ""},
		"another's, approved":             {engine, unlock.Options{Approved: true}, unlock.Force, ""},
		"another's and alive, approved":   {fresh, unlock.Options{Approved: true}, unlock.None, "its holder is alive"},
		"unreadable":                      {unreadable, unlock.Options{}, unlock.None, "cannot be read"},
		"unreadable, somebody is asked":   {unreadable, unlock.Options{Ask: true}, unlock.Force, ""},
		"unreadable, by ID":               {unreadable, unlock.Options{ID: "id-1", Ask: true}, unlock.None, "cannot be read"},
		"ours":                            {kept, unlock.Options{Owner: mine}, unlock.Release, ""},
		"ours, of a command out of sight": {fresh, unlock.Options{Owner: mine}, unlock.None, "locked"},
		"ours, of a command that runs":    {here, unlock.Options{Owner: mine}, unlock.None, "stop it"},
		"ours, of a command that is over": {stale, unlock.Options{Owner: mine}, unlock.Release, ""},
		"by ID":                           {engine, unlock.Options{ID: "id-1"}, unlock.Release, ""},
		"by another ID":                   {engine, unlock.Options{ID: "id-2"}, unlock.None, "another ID than id-2"},
		"by a part of the ID":             {engine, unlock.Options{ID: "id…"}, unlock.None, "only the beginning"},
		"mine, another's":                 {engine, unlock.Options{Mine: true}, notMeant, ""},
		"mine, of our CI run":             {kept, unlock.Options{Mine: true, Owner: runs}, unlock.Release, ""},
		"mine, of another job of it":      {fresh, unlock.Options{Mine: true, Owner: runs}, unlock.None, "another job"},
		"too young":                       {engine, unlock.Options{OlderThan: 2 * hour, Ask: true}, notMeant, ""},
		"old enough":                      {engine, unlock.Options{OlderThan: hour, Ask: true}, unlock.Force, ""},
		"of no age":                       {ageless, unlock.Options{OlderThan: hour, Ask: true}, notMeant, ""},
		"expired":                         {expired, unlock.Options{Expired: true}, unlock.Expired, ""},
		"whose is not known": {
			engine, unlock.Options{Owner: &owner{unknown: errors.New("no directory")}}, unlock.None, "no directory",
		},
		"removed by ID":         {fresh, unlock.Options{Remove: true, ID: "id-1"}, unlock.Force, ""},
		"removed by another ID": {fresh, unlock.Options{Remove: true, ID: "id-2"}, unlock.None, "another ID"},
		"removed by ETag":       {unreadable, unlock.Options{Remove: true, ID: "e"}, unlock.Force, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := fleet.Lock{Held: tc.held, Verdict: evidence.Judge(t.Context(), tc.held, evidence.Sources{})}
			p := unlock.Among([]fleet.Lock{l}, nil, with(tc.opts))
			if len(p.Steps) == 0 || tc.want == notMeant {
				if len(p.Steps) > 0 || tc.want != notMeant {
					t.Errorf("got %+v, want action %d", p.Steps, tc.want)
				}
				return
			}
			s := p.Steps[0]
			said := s.Note
			if s.Err != nil {
				said = s.Err.Error()
			}
			if s.Action != tc.want || !strings.Contains(said, tc.why) || (tc.why == "") != (said == "") {
				t.Errorf("got action %d, %q, want %d, %q", s.Action, said, tc.want, tc.why)
			}
		})
	}
}

// What was planned is done if the locks are still as they were shown; a lease is fenced first, or watched.
func TestPlan_Do(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := membucket.New("b", membucket.Options{})
		fenced := 0
		m := &lock.Manager{
			Bucket: b, Tier: lock.TierFull,
			Fence: func(context.Context, statelatch.Ref) error { fenced++; return nil },
		}
		put := func(key, id string, managed *statelatch.Managed) {
			info := statelatch.LockInfo{ID: id, Who: "bob", Operation: "OperationTypeApply"}
			body := info.Marshal()
			if managed != nil {
				managed.Nonce = lock.NewID()
				body = info.MarshalManaged(*managed)
			}
			if _, err := b.Put(t.Context(), key+".tflock", strings.NewReader(string(body)), bucket.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		put("engine", "id-1", nil)
		put("changed", "id-2", nil)
		put("left", "id-3", &statelatch.Managed{TTL: time.Minute})
		put("renewed", "id-4", &statelatch.Managed{TTL: time.Minute})
		var targets []lock.Target
		for _, key := range []string{"engine", "changed", "left", "renewed", "free"} {
			targets = append(targets, lock.Target{Manager: m, Ref: statelatch.Ref{Bucket: "b", Key: key}})
		}
		o := &owner{}
		do := func(opts unlock.Options, targets ...lock.Target) (done []string, errs []error) {
			opts.Owner = o
			p := unlock.Of(t.Context(), targets, with(opts))
			put("changed", "id-5", nil)
			time.AfterFunc(30*time.Second, func() { put("renewed", "id-4", &statelatch.Managed{TTL: time.Minute, Seq: 2}) })
			proven := 0
			err := p.Do(t.Context(), 1, unlock.Hooks{
				Prove: func(_ context.Context, leased []unlock.Step) error { proven += len(leased); return nil },
				Done: func(s unlock.Step, was lock.Held, _ bool, forgetErr error) error {
					done = append(done, s.Ref.Key+" "+was.Info.ID)
					return forgetErr
				},
			})
			if err != nil || opts.Expired && proven != 2 {
				t.Errorf("got %v, %d proven", err, proven)
			}
			for _, s := range p.Steps {
				errs = append(errs, s.Err)
			}
			return done, errs
		}
		done, errs := do(unlock.Options{Approved: true}, targets[0], targets[1], targets[4])
		if !slices.Equal(done, []string{"engine id-1"}) || errs[0] != nil || !errors.Is(errs[1], statelatch.ErrLocked) ||
			!errors.Is(errs[2], statelatch.ErrNotLocked) || fenced != 0 {
			t.Errorf("got %q, %v, %d fenced, want what was shown removed alone", done, errs, fenced)
		}
		done, errs = do(unlock.Options{Expired: true}, targets[2], targets[3])
		if !slices.Equal(done, []string{"left id-3"}) || errs[0] != nil || fenced != 1 ||
			!strings.Contains(errs[1].Error(), "it was renewed, or taken by another, after it was shown") {
			t.Errorf("got %q, %v, %d fenced, want the one that was not renewed released and fenced", done, errs, fenced)
		}
		put("engine", "id-6", nil)
		p := unlock.Of(t.Context(), targets[:1], with(unlock.Options{Approved: true, Owner: o}))
		if err := errors.Join(p.Do(t.Context(), 0, unlock.Hooks{}), p.Err()); err != nil {
			t.Errorf("without hooks: got %v", err)
		}
		if want := []string{"all of free", "id-1", "id-3", "id-6"}; !slices.Equal(o.forgot, want) {
			t.Errorf("got %q forgotten, want %q", o.forgot, want)
		}
	})
}
