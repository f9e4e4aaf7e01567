package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Log is a sink that can be read back.
type Log interface {
	Sink
	// Read returns all that is stored. What single records are wrong in is for [Verify]; errors mean that the log
	// could not be read.
	Read(ctx context.Context) (Contents, error)
	// ReadSince is Read for who wants to know what was done since a time, and checks nothing: what is older may be left
	// out, and so are older versions of what is there. The zero time leaves out no event.
	ReadSince(ctx context.Context, since time.Time) (Contents, error)
}

// Contents is everything that is stored in a log, in the order in which it is stored.
type Contents struct {
	Records []Record // the events' bytes, not yet judged
	Head    *Head    // nil: there is none, or HeadErr says why it cannot be read
	HeadErr error    // why the head cannot be read; nil: it can, or there is none
	Foreign []string // keys that are no part of a log
	Earlier uint64   // events before Records that ReadSince left out, at most

	// Older is what the bucket keeps of the log beside what is current, by key, the newest first; of a file nothing.
	// OlderErr says why it is not known: errors matching [statelatch.ErrUnsupported] that nothing is kept.
	Older    []Older
	OlderErr error // see Older; nil: it is complete
}

// Older is a version of an event or of the head that is not the current event, or a mark that it was deleted.
type Older struct {
	Name      string    // key
	Number    uint64    // that it is stored under; 0: it is of the head
	VersionID string    // in the bucket
	Stored    time.Time // by the store's clock
	Deleted   bool      // it is such a mark
	Current   bool      // nothing is newer
	Raw       []byte    // nil: it is such a mark, or has just expired
}

// Record is one stored event.
type Record struct {
	Name   string    // key, or line N
	Number uint64    // that it is stored under; 0 if it has none
	Stored time.Time // by the store's clock; zero if not known
	Raw    []byte    // nil: not readable as a whole
}

// Kind names what is wrong with a log.
type Kind string

// The kinds of findings.
const (
	Edited    Kind = "edited"    // the event, or what is in its place, is not the one that the next one was linked to
	Gap       Kind = "gap"       // events are missing
	CutTail   Kind = "cut tail"  // events at the end are missing
	Reordered Kind = "reordered" // an event stands in the place of another
	Duplicate Kind = "duplicate" // an event is there twice
	WrongLog  Kind = "chain"     // the event belongs to another log
	BadHead   Kind = "head"      // the head is missing, cannot be read or belongs to another log
	Foreign   Kind = "foreign"   // an object that is no part of the log
	Rewritten Kind = "rewritten" // the bucket keeps an older version of it that says something else
	Deleted   Kind = "deleted"   // it was deleted; the bucket may keep what it was
	Forged    Kind = "forged"    // its MAC is of none of the keys
	Unsigned  Kind = "unsigned"  // it has no MAC, although events before it have
)

// Finding is one thing that is wrong.
type Finding struct {
	Event  uint64 `json:"event,omitempty"` // the number of the first event concerned; 0: none
	Kind   Kind   `json:"kind"`            // what sort of wrong it is
	Detail string `json:"detail"`          // one line for people
}

// Report is the result of [Verify].
type Report struct {
	Events   int       // how many were read
	Last     Head      // of the newest event; zero if there is none
	Time     time.Time // of the newest event
	Findings []Finding // by event; those that concern none are last
	// Behind is how many events the head does not cover yet. Without findings that is a writer that
	// died, or one that is just at work, and the next event mends it.
	Behind uint64
	Signed int // events with a MAC; with [Check.Keys], with one of those
	// Unsigned is, with [Check.Keys], how many events stand before the first signed one: from before there was a key, or
	// written anew by somebody without it before a client with it went on. Nothing in the log tells the two apart.
	Unsigned int
	// Compared is how many older versions were compared with what is there, and NotCompared why none could be.
	Compared    int
	NotCompared error // see Compared; nil: they were compared
}

