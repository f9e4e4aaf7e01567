package cutover

import (
	"context"
	"errors"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/digest"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/plural"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/migrate"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/state"
)

// Verdict says whether a root is ready for the next phase.
type Verdict string

// The verdicts.
const (
	ReadyForPhase1 Verdict = "ready for phase 1" // its clients may begin to take both locks
	ReadyForPhase2 Verdict = "ready for phase 2" // its clients may stop using the table
	Done           Verdict = "done"              // it is at the last phase, and nothing is in the way
	NotReady       Verdict = "not ready"         // something is in the way: see InTheWay
)

// Root is a root of a tree, held against its bucket and table.
type Root struct {
	Dir     string        `json:"dir"`                      // relative to the tree, with slashes
	Variant string        `json:"variant,omitempty"`        // what sets it apart from other roots of Dir; empty: nothing
	Phase   migrate.Phase `json:"phase"`                    // that its configuration is in
	Ref     string        `json:"ref,omitempty"`            // of its default state; empty: not known
	Table   string        `json:"dynamodb_table,omitempty"` // its lock table; empty: none, or not known
	Verdict Verdict       `json:"verdict"`                  // what follows from all that
	troubles
	Exists  bool    `json:"exists"`           // there is a state
	Serial  *uint64 `json:"serial,omitempty"` // the state's; nil: not known, or there is none
	Digests int     `json:"digests"`          // in the table, of the state and its workspaces
	Tier    string  `json:"tier,omitempty"`   // of the store; empty: not proven
	Locks   []Lock  `json:"locks"`            // on the state and its workspaces

	Name   string `json:"-"` // for people
	Digest string `json:"-"` // its status, for people

	ref    statelatch.Ref
	prefix string // workspace_key_prefix, which sets its states apart from those of others with its key
}

// Verifier holds roots against their stores. Its functions are called by Verify itself; OnProgress may be nil.
type Verifier struct {
	// Open connects to the bucket of a root, whose state is ref.
	Open func(ctx context.Context, r *migrate.Root, ref statelatch.Ref) (*site.Site, error)
	// Prove finds out how well a store locks. An error that matches ErrUnsafeStore says that it cannot.
	Prove func(ctx context.Context, s *site.Site) (lock.Tier, error)
	// FixDigest is the command that mends the digest of a state, for people.
	FixDigest  func(s *site.Site, ref statelatch.Ref) string
	OnProgress func(fleet.Progress) // of listings; nil behind each

	places map[string]*place
}

// place is a bucket with the table that its states are locked in. Roots share one.
type place struct {
	*site.Site

	tier    string
	locks   []fleet.Lock
	digests []string // keys of states that have one
	troubles
}

// Verify looks, for each root whose bucket and key stand in the tree, at its state, its locks in both places, its
// digests, and whether the store is proven to lock. Both plans are the tree's, for phase 1 and 2. It changes nothing
// but what Prove does. What cannot be reached or read is in the way of its root; the error is that of ctx.
func (v *Verifier) Verify(ctx context.Context, tree *migrate.Tree, plans [2]*migrate.Plan) ([]Root, error) {
	v.places = map[string]*place{}
	roots := make([]Root, len(tree.Roots))
	places := make([]*place, len(tree.Roots))
	indexes := make([]int, len(tree.Roots))
	for i := range tree.Roots {
		r := &tree.Roots[i]
		roots[i] = Root{Dir: r.Dir, Variant: r.Variant, Phase: r.Phase, Name: r.Name()}
		var err error
		if places[i], err = v.place(ctx, r, &roots[i]); err != nil {
			return nil, err
		}
		indexes[i] = i
	}
	err := fleet.Each(ctx, 0, indexes, func(ctx context.Context, i int) error {
		next := plans[0].Moves[i]
		if phase := tree.Roots[i].Phase; phase == migrate.PhaseBoth || phase == migrate.PhaseLockfile {
			next = plans[1].Moves[i]
		}
		return roots[i].judge(ctx, v, places[i], next)
	})
	return roots, err
}

// place finds where a root's state is and looks there once; nil if the tree does not tell.
func (v *Verifier) place(ctx context.Context, r *migrate.Root, out *Root) (*place, error) {
	ref, ok := r.Ref()
	if !ok {
		return nil, nil
	}
	out.Ref, out.ref = ref.String(), ref
	s, err := v.Open(ctx, r, ref)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		out.block("it cannot be reached: %v", err)
		return nil, nil
	}
	b := s.Backend
	out.Table, out.prefix = b.DynamoDBTable, b.WorkspaceKeyPrefix
	id := strings.Join([]string{s.Bucket.Store(), ref.Bucket, b.S3.Profile, b.DynamoDBTable, b.DynamoDBEndpoint}, "\x00")
	p := v.places[id]
	if p == nil {
		p = &place{Site: s}
		v.places[id] = p
		p.look(ctx, v, ref.Bucket)
	}
	return p, ctx.Err()
}

// look reads what is about the whole place.
func (p *place) look(ctx context.Context, v *Verifier, bucket string) {
	tier, err := v.Prove(ctx, p.Site)
	switch {
	case errors.Is(err, statelatch.ErrUnsafeStore):
		p.tier = lock.TierNone.String()
		p.block("%v", err)
	case err != nil:
		p.block("whether the store can lock is not known: %v", err)
	default:
		p.tier = tier.String()
	}
	list, err := fleet.Locks(ctx, p.Manager, statelatch.Scope{Bucket: bucket}, fleet.LockOptions{OnProgress: v.OnProgress})
	p.locks = list.Locks
	switch {
	case err != nil:
		p.block("its locks cannot be listed: %v", err)
	case list.Unlisted != nil:
		p.block("the table cannot be listed: %v", list.Unlisted)
	case p.Table != nil:
		if p.digests, err = digest.Keys(ctx, p.Table, statelatch.Scope{Bucket: bucket}, ""); err != nil {
			p.block("the table cannot be listed: %v", err)
		}
	}
}

