package main

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

// digestStatus says what a digest is of, in a word or two.
type digestStatus string

const (
	digestInStep    digestStatus = "in step"
	digestNone      digestStatus = "none"
	digestStale     digestStatus = "stale"
	digestMalformed digestStatus = "malformed"
	digestOrphan    digestStatus = "orphan"
	digestForeign   digestStatus = "foreign"
)

// digestFinding is one digest: what it says, what it should, and what that means.
type digestFinding struct {
	Key          string             `json:"key"`
	Status       digestStatus       `json:"status"`
	MD5          string             `json:"md5,omitempty"` // of the stored bytes; empty where engines see no state
	Stored       string             `json:"stored,omitempty"`
	Serial       *uint64            `json:"serial,omitempty"` // of the stored state; nil: there is none
	LastModified *time.Time         `json:"last_modified,omitempty"`
	BelongsTo    *digestVersionJSON `json:"belongs_to,omitempty"`
	Reading      string             `json:"reading,omitempty"`
	// Accept is why fix wants -accept; empty if it does not.
	Accept string `json:"accept,omitempty"`
	Fixed  bool   `json:"fixed,omitempty"`
	Error  string `json:"error,omitempty"`

	ref     statelatch.Ref
	again   naming
	reading state.DigestReading
	planned bool
	err     error
}

type digestVersionJSON struct {
	VersionID    string    `json:"version_id"`
	Serial       uint64    `json:"serial"`
	LastModified time.Time `json:"last_modified"`
}

func (f digestFinding) wrong() bool {
	return f.Status != digestInStep && f.Status != digestNone && !f.Fixed
}

// fixable reports whether a fix could do anything: an item without a Digest may be something else's.
func (f digestFinding) fixable() bool {
	return f.wrong() && f.Status != digestForeign && f.Stored != ""
}

// examine reads one state and its digest, and says what there is to it.
func (o digestOptions) examine(ctx context.Context, term terminal, t target, ref statelatch.Ref) (digestFinding, error) {
	f := digestFinding{Key: ref.Key, ref: ref, again: o.againFor(t.Backend, ref, term)}
	if invalid := ref.Validate(); invalid != nil {
		f.Status, f.Reading = digestForeign, "no state can have this key: "+invalid.Error()
		return f, nil //nolint:nilerr // that is the finding
	}
	r, err := t.Store.ReadDigest(ctx, ref)
	if err != nil {
		return f, err
	}
	f.reading, f.MD5, f.Stored = r, r.Want(), r.Stored
	f.Serial, f.LastModified = serialOf(r.Now), nonZero(r.Now.LastModified)
	switch {
	case !r.Item:
		f.Status = digestNone
	case r.InStep():
		f.Status = digestInStep
	case r.Stored == "":
		f.Status, f.Reading = digestMalformed, "the item has no Digest, so no engine wrote it as one: look at it by hand"
	case r.Malformed():
		f.Status, f.Reading = digestMalformed, "it is no MD5, so engines pass over it, and nothing is checked"
	default:
		f.Status = digestStale
		if !r.Now.Exists {
			f.Status = digestOrphan
		}
		err = o.explain(ctx, t.Store, &f)
	}
	return f, err
}

// explain finds the version that a digest is of, and says what follows from it.
func (o digestOptions) explain(ctx context.Context, states *state.Store, f *digestFinding) error {
	found, err := findDigest(ctx, states, f.ref, f.Stored, o.versions)
	origin := found.origin
	switch {
	case errors.Is(err, statelatch.ErrDenied) && !statelatch.BadCredentials(err):
		f.Reading = "which version it is of is not known, because the versions may not be read"
		f.Accept = "what it is of cannot be told"
		return nil
	case err != nil:
		return err
	case origin != nil:
		f.BelongsTo = &digestVersionJSON{VersionID: origin.VersionID, Serial: origin.Header.Serial, LastModified: origin.LastModified.UTC()}
	}
	if f.MD5 == "" {
		f.explainOrphan(found)
	} else {
		f.explainStale(found)
	}
	return nil
}

