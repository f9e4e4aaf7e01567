package digest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/state"
)

// explain finds the version that a digest is of, and says what follows from it.
func (c Checker) explain(ctx context.Context, f *Finding) error {
	found, err := c.find(ctx, f.Ref, f.Reading.Stored)
	switch {
	case errors.Is(err, statelatch.ErrDenied) && !statelatch.BadCredentials(err):
		f.Meaning = "which version it is of is not known, because the versions may not be read"
		f.Doubt = "what it is of cannot be told"
		return nil
	case err != nil:
		return err
	}
	f.BelongsTo = found.origin
	if f.Reading.Want() == "" {
		f.explainOrphan(found)
	} else {
		f.explainStale(found)
	}
	return nil
}

func (f *Finding) explainOrphan(found versions) {
	newest := found.newest
	is := "there is no state"
	switch now := f.Reading.Now; {
	case now.Exists && strings.EqualFold(f.Reading.Stored, now.MD5):
		is = "the state has zero bytes, of which it is the MD5, but engines take those for no state, and refuse that " +
			"with any digest"
	case now.Exists:
		is = "the state has zero bytes, which engines take for no state"
	}
	switch {
	case newest == nil && !found.all:
		f.Meaning = is + ", and older versions were not looked at"
		f.Doubt, f.Unlooked = "what could be brought back is not known", true
	case newest == nil:
		f.Meaning = is + ", and no version of one is kept"
	case newest.HoldsNothing():
		f.Meaning = is + "; the last one, " + words(newest) + ", had nothing in it"
	default:
		f.Meaning = is + ", but " + words(newest) + " can be brought back: it was deleted or lost"
		f.doubtFor(newest)
	}
}

func (f *Finding) explainStale(found versions) {
	now, origin := f.Reading.Now, found.origin
	const stopped = "a writer that locks by file alone, or one that stopped, made it stale; it is of "
	switch {
	case origin == nil:
		f.Meaning = "no version that was looked at has that MD5, so it cannot be told what it is of"
		f.Doubt, f.Unlooked = "the state may be older than the one that the digest is of", !found.all
	case now.SameContent(*origin):
		f.Meaning = stopped + words(origin) + ", which says the same"
	case now.Err != nil:
		f.Meaning = "what is stored is no state, and the digest is of " + words(origin)
		f.doubtFor(origin)
	case now.Header.Lineage != origin.Header.Lineage:
		f.Meaning = "the state was replaced by another one (lineage): the digest is of " + words(origin)
		f.doubtFor(origin)
	case now.Header.Serial > origin.Header.Serial && found.since != "":
		f.Meaning = fmt.Sprintf("the serial is higher than that of %s, which the digest is of, but something went wrong in "+
			"between: %s; see its history",
			words(origin), found.since)
		f.doubtFor(origin)
	case now.Header.Serial > origin.Header.Serial:
		f.Meaning = stopped + words(origin)
	case now.Header.Serial == origin.Header.Serial:
		f.Meaning = "an update was lost: the digest is of " + words(origin) +
			", which has the same serial and another content"
		f.doubtFor(origin)
	default:
		f.Meaning = fmt.Sprintf("the state was rolled back or lost: its serial is %d, and the digest is of %s",
			now.Header.Serial, words(origin))
		f.doubtFor(origin)
	}
}

func (f *Finding) doubtFor(v *state.Version) {
	f.Doubt, f.Restore = "that one can be brought back instead", v
}

func words(v *state.Version) string {
	s := "version"
	if v.VersionID != "" {
		s += " " + v.VersionID
	}
	if v.Err == nil && !v.Header.Empty {
		s += ", serial " + strconv.FormatUint(v.Header.Serial, 10)
	}
	return s + ", of " + v.LastModified.UTC().Format(time.RFC3339)
}

// versions is what the versions of a state say about a digest.
type versions struct {
	origin *state.Version    // the newest that has that MD5; nil: none that was looked at
	newest *state.Version    // that is a state at all; nil: none that was looked at
	since  state.AnomalyKind // the last thing that went wrong behind origin; empty: each was built on the one before
	all    bool              // no version is left that was not looked at, or origin was found
}

func (c Checker) find(ctx context.Context, ref statelatch.Ref, md5 string) (found versions, err error) {
	entries, err := history.List(ctx, c.Store, ref, history.Options{Limit: c.Versions})
	if err != nil {
		return versions{}, err
	}
	for i := range entries {
		v := &entries[i].Version
		if v.Exists && (!v.Header.Empty || v.Err != nil) {
			err := c.Store.ReadWhole(ctx, v)
			switch {
			case errors.Is(err, statelatch.ErrNotFound): // purged meanwhile
			case err != nil:
				return versions{}, err
			default:
				found.newest = cmp.Or(found.newest, v)
				if strings.EqualFold(v.MD5, md5) {
					found.origin, found.all = v, true
					return found, nil
				}
			}
		}
		found.since = cmp.Or(found.since, entries[i].Anomaly)
	}
	found.all = c.Versions == 0 || len(entries) < c.Versions
	return found, nil
}
