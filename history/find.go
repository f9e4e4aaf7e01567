package history

import (
	"cmp"
	"context"
	"fmt"
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
		if e, ok := previous(entries); ok {
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
func previous(entries []Entry) (Entry, bool) {
	same := false // as the current one
	for _, e := range entries {
		switch {
		case e.Current || same:
			same = e.Unchanged
		case e.isState():
			return e, true
		}
	}
	return Entry{}, false
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
// snapshot that is whole costs no request, and then only Ref, Exists and VersionID are set.
func Resolve(ctx context.Context, s *state.Store, ref statelatch.Ref, selector string) (Entry, error) {
	_, err := strconv.ParseUint(selector, 10, 64)
	if err != nil && selector != Current && selector != Previous && selector != "" {
		if strings.HasSuffix(selector, "…") {
			entries, err := List(ctx, s, ref, Options{})
			if err != nil {
				return Entry{}, err
			}
			if e, ok, many := beginning(entries, selector); ok {
				return e, many
			}
		}
		return Entry{Version: state.Version{Ref: ref, Exists: true, VersionID: selector}}, ref.ValidateIn(s.Bucket.Name())
	}
	limit := 0 // any version may have that serial
	switch selector {
	case Current:
		limit = 1
	case Previous:
		limit = touchesAtFirst
	}
	entries, err := List(ctx, s, ref, Options{Limit: limit})
	if err != nil {
		return Entry{}, err
	}
	e, err := Find(entries, selector)
	if err != nil && selector == Previous && len(entries) == limit {
		if entries, err = List(ctx, s, ref, Options{}); err == nil {
			e, err = Find(entries, selector)
		}
	}
	return e, err
}

// Place is v, which was read and not listed, as an entry without its holder: the listing tells whether it is the
// current one, and when it was stored as exactly as [Attribute] is told of locks. It costs a listing down to v. Where
// that is not possible v stays as it is: that is no error.
func Place(ctx context.Context, s *state.Store, v state.Version) (Entry, error) {
	e := Entry{Version: v}
	if err := v.Ref.In(s.Bucket.Name()); err != nil {
		return e, err
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

// touchesAtFirst is how many versions are looked at for the previous one before all are.
const touchesAtFirst = 10