func (f *digestFinding) explainOrphan(found foundVersions) {
	newest := found.newest
	is := "there is no state"
	switch now := f.reading.Now; {
	case now.Exists && strings.EqualFold(f.Stored, now.MD5):
		is = "the state has zero bytes, of which it is the MD5, but engines take those for no state, and refuse that with any digest"
	case now.Exists:
		is = "the state has zero bytes, which engines take for no state"
	}
	switch {
	case newest == nil && !found.all:
		f.Reading = is + ", and older versions were not looked at"
		f.Accept = "what could be brought back is not known: give -versions 0"
	case newest == nil:
		f.Reading = is + ", and no version of one is kept"
	case newest.HoldsNothing():
		f.Reading = is + "; the last one, " + versionWords(newest) + ", had nothing in it"
	default:
		f.Reading = is + ", but " + versionWords(newest) + " can be brought back: it was deleted or lost"
		f.Accept = f.rollback(newest)
	}
}

func (f *digestFinding) explainStale(found foundVersions) {
	now, origin := f.reading.Now, found.origin
	const stopped = "a writer that locks by file alone, or one that stopped, made it stale; it is of "
	switch {
	case origin == nil:
		f.Reading = "no version that was looked at has that MD5, so it cannot be told what it is of"
		f.Accept = "the state may be older than the one that the digest is of"
	case now.SameContent(*origin):
		f.Reading = stopped + versionWords(origin) + ", which says the same"
	case now.Err != nil:
		f.Reading = "what is stored is no state, and the digest is of " + versionWords(origin)
		f.Accept = f.rollback(origin)
	case now.Header.Lineage != origin.Header.Lineage:
		f.Reading = "the state was replaced by another one (lineage): the digest is of " + versionWords(origin)
		f.Accept = f.rollback(origin)
	case now.Header.Serial > origin.Header.Serial && found.since != "":
		f.Reading = fmt.Sprintf("the serial is higher than that of %s, which the digest is of, but something went wrong in between: %s; see 'statelatch history'",
			versionWords(origin), found.since)
		f.Accept = f.rollback(origin)
	case now.Header.Serial > origin.Header.Serial:
		f.Reading = stopped + versionWords(origin)
	case now.Header.Serial == origin.Header.Serial:
		f.Reading = "an update was lost: the digest is of " + versionWords(origin) + ", which has the same serial and another content"
		f.Accept = f.rollback(origin)
	default:
		f.Reading = fmt.Sprintf("the state was rolled back or lost: its serial is %d, and the digest is of %s", now.Header.Serial, versionWords(origin))
		f.Accept = f.rollback(origin)
	}
}

// rollback names the command that brings an older version back.
func (f *digestFinding) rollback(to *state.Version) string {
	return "to bring that one back instead: " + f.again.command("rollback "+shellQuote(to.VersionID))
}

func versionWords(v *state.Version) string {
	s := "version"
	if v.VersionID != "" {
		s += " " + v.VersionID
	}
	if v.Err == nil && !v.Header.Empty {
		s += ", serial " + strconv.FormatUint(v.Header.Serial, 10)
	}
	return s + ", of " + v.LastModified.UTC().Format(time.RFC3339)
}

// foundVersions is what the versions of a state say about a digest.
type foundVersions struct {
	origin *state.Version    // the newest that has that MD5; nil: none that was looked at
	newest *state.Version    // that is a state at all; nil: none that was looked at
	since  state.AnomalyKind // the last thing that went wrong behind origin; empty: each was built on the one before
	all    bool              // no version is left that was not looked at, or origin was found
}

