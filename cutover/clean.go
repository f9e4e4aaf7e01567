package cutover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/digest"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/migrate"
	"github.com/statelatch/statelatch/policy"
	"github.com/statelatch/statelatch/site"
)

// cleanVersions is how many versions of a state are read for the one that its digest is of: if the state was rolled
// back or lost after the table was last used, that shows in the newest ones.
const cleanVersions = 10

// Part is a part of a bucket, and what its states have left in a table.
type Part struct {
	*site.Site // with a Table

	Scope statelatch.Scope // where its states are
	Roots []string         // keys of the states that are meant, with their named workspaces; empty: all of Scope

	Items   []fleet.Lock     // lock items that go
	Digests []digest.Finding // those that go
	Left    []Left           // what stays
}

// Left is what stays in the table, and why.
type Left struct {
	Key string `json:"key"` // of the state
	Why string `json:"why"` // one line for people
}

func (p *Part) leave(key, why string) { p.Left = append(p.Left, Left{key, why}) }

func (p *Part) covers(key string) bool {
	prefix := p.Backend.WorkspaceKeyPrefix
	return p.Scope.Covers(key, prefix) && (len(p.Roots) == 0 ||
		slices.ContainsFunc(p.Roots, func(root string) bool { return ownState(key, root, prefix) }))
}

// InUse names the roots of a tree that still use a table, as far as the tree tells, and those of which it does not.
func InUse(tree *migrate.Tree) (roots, unknown []string) {
	for i := range tree.Roots {
		switch r := &tree.Roots[i]; {
		case r.Table().Set() || r.Phase == migrate.PhaseTable || r.Phase == migrate.PhaseBoth:
			roots = append(roots, r.Name())
		case r.Phase == migrate.PhaseUnknown:
			unknown = append(unknown, r.Name())
		}
	}
	return roots, unknown
}

// Parts connects to the buckets of the roots of a tree that tell their bucket and key, each bucket and table once.
func Parts(
	ctx context.Context, tree *migrate.Tree,
	open func(context.Context, *migrate.Root, statelatch.Ref) (*site.Site, error),
) ([]*Part, error) {
	var parts []*Part
	byID := map[string]*Part{}
	for i := range tree.Roots {
		ref, ok := tree.Roots[i].Ref()
		if !ok {
			continue
		}
		s, err := open(ctx, &tree.Roots[i], ref)
		if err != nil {
			return nil, err
		}
		b := s.Backend
		id := strings.Join([]string{s.Bucket.Store(), ref.Bucket, b.DynamoDBTable, b.DynamoDBEndpoint, b.WorkspaceKeyPrefix},
			"\x00")
		p := byID[id]
		if p == nil {
			p = &Part{Site: s, Scope: statelatch.Scope{Bucket: ref.Bucket}}
			byID[id] = p
			parts = append(parts, p)
		}
		p.Roots = append(p.Roots, ref.Key)
	}
	return parts, nil
}

// PlanOptions are the terms of a plan.
type PlanOptions struct {
	// Accept lets digests go that show that a state was rolled back or lost.
	Accept bool
	// Doubt words why one stays; nil: as digest.Finding has it.
	Doubt      func(*Part, digest.Finding) string
	OnProgress func(fleet.Progress) // of the listing; may be nil
}

// Plan finds what may go, and refuses everything while somebody uses the table: an error that matches *LockedError
// where a lock shows it. It changes nothing.
func (p *Part) Plan(ctx context.Context, opts PlanOptions) error {
	list, err := fleet.Locks(ctx, p.Manager, p.Scope,
		fleet.LockOptions{WorkspacePrefix: p.Backend.WorkspaceKeyPrefix, OnProgress: opts.OnProgress})
	if err = errors.Join(err, list.Unlisted); err != nil {
		return err
	}
	for _, l := range list.Locks {
		if !p.covers(l.Ref.Key) {
			continue
		}
		if err := useOfTable(l); err != nil {
			return err
		}
		if l.ETag == "" {
			p.Items = append(p.Items, l)
		}
	}
	keys, err := digest.Keys(ctx, p.Table, p.Scope, p.Backend.WorkspaceKeyPrefix)
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return !p.covers(key) })
	found, err := digest.Checker{Store: p.Store, Versions: cleanVersions}.CheckAll(ctx, p.Scope.Bucket, keys, nil)
	for _, f := range found {
		switch {
		case f.Status == digest.None: // gone meanwhile
		case f.Reading.Stored == "":
			p.leave(f.Ref.Key, "it is no digest that an engine wrote: look at it, and remove it by hand")
		case f.Suspicious() && !opts.Accept:
			doubt := f.Doubt
			if opts.Doubt != nil {
				doubt = opts.Doubt(p, f)
			}
			p.leave(f.Ref.Key, f.Meaning+"; "+doubt+"; -accept removes it all the same")
		default:
			p.Digests = append(p.Digests, f)
		}
	}
	return err
}

// useOfTable is why a lock shows that its holder needs the table.
func useOfTable(l fleet.Lock) error {
	switch {
	case l.Unread != nil || l.ItemUnread != nil:
		return fmt.Errorf("the lock of %s cannot be read, so nothing was removed: %w", l.Ref,
			errors.Join(l.Unread, l.ItemUnread))
	case l.Item == nil:
		return nil
	case l.ETag != "":
		return fmt.Errorf("held in both places, so its holder is not in phase 2 yet; nothing was removed: %w",
			l.LockedError())
	case l.Verdict.State == evidence.Live:
		return fmt.Errorf("held in the table alone, and its holder is alive (%s); nothing was removed: %w", l.Verdict.Proof,
			l.LockedError())
	case l.Item.Raw == "":
		return fmt.Errorf("its item in the table has no Info, so no engine wrote it; look at it, and delete it by hand "+
			"('aws dynamodb delete-item'); nothing was removed: %w", l.LockedError())
	}
	return nil
}

