package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
)

// Filter says which events are meant. The zero Filter means all.
type Filter struct {
	Ref    string    // only this state, or with a slash at the end all below; empty: any
	Action Action    // only this; empty: any
	Who    string    // only who has this in the name, whatever its case; the holder of a lock that ended, too
	Since  time.Time // not before that
}

// Has reports whether e is meant.
func (f Filter) Has(e Event) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(f.Who)) }
	switch {
	case f.Ref != "" && e.Ref != f.Ref && (!strings.HasSuffix(f.Ref, "/") || !strings.HasPrefix(e.Ref+"/", f.Ref)),
		f.Action != "" && e.Action != f.Action,
		f.Who != "" && !has(e.Who) && !has(e.Holder),
		e.Time.Before(f.Since):
		return false
	}
	return true
}

// Select returns the events that are meant, with the bytes that are stored of each. It does not check the log.
// Unreadable counts what is no event.
func (c Contents) Select(only Filter) (events []Event, stored []json.RawMessage, unreadable int) {
	stored = []json.RawMessage{}
	for _, r := range c.Records {
		e, err := Parse(r.Raw)
		switch {
		case err != nil:
			unreadable++
		case only.Has(e):
			events, stored = append(events, e), append(stored, r.Raw)
		}
	}
	return events, stored, unreadable
}

// Serials is how the serial of the state changed, for people.
func (e Event) Serials() string {
	text := func(serial *uint64) string {
		if serial == nil {
			return "none"
		}
		return strconv.FormatUint(*serial, 10)
	}
	before, after := text(e.SerialBefore), text(e.SerialAfter)
	switch {
	case e.SerialBefore == nil && e.SerialAfter == nil:
		return "-"
	case before == after:
		return after
	}
	return before + " -> " + after
}

// Note is what else a person wants to know at once.
func (e Event) Note() string {
	var notes []string
	if e.Holder != "" && e.Holder != e.Who {
		notes = append(notes, "held by "+e.Holder)
	}
	for _, text := range []string{e.Reason, e.Detail} {
		if text != "" {
			notes = append(notes, text)
		}
	}
	return strings.Join(notes, "; ")
}

// ParseHead reads an event that was kept, as EVENT:SHA256. Errors match [statelatch.ErrInvalid].
func ParseHead(s string) (Head, error) {
	number, hash, _ := strings.Cut(s, ":")
	seq, err := strconv.ParseUint(number, 10, 64)
	if sum, hexErr := hex.DecodeString(hash); err != nil || seq == 0 || hexErr != nil || len(sum) != sha256.Size {
		return Head{}, fmt.Errorf("%w event %q: want EVENT:SHA256, a number and 64 hex digits", statelatch.ErrInvalid, s)
	}
	return Head{Seq: seq, Hash: strings.ToLower(hash)}, nil
}

// Err is what is first wrong with the log of that name; nil if nothing is.
func (r Report) Err(log fmt.Stringer) error {
	if len(r.Findings) == 0 {
		return nil
	}
	first, where := r.Findings[0], ""
	if first.Event > 0 {
		where = fmt.Sprintf(" at event %d", first.Event)
	}
	return fmt.Errorf("the audit log %s is broken%s: %s: %s", log, where, first.Kind, first.Detail)
}