// findDigest looks at so many versions, 0 is all.
func findDigest(ctx context.Context, states *state.Store, ref statelatch.Ref, md5 string, limit int) (found foundVersions, err error) {
	entries, err := history.List(ctx, states, ref, history.Options{Limit: limit})
	if err != nil {
		return foundVersions{}, err
	}
	for i := range entries {
		v := &entries[i].Version
		if v.Exists && (!v.Header.Empty || v.Err != nil) {
			err := states.ReadWhole(ctx, v)
			switch {
			case errors.Is(err, statelatch.ErrNotFound): // purged meanwhile
			case err != nil:
				return foundVersions{}, err
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
	found.all = limit == 0 || len(entries) < limit
	return found, nil
}

func (d digests) count(is func(digestFinding) bool) (n int) {
	for _, f := range d.found {
		if is(f) {
			n++
		}
	}
	return n
}

func (d digests) wrong() int { return d.count(digestFinding.wrong) }

// unfixed is the failure that a fix ends with: the first of those that were met, else that something is left.
func (d digests) unfixed(dryRun bool) error {
	var errs []error
	left := 0
	for _, f := range d.found {
		if f.err != nil {
			errs = append(errs, f.err)
		}
		if f.wrong() && (!dryRun || !f.planned) {
			left++
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("%s not in step", count(left, "digest"))
	}
	return nil
}

// print shows what was found to people.
func (d digests) print(term terminal) {
	term.printTable(d.table(func(digestFinding) bool { return true }, digestFinding.details))
	wrong, summary := d.wrong(), count(d.items(), "digest")+" in "+d.where
	if wrong > 0 {
		summary += fmt.Sprintf(": %d not in step", wrong)
	} else {
		summary = "All in step: " + summary
	}
	if d.without > 0 {
		summary += fmt.Sprintf("; %s without one, which engines do not check", count(d.without, "state"))
	}
	term.say("%s.\n", summary)
}

// items are how many digests there are.
func (d digests) items() int {
	return d.count(func(f digestFinding) bool { return f.Status != digestNone })
}

// tellPlan shows what a fix is going to change, and what it leaves alone.
func (d digests) tellPlan(term terminal) {
	if d.wrong() == 0 {
		term.say("Nothing to do: all digests in %s are in step.\n", d.where)
		return
	}
	term.sayTable(d.table(digestFinding.wrong, func(f digestFinding) string {
		s := f.details()
		switch {
		case !f.planned && f.fixable():
			return s + "  left alone without -accept\n"
		case !f.planned:
			return s + "  left alone\n"
		case f.MD5 == "":
			return s + "  to be removed\n"
		}
		return s + "  to be set to " + f.MD5 + "\n"
	}))
}

// table shows findings: a line each, and below it what needs more words.
func (d digests) table(shows func(digestFinding) bool, details func(digestFinding) string) table {
	var shown []digestFinding
	t := table{
		Columns: []column{
			{Head: "STATE", Least: 20, Middle: true},
			{Head: "DIGEST"},
			{Head: "STORED", ID: true},
			{Head: "STATE'S MD5", ID: true},
			{Head: "SERIAL"},
			{Head: "WRITTEN (UTC)", Rank: 1},
		},
		Details: func(row int) string { return details(shown[row]) },
	}
	for _, f := range d.found {
		if !shows(f) {
			continue
		}
		shown = append(shown, f)
		t.Rows = append(t.Rows, []string{
			statelatch.Printable(f.Key), string(f.Status), orDash(f.Stored), orDash(f.MD5), serialCell(f.Serial), timeOf(f.reading.Now.LastModified),
		})
	}
	return t
}

func (f digestFinding) details() string {
	s := ""
	for _, text := range [...]string{f.Reading, f.Accept} {
		if text != "" {
			s += "  " + statelatch.Printable(text) + "\n"
		}
	}
	return s
}

// digestsJSON is the result of check and of fix.
type digestsJSON struct {
	Scope   string          `json:"scope"`
	Table   string          `json:"table"`
	Digests []digestFinding `json:"digests"`
	Totals  struct {
		Digests int `json:"digests"`
		Wrong   int `json:"wrong"`
		Without int `json:"without"`
	} `json:"totals"`
}

func (d digests) json() digestsJSON {
	out := digestsJSON{Scope: d.where, Table: d.all.Backend.DynamoDBTable, Digests: []digestFinding{}}
	for _, f := range d.found {
		if f.err != nil {
			f.Error = f.err.Error()
		}
		out.Digests = append(out.Digests, f)
	}
	out.Totals.Digests, out.Totals.Wrong, out.Totals.Without = d.items(), d.wrong(), d.without
	return out
}
