package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/pace"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/migrate"
	"github.com/statelatch/statelatch/state"
	"github.com/urfave/cli/v3"
)

// halfLasts is how long half a lock has to stay what it is: a lock that is just being taken or given back is half for
// an instant.
const halfLasts = 500 * time.Millisecond

// The verdicts of verify.
const (
	readyForPhase1 = "ready for phase 1"
	readyForPhase2 = "ready for phase 2"
	migrationDone  = "done"
	notReady       = "not ready"
)

// wayFlags say how to reach the buckets and tables of a tree, beyond what is in it.
func wayFlags() []cli.Flag {
	return slices.DeleteFunc(directoryFlags(), func(f cli.Flag) bool { return f.Names()[0] == "chdir" })
}

type verifyOptions struct {
	treeOptions
	way targetOptions // without a ref
}

func migrateVerifyCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "hold a tree against its buckets and tables: is it ready for the next phase?",
		UsageText: "statelatch migrate verify [flags] [DIR]",
		Description: "Scans DIR (the current directory), and then looks for each root whose bucket and key stand in the tree at its state,\n" +
			"its locks in both places, its digests, and whether the store is proven to lock. Changes nothing but what 'probe' does\n" +
			"on a store that was not proven today. The verdict of a root is\n" +
			"  ready for phase 1   it locks in the table alone, and nothing is in the way of 'migrate apply -phase 1'\n" +
			"  ready for phase 2   it locks in both places, and no client was seen that does not\n" +
			"  done                it locks in the lock object alone, and no client was seen in the table\n" +
			"  not ready           below it stands why\n" +
			"Exits with 1 if a root is not ready. A root in phase 2 names no table any more: name it with -backend-config\n" +
			"dynamodb_table=NAME, or the table is not looked at. It lists the buckets and the table (dynamodb:Scan).\n\n" +
			"It sees clients that hold a lock while it looks: run it while pipelines are at work, and more than once. A checkout,\n" +
			"branch or job that does nothing just then is not seen. Rights are not tried: 'statelatch policy' prints what phase 2\n" +
			"needs, which is s3:DeleteObject on lock objects above all.\n\n" +
			"Examples:\n" +
			"  statelatch migrate verify\n" +
			"  statelatch migrate verify -json -backend-config dynamodb_table=locks infra",
		Flags: append(wayFlags(), rootFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			tree, err := treeOf(c)
			if err != nil {
				return err
			}
			o := verifyOptions{treeOptions: tree, way: targetOf(c, "")}
			return o.finish(ctx, term, runMigrateVerify(ctx, o, term))
		},
	}
}

func runMigrateVerify(ctx context.Context, o verifyOptions, term terminal) error {
	tree, err := o.scan(ctx)
	if err != nil {
		return err
	}
	var plans [2]*migrate.Plan
	for i := range plans {
		if plans[i], err = tree.Plan(i + 1); err != nil {
			return err
		}
	}
	v := &verifier{verifyOptions: o, term: term, sites: map[string]*rootSite{}}
	result := verifiedJSON{Dir: o.dir, Roots: make([]verifiedRootJSON, len(tree.Roots))}
	var indexes []int
	sites := make([]*rootSite, len(tree.Roots))
	for i := range tree.Roots {
		r := &tree.Roots[i]
		result.Roots[i] = verifiedRootJSON{Dir: r.Dir, Variant: r.Variant, Phase: r.Phase, name: r.Name()}
		if sites[i], err = v.site(ctx, r, &result.Roots[i]); err != nil {
			return err
		}
		indexes = append(indexes, i)
	}
	line := &liveLine{term: term}
	err = fleet.Each(ctx, 0, indexes, func(ctx context.Context, i int) error {
		next := plans[0].Moves[i]
		if phase := tree.Roots[i].Phase; phase == migrate.PhaseBoth || phase == migrate.PhaseLockfile {
			next = plans[1].Moves[i]
		}
		return result.Roots[i].judge(ctx, v, sites[i], next)
	})
	line.clear()
	if err != nil {
		return err
	}
	bad := 0
	for i := range result.Roots {
		if result.Roots[i].Verdict == notReady {
			bad++
		}
	}
	if o.json {
		err = term.printJSON(result)
	} else {
		result.print(term, bad, o.wide)
	}
	if err == nil && bad > 0 {
		return reportedError{fmt.Errorf("%s not ready", count(bad, "root"))}
	}
	return err
}

// verifier holds roots against their stores. Roots of one bucket and table share a site.
type verifier struct {
	verifyOptions
	term  terminal
	sites map[string]*rootSite
}

// rootSite is a bucket with the table that its states are locked in.
type rootSite struct {
	target
	tier    string
	locks   []fleet.Lock
	digests []string // keys of states that have one
	troubles
}

