package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

// maxFindings is how many findings are told one by one.
const maxFindings = 20

const auditWhere = "LOCATION is s3://BUCKET/PREFIX or file:PATH; without it the first such location of " +
	"STATELATCH_AUDIT counts.\n"

func auditCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "audit",
		Usage:     "show what was done with these tools, and prove that the record is whole",
		UsageText: "statelatch audit log|verify [flags] [LOCATION]",
		Commands:  []*cli.Command{auditLogCommand(term), auditVerifyCommand(term)},
	}
}

type auditLogOptions struct {
	targetOptions
	only audit.Filter
}

func auditLogCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "log",
		Usage:     "show the events of an audit log, the newest last",
		UsageText: "statelatch audit log [flags] [LOCATION]",
		Description: "Shows what was recorded with -audit: who locked, unlocked, forced, took over, ran, pushed, rolled back, deleted,\n" +
			"set up or collected what, and when by the clock of whoever did it. It does not check the log: see audit verify.\n" +
			auditWhere + "\n" +
			"Examples:\n" +
			"  statelatch audit log -since 24h s3://acme-state/audit\n" +
			"  statelatch audit log -action force-unlock -ref s3://acme-state/prod/ file:/var/log/statelatch.log",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "ref", Usage: "`REF` only this state, or with a slash at the end all below"},
			&choiceFlag{Name: "action", Config: actionNames(), Usage: "`ACTION` only this action"},
			&cli.StringFlag{Name: "who", Usage: "`TEXT` only who has this in the name; also the holder of a lock that ended"},
			&cli.StringFlag{Name: "since", Usage: "`DURATION|TIME` only what is younger, such as 24h or 7d, or since a " +
				"time such as " +
				"2026-11-01T12:00:00Z"},
		}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			location, err := atMostOne(c, "LOCATION")
			if err != nil {
				return err
			}
			o := auditLogOptions{targetOptions: targetOf(c, "")}
			o.only = audit.Filter{Ref: c.String("ref"), Action: audit.Action(c.String("action")), Who: c.String("who")}
			o.ref = location
			if o.only.Since, err = sinceOf(c.String("since"), time.Now()); err != nil {
				return err
			}
			return o.finishAudit(ctx, term, runAuditLog(ctx, o, term))
		},
	}
}

func auditVerifyCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "find out whether an audit log was changed",
		UsageText: "statelatch audit verify [flags] [LOCATION]",
		Description: "Reads all events and follows the chain: each holds the SHA-256 of the one before, and the head beside them that of the\n" +
			"newest. Tells what was edited, removed, moved, doubled or put in, and whether the end was cut off. Exit code 1 if\n" +
			"anything was. Where the bucket keeps versions they are compared, too, so that an event that was written again or\n" +
			"deleted is found although all hashes behind it fit. With " + envAuditKey + " events must be signed with it.\n" +
			"docs/GUARANTEES.md says who is kept out by what. Who has the key, or may delete versions, can hide what was:\n" +
			"keep the log under Object Lock, or the last line that this command prints somewhere else, for -known.\n" +
			auditWhere + "\n" +
			"Examples:\n" +
			"  statelatch audit verify s3://acme-state/audit\n" +
			"  statelatch audit verify -known 512:9f86d081884c7d65...b0f00a08 s3://acme-state/audit\n" +
			"  statelatch audit verify -json file:/var/log/statelatch.log",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "known", Usage: "`EVENT:SHA256` an event that was kept, as EVENT:SHA256: it has to be " +
				"there unchanged"},
		}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			location, err := atMostOne(c, "LOCATION")
			if err != nil {
				return err
			}
			var known []audit.Head
			if s := c.String("known"); s != "" {
				head, err := audit.ParseHead(s)
				if err != nil {
					return usageError{fmt.Errorf("-known %q: want EVENT:SHA256, the number and the 64 hex digits that audit "+
						"verify printed", s)}
				}
				known = append(known, head)
			}
			o := targetOf(c, "")
			o.ref = location
			return o.finishAudit(ctx, term, runAuditVerify(ctx, o, known, term))
		},
	}
}

func actionNames() (names []string) {
	for _, a := range audit.Actions {
		names = append(names, string(a))
	}
	return names
}

// sinceOf reads how long ago, or a time.
func sinceOf(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := term.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError{fmt.Errorf("-since %q: want a duration such as 24h or 7d, or a time such as "+
		"2026-11-01 or 2026-11-01T12:00:00Z", s)}
}

// finishAudit is finish of a command whose argument is no REF.
func (o targetOptions) finishAudit(ctx context.Context, term terminal, err error) error {
	if !strings.HasPrefix(o.ref, "s3://") {
		o.ref = ""
	}
	return o.finish(ctx, term, err)
}

