package digest

import (
	"context"
	"errors"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/plural"
	"github.com/statelatch/statelatch/internal/safejson"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/state"
)

// Survey is what was found of the digest of one state, or of all in a scope, and what is done about it.
type Survey struct {
	Rows    []*Row // by key
	Without int    // states that have no digest
}

// Document is a survey as docs/JSON.md has it.
type Document struct {
	Scope   string `json:"scope"`   // as it was named
	Table   string `json:"table"`   // its name
	Digests []*Row `json:"digests"` // by key
	Totals  struct {
		Digests int `json:"digests"` // that there are
		Wrong   int `json:"wrong"`   // of those
		Without int `json:"without"` // states that have none
	} `json:"totals"` // see Survey
}

// Document is s, of a scope and a table by their names.
func (s *Survey) Document(scope, table string) Document {
	d := Document{Scope: scope, Table: table, Digests: append([]*Row{}, s.Rows...)}
	d.Totals.Digests, d.Totals.Wrong, d.Totals.Without = s.Items(), s.Wrong(), s.Without
	return d
}

// Row is one digest of a survey.
type Row struct {
	Finding

	Accept  string // why it is not fixed unless somebody accepts what is stored; empty if it is
	Planned bool   // it is to be fixed
	Fixed   bool   // it is in step by now
	Err     error  // why it could not be fixed
}

// One surveys one state. Errors are those of Check.
func (c Checker) One(ctx context.Context, ref statelatch.Ref) (*Survey, error) {
	f, err := c.Check(ctx, ref)
	s := c.survey(f)
	if err == nil && f.Status == None {
		s.Without = 1
	}
	return s, err
}

// All surveys a scope, and lists the table and the bucket for that. OnFound, if not nil, is told how many of its
// digests are compared.
func (c Checker) All(
	ctx context.Context, table Table, scope statelatch.Scope, opts fleet.WalkOptions, onFound func(done, of int),
) (*Survey, error) {
	keys, err := Keys(ctx, table, scope, opts.WorkspacePrefix)
	if err != nil {
		return nil, err
	}
	without, err := Without(ctx, c.Store.Bucket, scope, opts, keys)
	if err != nil {
		return nil, err
	}
	found, err := c.CheckAll(ctx, scope.Bucket, keys, func(done int) {
		if onFound != nil {
			onFound(done, len(keys))
		}
	})
	s := c.survey(found...)
	s.Without = without
	return s, err
}

func (c Checker) survey(found ...Finding) *Survey {
	s := &Survey{}
	for _, f := range found {
		r := &Row{Finding: f}
		r.Accept = f.DoubtFor(func(verb string) string { return c.command(f.Ref, verb) })
		s.Rows = append(s.Rows, r)
	}
	return s
}

func (c Checker) command(ref statelatch.Ref, verb string) string {
	if c.Command != nil {
		return c.Command(ref, verb)
	}
	return "statelatch " + verb + " " + ref.String()
}

// DoubtFor is the Doubt about a digest, with the command that brings back what was lost; command makes one of a verb.
func (f Finding) DoubtFor(command func(verb string) string) string {
	switch {
	case f.Restore != nil:
		return "to bring that one back instead: " + command("rollback "+term.ShellQuote(f.Restore.VersionID))
	case f.Unlooked:
		return f.Doubt + ": give -versions 0"
	}
	return f.Doubt
}

// Wrong reports whether the digest is still not what it should be.
func (r *Row) Wrong() bool { return r.Finding.Wrong() && !r.Fixed }

// Count counts the rows for which is holds.
func (s *Survey) Count(is func(*Row) bool) (n int) {
	for _, r := range s.Rows {
		if is(r) {
			n++
		}
	}
	return n
}

// Items are how many digests there are.
func (s *Survey) Items() int { return s.Count(func(r *Row) bool { return r.Status != None }) }

// Wrong are how many are not what they should be.
func (s *Survey) Wrong() int { return s.Count((*Row).Wrong) }

// Plan says which are to be fixed, and how many: all that can be, if what is stored is accepted; else those without a
// Doubt.
func (s *Survey) Plan(accept bool) (planned int) {
	for _, r := range s.Rows {
		if r.Fixable() && (accept || r.Doubt == "") {
			r.Planned = true
			planned++
		}
	}
	return planned
}

// Fix calls one for each that is planned, in their order: it fixes the digest under the lock of its state. Told, if not
// nil, learns of each what became of it.
func (s *Survey) Fix(
	ctx context.Context, one func(ref statelatch.Ref, shown state.DigestReading) (changed bool, err error),
	told func(r *Row, changed bool),
) {
	for _, r := range s.Rows {
		if !r.Planned || ctx.Err() != nil {
			continue
		}
		changed, err := one(r.Ref, r.Reading)
		r.Err, r.Fixed = err, err == nil
		if told != nil {
			told(r, changed)
		}
	}
}

// Err is the failure that a fix ends with: those that were met, else that something is left. Of a dry run what is
// planned counts as done.
func (s *Survey) Err(dryRun bool) error {
	var errs []error
	for _, r := range s.Rows {
		errs = append(errs, r.Err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return notInStep(s.Count(func(r *Row) bool { return r.Wrong() && (!dryRun || !r.Planned) }))
}

// WrongErr is nil if all digests are what they should be.
func (s *Survey) WrongErr() error { return notInStep(s.Wrong()) }

func notInStep(n int) error {
	if n == 0 {
		return nil
	}
	return errors.New(plural.Of(n, "digest") + " not in step")
}

type versionJSON struct {
	VersionID    string    `json:"version_id"`
	Serial       uint64    `json:"serial"`
	LastModified time.Time `json:"last_modified"`
}

// MarshalJSON is as docs/JSON.md has it.
func (r *Row) MarshalJSON() ([]byte, error) {
	j := struct {
		Key          string       `json:"key"`
		Status       Status       `json:"status"`
		MD5          string       `json:"md5,omitempty"` // of the stored bytes; empty where engines see no state
		Stored       string       `json:"stored,omitempty"`
		Serial       *uint64      `json:"serial,omitempty"` // of the stored state; nil: there is none
		LastModified time.Time    `json:"last_modified,omitzero"`
		BelongsTo    *versionJSON `json:"belongs_to,omitempty"`
		Reading      string       `json:"reading,omitempty"`
		Accept       string       `json:"accept,omitempty"`
		Fixed        bool         `json:"fixed,omitempty"`
		Error        string       `json:"error,omitempty"`
	}{
		Key: r.Ref.Key, Status: r.Status, MD5: r.Reading.Want(), Stored: r.Reading.Stored, Serial: r.Reading.Now.Serial(),
		LastModified: r.Reading.Now.LastModified.UTC(), Reading: r.Meaning, Accept: r.Accept, Fixed: r.Fixed,
	}
	if v := r.BelongsTo; v != nil {
		j.BelongsTo = &versionJSON{v.VersionID, v.Header.Serial, v.LastModified.UTC()}
	}
	if r.Err != nil {
		j.Error = r.Err.Error()
	}
	return safejson.Marshal(j)
}
