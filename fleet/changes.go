package fleet

import (
	"cmp"
	"slices"

	"github.com/statelatch/statelatch"
)

// ChangeKind is what became of a lock from one look to the next.
type ChangeKind string

// The kinds of changes. A renewed lease is none.
const (
	Held       ChangeKind = "held"     // since before the first look, or it came of the age that is asked for
	Taken      ChangeKind = "taken"    // since the last look
	Released   ChangeKind = "released" // or taken over, since the last look
	NewVerdict ChangeKind = "verdict"  // on its holder
)

// Change is what became of one lock.
type Change struct {
	Kind ChangeKind // see ChangeKind
	Lock Lock       // as it is, or as it was before it was released
}

// StillThere returns now with what could not be looked at this time as it was before: that is no release. Unlisted:
// locks that are only in the table are not in now.
func StillThere(before, now []Lock, unlisted bool) []Lock {
	unread, seen := map[statelatch.Ref]bool{}, map[statelatch.Ref]bool{}
	for _, l := range now {
		unread[l.Ref] = l.Unread != nil
		seen[l.Ref] = true
	}
	var kept []Lock
	covered := map[statelatch.Ref]bool{}
	for _, l := range before {
		if unread[l.Ref] || unlisted && !seen[l.Ref] && l.Kind == KindItem {
			kept = append(kept, l)
			covered[l.Ref] = true
		}
	}
	for _, l := range now {
		if !covered[l.Ref] {
			kept = append(kept, l)
		}
	}
	slices.SortStableFunc(kept, func(a, b Lock) int {
		return cmp.Or(cmp.Compare(a.Ref.Bucket, b.Ref.Bucket), cmp.Compare(a.Ref.Key, b.Ref.Key))
	})
	return kept
}

// Changes are the differences between two looks at the locks of which only some are meant. At the first there was none
// before.
func Changes(before, now []Lock, first bool, only Selection) (all []Change) {
	type key struct {
		state statelatch.Ref
		id    string
	}
	name := func(l Lock) key {
		if l.Err != nil {
			return key{l.Ref, l.ETag}
		}
		return key{l.Ref, l.Info.ID}
	}
	still, known := map[statelatch.Ref]bool{}, map[key]Lock{}
	for _, l := range before {
		known[name(l)] = l
	}
	for _, l := range now {
		still[l.Ref] = true
		was, there := known[name(l)]
		delete(known, name(l))
		var kind ChangeKind
		switch {
		case first:
			kind = Held
		case !there:
			kind = Taken
		case was.Verdict.State != l.Verdict.State:
			kind = NewVerdict
		case !only.Has(was): // but it is old enough by now
			kind = Held
		}
		if kind != "" && (only.Has(l) || there && only.Has(was)) {
			all = append(all, Change{kind, l})
		}
	}
	for _, l := range before {
		if l.Unread != nil && still[l.Ref] {
			continue // it can be read now
		}
		if _, left := known[name(l)]; left && only.Has(l) {
			all = append(all, Change{Released, l})
		}
	}
	return all
}