// Verified is a report as docs/JSON.md has it.
type Verified struct {
	Location string    `json:"location"`            // of the log
	Intact   bool      `json:"intact"`              // see Report.Err
	Events   int       `json:"events"`              // see Report
	Chain    string    `json:"chain,omitempty"`     // of the newest event
	LastSeq  uint64    `json:"last_seq"`            // of the newest event
	LastHash string    `json:"last_hash,omitempty"` // of the newest event
	LastTime time.Time `json:"last_time,omitzero"`  // of the newest event
	Behind   uint64    `json:"head_behind"`         // see Report
	Signed   int       `json:"signed"`              // see Report
	Unsigned int       `json:"unsigned_first"`      // see Report
	KeyUsed  bool      `json:"key_used"`            // signatures were checked
	Compared int       `json:"versions_compared"`   // see Report
	// NotCompared is why versions were not.
	NotCompared string    `json:"versions_not_compared,omitempty"`
	Findings    []Finding `json:"findings"` // see Report
}

// Verified is r, of a log whose signatures were checked or not.
func (r Report) Verified(log Log, keyUsed bool) Verified {
	v := Verified{
		Location: log.String(), Intact: r.Err(log) == nil, Events: r.Events, Chain: r.Last.Chain, LastSeq: r.Last.Seq,
		LastHash: r.Last.Hash, LastTime: r.Time, Behind: r.Behind, Signed: r.Signed, Unsigned: r.Unsigned,
		KeyUsed: keyUsed, Compared: r.Compared, Findings: append([]Finding{}, r.Findings...),
	}
	if r.NotCompared != nil {
		v.NotCompared = r.NotCompared.Error()
	}
	return v
}

// Check says what a log is held against, beyond itself.
type Check struct {
	// Known are events whose hash was kept elsewhere, of which Seq and Hash count: they show that the log was written
	// anew from an event before them on, together with its head.
	Known []Head
	// Keys, if there are some, are those that events are signed with, from the first signed one on.
	Keys Keys
}

// Verify is Check.Verify with what is known.
func Verify(c Contents, known ...Head) Report { return Check{Known: known}.Verify(c) }

// Verify checks the whole chain, what the bucket keeps of it, and its signatures.
func (check Check) Verify(c Contents) Report {
	v := verifier{Contents: c, events: map[uint64]link{}, edited: map[uint64]bool{}}
	parsed := make([]Event, len(c.Records)) // zero: unreadable
	for i, r := range c.Records {
		parsed[i], _ = Parse(r.Raw)
		v.chain = cmp.Or(v.chain, parsed[i].Chain)
	}
	if c.Head != nil && slices.ContainsFunc(parsed, func(e Event) bool { return e.Chain == c.Head.Chain }) {
		v.chain = c.Head.Chain // the first event may be what is wrong
	}
	for i, r := range c.Records {
		v.add(r, parsed[i])
	}
	v.numbers()
	v.links()
	v.head()
	v.signatures(check.Keys)
	v.older()
	for _, k := range check.Known {
		if e, there := v.events[k.Seq]; !there || e.hash != k.Hash {
			v.find(k.Seq, Edited, "it, or one before it, is not what it was when its sha256 was %s", k.Hash)
		}
	}
	for _, key := range c.Foreign {
		v.find(0, Foreign, "%q is no part of an audit log", key)
	}
	slices.SortStableFunc(v.Findings, func(a, b Finding) int {
		return cmp.Compare(a.Event-1, b.Event-1) // 0 wraps around, to the end
	})
	return v.Report
}

type verifier struct {
	Contents
	Report
	chain  string
	events map[uint64]link // by number
	places []uint64        // the numbers in the order in which they are stored
	edited map[uint64]bool // of those that are found to be
}

// link is what an event says about its place.
type link struct {
	prev, hash string
	bad        bool // it was reported; what it says counts for nothing
}

