package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/state"
)

// The selectors that are words.
const (
	Current  = "current"  // what engines read now
	Previous = "previous" // the newest older one with other content
)

// Find selects one of entries, which List returned: "current"; "previous", the newest older one with other content; a
// version ID or the name of a snapshot, or at least eight characters that only one of them begins with; a serial.
// Errors match ErrNotFound, or ErrInvalid for a serial that several versions have (touches apart), which it names: an
// update was lost there.
func Find(entries []Entry, selector string) (Entry, error) {
	switch selector {
	case "":
		return Entry{}, fmt.Errorf("%w version %q: want a version ID, a serial, %q or %q", statelatch.ErrInvalid, selector,
			Previous, Current)
	case Current:
		for _, e := range entries {
			if e.Current {
				return e, nil
			}
		}
	case Previous:
		if e, ok, _ := previous(values(entries)); ok {
			return e, nil
		}
	}
	for _, e := range entries {
		if e.VersionID == selector {
			return e, nil
		}
	}
	serial, err := strconv.ParseUint(selector, 10, 64)
	if e, shortened, many := beginning(entries, selector); err != nil && shortened {
		if many != nil {
			return Entry{}, many
		}
		return e, nil
	}
	if err != nil {
		return Entry{}, fmt.Errorf("%w: there is no version %q: see 'statelatch history'", statelatch.ErrNotFound, selector)
	}
	return withSerial(entries, serial)
}

// isState reports whether there was a state: also one of serial 0, but not what a first write puts there before its
// data.
func (e Entry) isState() bool { return e.Exists && e.Err == nil && !e.IsVoid() }

// minShort is how much a narrow terminal shows of a version ID at least.
const minShort = 8

// beginning finds the one version whose ID or name begins with what a narrow terminal showed of it.
func beginning(entries []Entry, selector string) (found Entry, ok bool, many error) {
	short := strings.TrimSuffix(selector, "…")
	if len(short) < minShort {
		return Entry{}, false, nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), short) {
			found, names = e, append(names, e.Name())
		}
	}
	if len(names) > 1 {
		many = fmt.Errorf("%w version %q: several begin like that: %s", statelatch.ErrInvalid, selector,
			strings.Join(names, ", "))
	}
	return found, len(names) > 0, many
}

// previous is the newest state that is older than the current one and has other content.
func previous(entries iter.Seq2[Entry, error]) (Entry, bool, error) {
	same := false // as the current one
	for e, err := range entries {
		switch {
		case err != nil:
			return Entry{}, false, err
		case e.Current || same:
			same = e.Unchanged
		case e.isState():
			return e, true, nil
		}
	}
	return Entry{}, false, nil
}

// withSerial is the newest version with a serial, of those that differ by touches alone.
func withSerial(entries []Entry, serial uint64) (Entry, error) {
	var found []Entry // each with other content than those before it
	var ids []string
	same := false // the entry before has this one's content
	for _, e := range entries {
		if e.isState() && e.Header.Serial == serial && !same {
			found, ids = append(found, e), append(ids, e.Name())
		}
		same = e.Unchanged
	}
	switch len(found) {
	case 0:
		return Entry{}, fmt.Errorf("%w: there is no version with serial %d: see 'statelatch history'", statelatch.ErrNotFound,
			serial)
	case 1:
		return found[0], nil
	}
	return Entry{}, fmt.Errorf("%w version %d: several versions have this serial, because an update was lost or a "+
		"rollback kept it: name one by its ID: %s",
		statelatch.ErrInvalid, serial, strings.Join(ids, ", "))
}

// Name is how to select e: its version ID, or "current" for an object without one.
func (e Entry) Name() string {
	if e.VersionID == "" {
		return Current
	}
	return e.VersionID
}

// Resolve is Find without a list at hand. It reads no more versions than it takes: a version ID or the name of a
// snapshot that is whole costs no request, and then only Ref, Exists and VersionID are set. Of more than a thousand
// versions those are read where a serial must be if serials never step back, and all if they are seen to, or it is not
// there; so that another version of that serial, far away, is not seen.
func Resolve(ctx context.Context, s *state.Store, ref statelatch.Ref, selector string) (Entry, error) {
	serial, err := strconv.ParseUint(selector, 10, 64)
	switch {
	case selector == Current:
		for e, err := range All(ctx, s, ref, Options{Limit: 1}) {
			if err != nil || e.Current {
				return e, err
			}
		}
	case selector == Previous:
		e, ok, err := previous(All(ctx, s, ref, Options{workers: fewWorkers}))
		if ok || err != nil {
			return e, err
		}
	case selector == "":
		return Find(nil, selector)
	case err == nil:
		return resolveSerial(ctx, s, ref, serial)
	case strings.HasSuffix(selector, "…"):
		entries, err := collect(merged(ctx, s, ref, 0))
		if err != nil {
			return Entry{}, err
		}
		if e, ok, many := beginning(entries, selector); ok {
			return e, many
		}
		fallthrough
	default:
		return Entry{Version: state.Version{Ref: ref, Exists: true, VersionID: selector}}, ref.ValidateIn(s.Bucket.Name())
	}
	return Find(nil, selector) // which says that there is none
}