// judge says whether a root is ready for the next phase.
func (r *Root) judge(ctx context.Context, v *Verifier, p *place, next migrate.Move) error {
	r.Locks = []Lock{}
	switch next.Status {
	case migrate.MoveRefused:
		fix := ""
		if next.Fix != "" {
			fix = ". Fix: " + next.Fix
		}
		r.block("%s%s", next.Why, fix)
	case migrate.MoveManual:
		r.note("a person has to make the edit: %s", next.Why)
	}
	if p != nil {
		r.Tier = p.tier
		r.InTheWay = append(r.InTheWay, p.InTheWay...)
		if err := r.state(ctx, v, p); err != nil {
			return err
		}
		for _, l := range p.locks {
			if r.owns(l.Ref.Key) {
				r.lock(ctx, p, l)
			}
		}
		if r.Phase == migrate.PhaseLockfile && p.Table == nil {
			r.note("no table is named, so none was looked at: -backend-config dynamodb_table=NAME")
		}
	}
	switch {
	case len(r.InTheWay) > 0:
		r.Verdict = NotReady
	case r.Phase == migrate.PhaseTable:
		r.Verdict = ReadyForPhase1
	case r.Phase == migrate.PhaseBoth:
		r.Verdict = ReadyForPhase2
	case r.Phase == migrate.PhaseLockfile:
		r.Verdict = Done
	default:
		r.Verdict = NotReady
	}
	return ctx.Err()
}

// owns reports whether key is that of the root's state, or of one of its named workspaces.
func (r *Root) owns(key string) bool { return ownState(key, r.ref.Key, r.prefix) }

// state looks at the state and its digests, those of named workspaces, too.
func (r *Root) state(ctx context.Context, v *Verifier, p *place) error {
	plain := state.Store{Bucket: p.Bucket} // which does not wait for a digest that nobody brings in step
	now, err := plain.Read(ctx, r.ref)
	switch {
	case errors.Is(err, statelatch.ErrNotFound):
	case err != nil:
		r.block("its state cannot be read: %v", err)
		return ctx.Err()
	case now.Err != nil:
		r.note("what is stored is no state: %v", now.Err)
	}
	if r.Exists = now.Exists; !r.Exists {
		r.note("there is no state yet")
	} else if now.Err == nil && !now.Header.Empty {
		r.Serial = &now.Header.Serial
	}
	r.Digest = "-"
	if p.Table == nil {
		return nil
	}
	if r.Phase != migrate.PhaseLockfile {
		r.Digest = string(digest.None)
	}
	checker := digest.Checker{Store: p.Store, Versions: digest.DefaultVersions}
	for _, key := range p.digests {
		if !r.owns(key) {
			continue
		}
		r.Digests++
		if r.Phase == migrate.PhaseLockfile { // nobody keeps it, nobody reads it
			r.Digest = "left"
			continue
		}
		ref := statelatch.Ref{Bucket: r.ref.Bucket, Key: key}
		f, err := checker.Check(ctx, ref)
		if err != nil {
			r.block("its digest cannot be compared: %v", err)
			return ctx.Err()
		}
		if key == r.ref.Key || f.Wrong() {
			r.Digest = string(f.Status)
		}
		if f.Wrong() {
			r.block("the digest of %s is not in step (%s): %s; %s", ref, f.Status, f.Meaning, v.FixDigest(p.Site, ref))
		}
	}
	if r.Phase == migrate.PhaseLockfile && r.Digests > 0 {
		r.note("%s left in the table: statelatch migrate clean", plural.Of(r.Digests, "digest"))
	}
	return nil
}

// lock notes a lock, and says whether its holder is in a phase that it must not be in.
func (r *Root) lock(ctx context.Context, p *place, l fleet.Lock) {
	j := lockOf(l)
	r.Locks = append(r.Locks, j)
	if l.Unread != nil || l.ItemUnread != nil {
		r.block("the lock of %s cannot be read: %v", l.Ref, errors.Join(l.Unread, l.ItemUnread))
		return
	}
	wrong := ""
	switch phase := r.Phase; {
	case l.Kind == fleet.KindHalf:
		wrong = "half of it is missing or another's: " + l.Half
	case phase == migrate.PhaseTable && j.Where == Object && p.Table != nil:
		wrong = "its holder uses the lock object alone, and does not see clients with the table alone"
	case phase == migrate.PhaseBoth && j.Where == Table:
		wrong = "its holder uses the table alone: a checkout or job is still in phase 0, or the item was left behind"
	case phase == migrate.PhaseLockfile && j.Where == Table:
		wrong = "its holder uses the table alone, and clients in phase 2 do not see it: a checkout or job is still in " +
			"phase 0, or the item was left behind"
	case phase == migrate.PhaseLockfile && j.Where == Both:
		wrong = "its holder uses the table, too: a checkout or job is still in phase 1"
	}
	if wrong != "" && (j.Where == Both || lasts(ctx, p.Manager, l)) {
		r.block("%s is locked by %s, and %s", l.Ref, l.Holder(), wrong)
	}
}

// Unready counts the roots that are not ready for what comes next.
func Unready(roots []Root) (n int) {
	for i := range roots {
		if roots[i].Verdict == NotReady {
			n++
		}
	}
	return n
}