func (v *verifier) find(event uint64, kind Kind, format string, args ...any) {
	v.Findings = append(v.Findings, Finding{event, kind, fmt.Sprintf(format, args...)})
	if kind == Edited {
		v.edited[event] = true
	}
}

// add takes one record in.
func (v *verifier) add(r Record, e Event) {
	v.Events++
	place := cmp.Or(r.Number, e.Seq)
	if place == 0 { // an unreadable line counts where it stands
		place = 1
		if n := len(v.places); n > 0 {
			place = v.places[n-1] + 1
		}
	}
	v.places = append(v.places, place)
	known, taken := v.events[e.Seq]
	switch {
	case e.Seq == 0:
		v.find(place, Edited, "%s is not readable as an event", r.Name)
		if _, taken := v.events[place]; !taken {
			v.events[place] = link{bad: true}
		}
		return
	case taken && !known.bad:
		v.find(place, Duplicate, "%s is event %d once more", r.Name, e.Seq)
		return
	case place != e.Seq:
		v.find(place, Reordered, "%s holds event %d", r.Name, e.Seq)
	}
	if e.Chain != v.chain {
		v.find(place, WrongLog, "%s belongs to the log with the chain %q, not %q", r.Name, e.Chain, v.chain)
	}
	is := link{prev: e.Prev, hash: hashOf(r.Raw), bad: e.Chain != v.chain}
	v.events[e.Seq] = is
	if e.Seq >= v.Last.Seq {
		v.Last, v.Time = Head{Chain: e.Chain, Seq: e.Seq, Hash: is.hash}, e.Time
	}
}

// numbers looks for what is missing and what stands in the wrong place.
func (v *verifier) numbers() {
	seen := map[uint64]bool{}
	highest := uint64(0)
	for _, n := range v.places {
		if n < highest && !seen[n] {
			v.find(n, Reordered, "it stands behind event %d", highest)
		}
		seen[n], highest = true, max(highest, n)
	}
	last := uint64(0)
	for _, n := range slices.Sorted(slices.Values(v.places)) {
		if n > last+1 {
			v.find(last+1, Gap, "%s", missing(last+1, n-1))
		}
		last = n
	}
}

func missing(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("event %d is missing", from)
	}
	return fmt.Sprintf("events %d to %d are missing", from, to)
}

// links compares what every event says of the one before it with that.
func (v *verifier) links() {
	broken := func(n uint64) bool {
		e, ok := v.events[n]
		before, known := v.events[n-1]
		switch {
		case !ok || e.bad:
			return false
		case n == 1:
			return e.prev != zeroHash
		}
		return known && !before.bad && e.prev != before.hash
	}
	for _, n := range slices.Sorted(maps.Keys(v.events)) {
		switch {
		case !broken(n) || n > 1 && v.edited[n-1]:
		case n == 1, broken(n + 1), v.notTheHead(n): // neither neighbour agrees with it
			v.find(n, Edited, "it is not what was stored: its link to the event before, or the link of the one behind, "+
				"does not match")
		default:
			v.find(n-1, Edited, "it is not what event %d was linked to", n)
		}
	}
}

// notTheHead reports whether n has the number of the head, but not its bytes.
func (v *verifier) notTheHead(n uint64) bool {
	e, there := v.events[n]
	return v.Head != nil && v.Head.Seq == n && there && e.hash != v.Head.Hash
}

// head compares the end of the chain with the head.
func (v *verifier) head() {
	h := v.Head
	switch {
	case v.HeadErr != nil:
		v.find(0, BadHead, "the head cannot be read, so a tail that was cut off would not be seen: %v", v.HeadErr)
	case h == nil && v.Last.Seq > 1: // the writer of the first event may have died before it wrote the head
		v.find(0, BadHead, "the head is missing, so a tail that was cut off would not be seen")
	case h == nil:
		v.Behind = v.Last.Seq
	case v.chain != "" && h.Chain != v.chain:
		v.find(0, BadHead, "the head belongs to the log with the chain %q, not %q", h.Chain, v.chain)
	case h.Seq > v.Last.Seq:
		v.find(v.Last.Seq+1, CutTail, "%s: the head knows them", missing(v.Last.Seq+1, h.Seq))
	case !v.events[h.Seq].bad && v.notTheHead(h.Seq) && !v.edited[h.Seq]:
		v.find(h.Seq, Edited, "it is not the one that the head names")
	default:
		v.Behind = v.Last.Seq - h.Seq
	}
}