const (
	// fewWorkers are enough to find what is near the top of a history.
	fewWorkers = 4
	// wholePage is how many versions are read for one of them without a search.
	wholePage = 1000
	// probes is how many versions a search looks at in one step.
	probes = 16
	// around is how many versions beside the one that was found are read, to see whether it is alone.
	around = 50
)

// resolveSerial finds the version that has a serial.
func resolveSerial(ctx context.Context, s *state.Store, ref statelatch.Ref, serial uint64) (Entry, error) {
	listed, err := collect(merged(ctx, s, ref, 0))
	if err != nil {
		return Entry{}, err
	}
	if len(listed) > wholePage {
		near, err := search(ctx, s, ref, listed, serial)
		if err == nil {
			near, err = collect(completed(ctx, s, ref, Options{}, values(near), len(near)))
		}
		if err != nil {
			return Entry{}, err
		}
		if e, err := withSerial(near, serial); !errors.Is(err, statelatch.ErrNotFound) {
			return e, err
		}
	}
	all, err := collect(completed(ctx, s, ref, Options{}, values(listed), len(listed)))
	if err != nil {
		return Entry{}, err
	}
	return withSerial(all, serial)
}

// search narrows down which of entries, newest first, those with a serial are; it returns them, without headers, and
// some on either side. None: serials are seen to step back.
func search(
	ctx context.Context, s *state.Store, ref statelatch.Ref, entries []Entry, serial uint64,
) ([]Entry, error) {
	first, last := 0, len(entries)
	for last-first > 2*around {
		at, probed := make([]int, probes), make([]Entry, probes)
		for i := range at {
			at[i] = first + (2*i+1)*(last-first)/(2*probes)
			probed[i] = entries[at[i]]
		}
		headed, err := collect(readHeaders(ctx, s, ref, Options{}, values(probed), probes))
		if err != nil || len(headed) < probes { // one was purged meanwhile
			return nil, err
		}
		from, to, newest := first, last, uint64(math.MaxUint64)
		for i, e := range headed {
			if !e.isState() {
				continue
			}
			switch is := e.Header.Serial; {
			case is > newest: // it steps back
				return nil, nil
			case is > serial:
				from = at[i] + 1
			case is < serial:
				to = min(to, at[i])
			}
			newest = e.Header.Serial
		}
		narrower := from > first || to < last
		if first, last = from, to; !narrower { // it is there many times
			break
		}
	}
	return entries[max(first-around, 0):min(last+around, len(entries))], nil
}

// Place is e with v, which Open read of it: what its listing told stays. Of one that was not listed the listing tells
// whether it is the current one, and when it was stored as exactly as [Attribute] is told of locks. That costs a
// listing down to v. Where it is not possible v stays as it is: that is no error.
func Place(ctx context.Context, s *state.Store, e Entry, v state.Version) (Entry, error) {
	stored := e.LastModified
	e.Version = v
	if err := v.Ref.In(s.Bucket.Name()); err != nil {
		return e, err
	}
	if !stored.IsZero() {
		e.LastModified = stored
		return e, nil
	}
	if _, e.Snapshot = state.ParseSnapshot(v.VersionID); e.Snapshot {
		return e, nil
	}
	named := func(id string) string { return cmp.Or(id, "null") }
	for obj, err := range s.Bucket.ListVersions(ctx, bucket.ListOptions{Prefix: v.Ref.Key}) {
		if err != nil {
			return e, unlessUnreadable(v.Ref, err)
		}
		if obj.Key != v.Ref.Key {
			break
		}
		if named(obj.VersionID) == named(v.VersionID) && obj.ETag == v.ETag {
			e.LastModified, e.Current = obj.LastModified, obj.IsLatest
			break
		}
	}
	return e, nil
}
