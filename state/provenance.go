package state

import (
	"mime"
	"net/url"
	"sort"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// Provenance is who wrote a version, as its writer recorded it beside the bytes: an engine's write has none. It proves
// nothing, because whoever may write the object may write that, too. Each field that was read is one printable line,
// and all together are no larger than what a store keeps.
type Provenance struct {
	LockID    string // of the lock under which it was written; empty: without one, or it is not recorded
	Principal string // whom the lock named: user@host, the actor of a CI job
	Run       string // the address of the CI job, http or https; empty: none, or it is not recorded
}

// ProvenanceOf is that of what is written under a lock; m is nil for one that an engine took.
func ProvenanceOf(lock statelatch.LockInfo, m *statelatch.Managed) Provenance {
	p := Provenance{LockID: lock.ID, Principal: lock.Who}
	if m != nil && m.Run != nil {
		p.Run = m.Run.URL
	}
	return p
}

// Under reports whether p can be what is recorded of a write under a lock.
func (p Provenance) Under(lock statelatch.LockInfo) bool {
	kept := recorded(ProvenanceOf(lock, nil).Metadata())
	if p.LockID != "" {
		return p.LockID == kept.LockID
	}
	return p.Principal == "" || p.Principal == kept.Principal
}

// IsZero reports whether nothing is recorded.
func (p Provenance) IsZero() bool { return p == Provenance{} }

// record is how one field is kept in an object's metadata.
type record struct {
	name  string // of the metadata
	limit int    // of the value there, in bytes: all together leave room below bucket.MaxMetadata for a gateway's own
	field func(*Provenance) *string
	admit func(s string, limit int) string // as much of a printable text as may be told
}

var records = [...]record{
	{"statelatch-lock-id", 128, func(p *Provenance) *string { return &p.LockID }, whole},
	{"statelatch-principal", 512, func(p *Provenance) *string { return &p.Principal }, shortened},
	{"statelatch-run", 1024, func(p *Provenance) *string { return &p.Run }, address},
}

// Metadata is p as it is kept with an object, for bucket.PutOptions; nil: there is nothing to keep.
func (p Provenance) Metadata() (m map[string]string) {
	for _, r := range records {
		if s := r.line(*r.field(&p)); s != "" {
			if m == nil {
				m = map[string]string{}
			}
			m[r.name] = encode(s)
		}
	}
	return m
}

// recorded is what the metadata of an object says, whoever wrote that.
func recorded(metadata map[string]string) (p Provenance) {
	for _, r := range records {
		if s := metadata[r.name]; len(s) <= bucket.MaxMetadata {
			*r.field(&p) = r.line(decode(s))
		}
	}
	return p
}

// line is what may be told of a text, and what comes back when it is kept; empty: nothing.
func (r record) line(s string) string {
	s = r.admit(statelatch.Printable(strings.TrimSpace(strings.ToValidUTF8(s, "\ufffd"))), r.limit)
	if decode(encode(s)) != s { // it looks like something encoded
		return ""
	}
	return s
}

// encode makes metadata of a printable text (RFC 2047), which S3 itself does with what is not ASCII; plain ASCII stays
// as it is.
func encode(s string) string { return mime.QEncoding.Encode("utf-8", s) }

func decode(s string) string {
	if text, err := new(mime.WordDecoder).DecodeHeader(s); err == nil {
		return text
	}
	return s
}

// whole is s or nothing: a part of it would name something else.
func whole(s string, limit int) string {
	if len(encode(s)) > limit {
		return ""
	}
	return s
}

// shortened is as much of s as there is room for.
func shortened(s string, limit int) string {
	if len(encode(s)) <= limit {
		return s
	}
	runes := []rune(s)
	cut := func(n int) string { return string(runes[:n]) + "…" }
	return cut(sort.Search(min(limit, len(runes)), func(n int) bool { return len(encode(cut(n+1))) > limit }))
}

// address is s if it is that of a page, without credentials.
func address(s string, limit int) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return whole(s, limit)
}