// openLog opens the log that is named, else the first of the environment that can be read back.
func (o targetOptions) openLog(ctx context.Context, term terminal) (audit.Log, error) {
	locations := []string{o.ref}
	if o.ref == "" {
		locations = auditLocations("", term)
		if len(locations) == 0 {
			return nil, usageError{fmt.Errorf("no audit log is named: add s3://BUCKET/PREFIX or file:PATH, or set %s", envAudit)}
		}
	}
	log, sent, err := audit.OpenLog(locations, func(name string) (bucket.Bucket, error) {
		at := o
		if at.ref != "" {
			at.ref = "s3://" + name
		}
		b, err := openAuditBucket(ctx, at, term, name)
		if err != nil && at.ref == "" { // there is no backend here
			at.ref = "s3://" + name
			b, err = openAuditBucket(ctx, at, term, name)
		}
		return b, err
	})
	switch {
	case errors.Is(err, statelatch.ErrInvalid), errors.Is(err, statelatch.ErrUnsupported):
		err = usageError{err}
	case err == nil && log == nil:
		err = usageError{fmt.Errorf("%s: events that were sent there cannot be read back: name s3://BUCKET/PREFIX or "+
			"file:PATH", strings.Join(sent, ", "))}
	}
	return log, err
}

// auditLogJSON are the events that were asked for, as they are stored.
type auditLogJSON struct {
	Location   string            `json:"location"`
	Events     []json.RawMessage `json:"events"`
	Unreadable int               `json:"unreadable"`
}

func runAuditLog(ctx context.Context, o auditLogOptions, term terminal) error {
	log, err := o.openLog(ctx, term)
	if err != nil {
		return err
	}
	contents, err := log.ReadSince(ctx, o.only.Since)
	if err != nil {
		return err
	}
	result := auditLogJSON{Location: log.String()}
	var shown []audit.Event
	shown, result.Events, result.Unreadable = contents.Select(o.only)
	if o.json {
		return term.PrintJSON(result)
	}
	if len(shown) > 0 {
		term.PrintTable(auditTable(shown))
	}
	if result.Unreadable > 0 {
		term.Say("Warning: %s cannot be read: see 'statelatch audit verify'\n", count(result.Unreadable, "event"))
	}
	if len(shown) == 0 {
		term.Say("No such event in %s, of %d.\n", statelatch.Printable(log.String()),
			uint64(len(contents.Records))+contents.Earlier)
	}
	return nil
}

func auditTable(events []audit.Event) table {
	t := table{Columns: []column{
		{Head: "EVENT"},
		{Head: "TIME (UTC)"},
		{Head: "ACTION"},
		{Head: "OUTCOME"},
		{Head: "WHO", Least: 10},
		{Head: "REF", Least: 14},
		{Head: "SERIAL", Rank: 1},
		{Head: "NOTE", Least: 10, Rank: 2},
	}}
	for _, e := range events {
		t.Rows = append(t.Rows, []string{
			strconv.FormatUint(e.Seq, 10), timeOf(e.Time), orDash(string(e.Action)), orDash(string(e.Outcome)), orDash(e.Who),
			orDash(e.Ref), e.Serials(), statelatch.Printable(e.Note()),
		})
	}
	return t
}

func runAuditVerify(ctx context.Context, o targetOptions, known []audit.Head, term terminal) error {
	keys, err := audit.ParseKeys([]byte(term.Getenv(envAuditKey)))
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", envAuditKey, err)}
	}
	log, err := o.openLog(ctx, term)
	if err != nil {
		return err
	}
	contents, err := log.Read(ctx)
	if err != nil {
		return err
	}
	report := audit.Check{Known: known, Keys: keys}.Verify(contents)
	broken := report.Err(log)
	if o.json {
		if err := term.PrintJSON(report.Verified(log, len(keys) > 0)); err != nil || broken == nil {
			return err
		}
		return reportedError{broken}
	}
	tellReport(term, report, len(keys) > 0)
	if broken == nil {
		term.Print("%s is intact.\n", statelatch.Printable(log.String()))
	}
	if report.Last.Seq > 0 {
		term.Print("chain %s, event %d of %s, sha256 %s\n", statelatch.Printable(report.Last.Chain), report.Last.Seq,
			timeOf(report.Time), report.Last.Hash)
	}
	return broken
}

func tellReport(term terminal, r audit.Report, keyUsed bool) {
	what := count(r.Events, "event") + " read"
	if r.Compared > 0 {
		what += ", " + count(r.Compared, "older version") + " compared"
	}
	if keyUsed {
		what += ", " + count(r.Signed, "signature") + " checked"
	}
	term.Say("%s.\n", what)
	if r.NotCompared != nil {
		term.Say("Note: nothing older was compared, so an event that was written again with all behind it would "+
			"not be seen: %s\n", oneLine(r.NotCompared))
	}
	if !keyUsed && r.Signed > 0 {
		term.Say("Note: %s signed; with %s set the signatures are checked.\n",
			map[bool]string{true: "an event is", false: count(r.Signed, "event") + " are"}[r.Signed == 1], envAuditKey)
	}
	if r.Unsigned > 0 && r.Signed > 0 {
		term.Say("Note: nothing before the first signature is signed (%s): it is from before the key was used, or written "+
			"anew by somebody without it.\n", count(r.Unsigned, "event"))
	}
	if r.Behind > 0 {
		term.Say("Note: the head does not cover the last %s: a writer was stopped in between, or is just at work.\n",
			count(int(min(r.Behind, 1<<30)), "event"))
	}
	for _, f := range slices.Clip(r.Findings[:min(len(r.Findings), maxFindings)]) {
		if f.Event > 0 {
			term.Print("event %d: ", f.Event)
		}
		term.Print("%s: %s\n", f.Kind, statelatch.Printable(f.Detail))
	}
	if more := len(r.Findings) - maxFindings; more > 0 {
		term.Print("and %s more (-json lists all)\n", count(more, "finding"))
	}
}