// signatures looks at the MACs, in the order of numbers.
func (v *verifier) signatures(keys Keys) {
	records := slices.SortedStableFunc(slices.Values(v.Records),
		func(a, b Record) int { return cmp.Compare(a.Number, b.Number) })
	begun := false
	for i, r := range records {
		has, good := keys.signed(r.Raw)
		place := cmp.Or(r.Number, uint64(i)+1)
		switch {
		case len(keys) == 0:
			if has {
				v.Signed++
			}
		case good:
			v.Signed++
			begun = true
		case has:
			v.find(place, Forged, "%s is signed by none of the keys", r.Name)
		case !begun:
			v.Unsigned++
		default:
			v.find(place, Unsigned, "%s is not signed, although events before it are: a client without the key stored it, or "+
				"somebody wrote it anew", r.Name)
		}
	}
	if len(keys) > 0 && v.Signed == 0 && len(records) > 0 {
		v.find(0, Unsigned, "no event is signed by the keys")
	}
}

// older compares what the bucket keeps with what is there. Events are created once and for all, and the head only moves
// on.
func (v *verifier) older() {
	v.NotCompared = v.OlderErr
	now := map[uint64][]byte{}
	for _, r := range v.Records {
		now[r.Number] = r.Raw
	}
	told := map[uint64]bool{}
	tell := func(n uint64, kind Kind, format string, args ...any) {
		if n == 0 || !told[n] {
			v.find(n, kind, format, args...)
		}
		told[n] = true
	}
	var heads []Older
	for _, o := range v.Older {
		current, there := now[o.Number]
		switch {
		case o.Deleted && o.Number == 0:
			v.find(0, Deleted, "the head was deleted at %s", o.Stored.UTC().Format(time.RFC3339))
		case o.Deleted:
			tell(o.Number, Deleted, "%s was deleted at %s", o.Name, o.Stored.UTC().Format(time.RFC3339))
		case o.Raw == nil:
		case o.Number == 0:
			heads = append(heads, o)
		default:
			v.Compared++
			if there && string(current) != string(o.Raw) {
				tell(o.Number, Rewritten, "%s says something else than the version %s of %s, which the bucket keeps", o.Name,
					o.VersionID, o.Stored.UTC().Format(time.RFC3339))
			}
		}
	}
	if i := slices.IndexFunc(heads, func(o Older) bool {
		h, err := parseHead(o.Raw)
		return err == nil && v.Head != nil && h == *v.Head
	}); i > 0 {
		heads = heads[i:] // those before were stored since the log was read
	}
	newer := uint64(0) // that the head after it named
	for _, o := range heads {
		v.Compared++
		h, err := parseHead(o.Raw)
		e, there := v.events[h.Seq]
		switch {
		case err != nil:
			v.find(0, BadHead, "the head's version %s cannot be read: %v", o.VersionID, err)
			continue
		case newer > 0 && h.Seq > newer:
			v.find(h.Seq, CutTail, "the head was moved back from it to event %d", newer)
		case !there && h.Seq > v.Last.Seq:
			tell(h.Seq, CutTail, "the head named it until its version %s of %s", o.VersionID,
				o.Stored.UTC().Format(time.RFC3339))
		case there && (e.hash != h.Hash || h.Chain != v.chain):
			tell(h.Seq, Rewritten, "it is not what the head's version %s of %s names", o.VersionID,
				o.Stored.UTC().Format(time.RFC3339))
		}
		newer = h.Seq
	}
}