// Planned is how many items go.
func (p *Part) Planned() int { return len(p.Items) + len(p.Digests) }

// Unproven are the lock items that go whose holder is not provably gone: a person has to say so.
func (p *Part) Unproven() []fleet.Lock {
	return slices.DeleteFunc(slices.Clone(p.Items), func(l fleet.Lock) bool { return l.Verdict.State == evidence.Stale })
}

// Removed is what is gone from the table.
type Removed struct {
	Digests []string `json:"digests"` // the keys of the states that they were of
	Locks   []string `json:"locks"`   // the same of lock items
}

// WouldRemove is what Remove would remove.
func (p *Part) WouldRemove() Removed {
	r := Removed{Digests: []string{}, Locks: []string{}}
	for _, f := range p.Digests {
		r.Digests = append(r.Digests, f.Ref.Key)
	}
	for _, l := range p.Items {
		r.Locks = append(r.Locks, l.Ref.Key)
	}
	return r
}

// Remove removes what was planned, each item only if it still is what was seen. One that changed meanwhile is added to
// Left, and told to onLeft, which may be nil. OnRemoved, which may be nil, is called after each. The error says which
// item could not be removed: nothing is half done then, and another Plan and Remove go on.
func (p *Part) Remove(ctx context.Context, onRemoved func(done int), onLeft func(Left)) (Removed, error) {
	r := Removed{Digests: []string{}, Locks: []string{}}
	one := func(key string, list *[]string, act func() error, read func() error) error {
		gone, err := removeItem(ctx, act, read)
		if err != nil {
			return fmt.Errorf("remove the item of s3://%s/%s: %w", p.Scope.Bucket, key, err)
		}
		if !gone {
			p.leave(key, "it changed meanwhile: a client uses the table")
			if onLeft != nil {
				onLeft(p.Left[len(p.Left)-1])
			}
			return nil
		}
		*list = append(*list, key)
		if onRemoved != nil {
			onRemoved(len(r.Digests) + len(r.Locks))
		}
		return nil
	}
	for _, l := range p.Items {
		err := one(l.Ref.Key, &r.Locks,
			func() error { return p.Table.Unlock(ctx, l.Ref, l.Item.Raw) },
			func() error { _, err := p.Table.Read(ctx, l.Ref); return err })
		if err != nil {
			return r, err
		}
	}
	for _, f := range p.Digests {
		err := one(f.Ref.Key, &r.Digests,
			func() error { return p.Table.SwapDigest(ctx, f.Ref, f.Reading.Stored, "") },
			func() error { _, err := p.Table.Digest(ctx, f.Ref); return err })
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// removeItem removes one item; false if it is another one now. What is gone is gone, whoever removed it.
func removeItem(ctx context.Context, act, read func() error) (gone bool, err error) {
	err = act()
	if err == nil {
		return true, nil
	}
	refused := errors.Is(err, statelatch.ErrPreconditionFailed)
	if ctx.Err() != nil || !refused && !errors.Is(err, statelatch.ErrAmbiguous) {
		return false, err
	}
	switch now := read(); {
	case errors.Is(now, statelatch.ErrNotFound):
		return true, nil
	case refused:
		return false, now
	}
	return false, err // whether it was lost or is late: the next run sees
}

// Remaining counts the items, of all states, that are in the table.
func (p *Part) Remaining(ctx context.Context) (int, error) {
	n := 0
	for _, err := range p.Table.LockIDs(ctx, "") {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// DeleteCommand is the command that deletes the table. Region, which may be empty, is the table's.
func (p *Part) DeleteCommand(region string) string {
	command := "aws dynamodb delete-table --table-name " + term.ShellQuote(p.Table.Name())
	for _, flag := range [...][2]string{
		{"--region", region}, {"--profile", p.Backend.S3.Profile}, {"--endpoint-url", p.Backend.DynamoDBEndpoint},
	} {
		if flag[1] != "" {
			command += " " + flag[0] + " " + term.ShellQuote(flag[1])
		}
	}
	return command
}

// TableRights are the rights that clients have needed on the table: those that our policies grant, and what the
// engines' documentation tells people to grant beyond.
func (p *Part) TableRights(region string) (policy.Document, error) {
	all, err := policy.For(policy.Admin, policy.Target{
		Bucket: p.Scope.Bucket, Table: p.Table.Name(), Region: region, WorkspacePrefix: p.Backend.WorkspaceKeyPrefix,
	})
	if err != nil {
		return policy.Document{}, err
	}
	rights := policy.Statement{Sid: "LockTable", Effect: "Allow", Action: []string{"dynamodb:DescribeTable"}}
	for _, s := range all.Statement {
		if strings.HasPrefix(s.Action[0], "dynamodb:") {
			rights.Action, rights.Resource = append(rights.Action, s.Action...), s.Resource
		}
	}
	slices.Sort(rights.Action)
	rights.Action = slices.Compact(rights.Action)
	return policy.Document{Version: all.Version, Statement: []policy.Statement{rights}}, nil
}