// site finds where a root's state is and looks there once; nil if the tree does not tell.
func (v *verifier) site(ctx context.Context, r *migrate.Root, out *verifiedRootJSON) (*rootSite, error) {
	ref, ok := r.Ref()
	if !ok {
		return nil, nil
	}
	out.Ref, out.ref = ref.String(), ref
	t, err := v.way.openRoot(ctx, v.term, v.dir, r, ref)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		out.block("it cannot be reached: %s", oneLine(err))
		return nil, nil
	}
	out.Table, out.prefix = t.Backend.DynamoDBTable, t.Backend.WorkspaceKeyPrefix
	id := strings.Join([]string{t.Bucket.Endpoint(), ref.Bucket, t.Backend.S3.Profile, t.Backend.DynamoDBTable, t.Backend.DynamoDBEndpoint}, "\x00")
	s := v.sites[id]
	if s == nil {
		s = &rootSite{target: t}
		v.sites[id] = s
		s.look(ctx, v.term, ref.Bucket)
	}
	return s, ctx.Err()
}

// openRoot connects to the bucket of a root. What is given on the command line counts, but for a table where the root
// has its own.
func (o targetOptions) openRoot(ctx context.Context, term terminal, dir string, r *migrate.Root, ref statelatch.Ref) (target, error) {
	typed := o.backendConfig
	o.backendConfig = slices.Concat(r.BackendConfig(), o.backendConfig)
	if table := r.Table(); table.Static && table.Set() {
		o.backendConfig = append(o.backendConfig, "dynamodb_table="+table.Text)
	}
	o.ref = ref.String()
	backend, err := o.backend(ctx, term)
	if err != nil {
		return target{}, err
	}
	if err := trustDirectory(ctx, term, dir, backend, typed); err != nil {
		return target{}, err
	}
	t, err := connect(ctx, term, ref, backend)
	t.again = o.again(term)
	return t, err
}

// nobody is the target for all states alike, so that each is named outright in the next command.
func (t target) nobody() target {
	other := *t.Site
	other.Backend.Key = ""
	t.Site = &other
	return t
}

// look reads what is about the whole site.
func (s *rootSite) look(ctx context.Context, term terminal, bucket string) {
	proven, err := proveStore(ctx, term, s.Bucket)
	if err != nil {
		s.block("whether the store can lock is not known: %s", oneLine(err))
	} else {
		s.tier = proven.Tier.String()
		if err := proven.Err(); err != nil {
			s.block("%s", oneLine(err))
		}
	}
	line := &liveLine{term: term}
	list, err := fleet.Locks(ctx, s.Manager, statelatch.Scope{Bucket: bucket}, fleet.LockOptions{OnProgress: line.walked})
	line.clear()
	s.locks = list.Locks
	switch {
	case err != nil:
		s.block("its locks cannot be listed: %s", oneLine(err))
	case list.Unlisted != nil:
		s.block("the table cannot be listed: %s", oneLine(list.Unlisted))
	case s.Table != nil:
		for key, err := range s.Table.DigestKeys(ctx, bucket) {
			if err != nil {
				s.block("the table cannot be listed: %s", oneLine(err))
				break
			}
			s.digests = append(s.digests, key)
		}
	}
}

// troubles are what is in the way of the next phase, and what else there is to know. Each is one line that is safe to
// print.
type troubles struct {
	InTheWay []string `json:"in_the_way,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

func (t *troubles) block(format string, args ...any) {
	t.InTheWay = append(t.InTheWay, statelatch.Printable(fmt.Sprintf(format, args...)))
}

func (t *troubles) note(format string, args ...any) {
	t.Notes = append(t.Notes, statelatch.Printable(fmt.Sprintf(format, args...)))
}

// judge says whether a root is ready for the next phase.
func (r *verifiedRootJSON) judge(ctx context.Context, v *verifier, s *rootSite, next migrate.Move) error {
	r.Locks = []verifiedLockJSON{}
	switch next.Status {
	case migrate.MoveRefused:
		r.block("%s%s", next.Why, fixWords(next.Fix))
	case migrate.MoveManual:
		r.note("a person has to make the edit: %s", next.Why)
	}
	if s != nil {
		r.Tier = s.tier
		r.InTheWay = append(r.InTheWay, s.InTheWay...)
		if err := r.state(ctx, v, s); err != nil {
			return err
		}
		for _, l := range s.locks {
			if r.owns(l.Ref.Key) {
				r.lock(ctx, s, l)
			}
		}
		if r.Phase == migrate.PhaseLockfile && s.Table == nil {
			r.note("no table is named, so none was looked at: -backend-config dynamodb_table=NAME")
		}
	}
	switch {
	case len(r.InTheWay) > 0:
		r.Verdict = notReady
	case r.Phase == migrate.PhaseTable:
		r.Verdict = readyForPhase1
	case r.Phase == migrate.PhaseBoth:
		r.Verdict = readyForPhase2
	case r.Phase == migrate.PhaseLockfile:
		r.Verdict = migrationDone
	default:
		r.Verdict = notReady
	}
	return ctx.Err()
}

func fixWords(fix string) string {
	if fix == "" {
		return ""
	}
	return ". Fix: " + fix
}

// owns reports whether key is that of the root's state, or of one of its named workspaces.
func (r *verifiedRootJSON) owns(key string) bool {
	return ownState(key, r.ref.Key, r.prefix)
}

func ownState(key, root, workspacePrefix string) bool {
	_, of, ok := statelatch.CutWorkspace(key, workspacePrefix)
	return key == root || ok && of == path.Clean(root) // a named workspace's key is cleaned
}

// state looks at the state and its digests, those of named workspaces, too.
func (r *verifiedRootJSON) state(ctx context.Context, v *verifier, s *rootSite) error {
	plain := state.Store{Bucket: s.Bucket} // which does not wait for a digest that nobody brings in step
	now, err := plain.Read(ctx, r.ref)
	switch {
	case errors.Is(err, statelatch.ErrNotFound):
	case err != nil:
		r.block("its state cannot be read: %s", oneLine(err))
		return ctx.Err()
	case now.Err != nil:
		r.note("what is stored is no state: %s", oneLine(now.Err))
	}
	if r.Exists, r.Serial = now.Exists, serialOf(now); !r.Exists {
		r.note("there is no state yet")
	}
	r.digest = "-"
	if s.Table == nil {
		return nil
	}
	if r.Phase != migrate.PhaseLockfile {
		r.digest = string(digestNone)
	}
	for _, key := range s.digests {
		if !r.owns(key) {
			continue
		}
		r.Digests++
		if r.Phase == migrate.PhaseLockfile { // nobody keeps it, nobody reads it
			r.digest = "left"
			continue
		}
		ref := statelatch.Ref{Bucket: r.ref.Bucket, Key: key}
		f, err := digestOptions{targetOptions: v.way, versions: digestVersions}.examine(ctx, v.term, s.nobody(), ref)
		if err != nil {
			r.block("its digest cannot be compared: %s", oneLine(err))
			return ctx.Err()
		}
		if key == r.ref.Key || f.wrong() {
			r.digest = string(f.Status)
		}
		if f.wrong() {
			r.block("the digest of %s is not in step (%s): %s; %s", ref, f.Status, f.Reading, f.again.command("digest fix"))
		}
	}
	if r.Phase == migrate.PhaseLockfile && r.Digests > 0 {
		r.note("%s left in the table: statelatch migrate clean", count(r.Digests, "digest"))
	}
	return nil
}

// lock notes a lock, and says whether its holder is in a phase that it must not be in.
func (r *verifiedRootJSON) lock(ctx context.Context, s *rootSite, l fleet.Lock) {
	j := verifiedLockJSON{Ref: l.Ref.String(), Kind: l.Kind, Where: "both", ID: l.Info.ID, Who: l.Info.Who, Verdict: l.Verdict.State, Proof: l.Verdict.Proof}
	switch {
	case l.ETag == "":
		j.Where = "table"
	case l.Item == nil:
		j.Where = "object"
	}
	r.Locks = append(r.Locks, j)
	if l.Unread != nil || l.ItemUnread != nil {
		r.block("the lock of %s cannot be read: %s", l.Ref, oneLine(errors.Join(l.Unread, l.ItemUnread)))
		return
	}
	wrong := ""
	switch phase := r.Phase; {
	case l.Kind == fleet.KindHalf:
		wrong = "half of it is missing or another's: " + l.Half
	case phase == migrate.PhaseTable && j.Where == "object" && s.Table != nil:
		wrong = "its holder uses the lock object alone, and does not see clients with the table alone"
	case phase == migrate.PhaseBoth && j.Where == "table":
		wrong = "its holder uses the table alone: a checkout or job is still in phase 0, or the item was left behind"
	case phase == migrate.PhaseLockfile && j.Where == "table":
		wrong = "its holder uses the table alone, and clients in phase 2 do not see it: a checkout or job is still in phase 0, or the item was left behind"
	case phase == migrate.PhaseLockfile && j.Where == "both":
		wrong = "its holder uses the table, too: a checkout or job is still in phase 1"
	}
	if wrong != "" && (j.Where == "both" || lasts(ctx, s.Manager, l)) {
		r.block("%s is locked by %s, and %s", l.Ref, holderName(l.Held), wrong)
	}
}

// lasts reports whether half a lock stays one. A lock that is just being taken or given back does not.
func lasts(ctx context.Context, locks *lock.Manager, l fleet.Lock) bool {
	if pace.Sleep(ctx, halfLasts) != nil {
		return false
	}
	now, err := locks.Status(ctx, l.Ref)
	if err != nil {
		return !errors.Is(err, statelatch.ErrNotLocked)
	}
	object, item := now.ETag != "" && now.Info.ID == l.Info.ID, now.Item != nil && now.Item.Info.ID == l.Info.ID
	return object != item
}
