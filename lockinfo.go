package statelatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// MaxLockInfo is the largest lock object, in bytes, that is read. The engines write about 215.
const MaxLockInfo = 64 << 10

// LockInfo is the content of a lock object: the seven fields that terraform and
// tofu write, in their order and encoding.
type LockInfo struct {
	ID        string    // opaque; the engines' is 16 random bytes as 8-4-4-4-12 hex digits
	Operation string    // what the holder is doing, such as "OperationTypeApply"
	Info      string    // free text, shown to whoever is kept waiting
	Who       string    // user@host
	Version   string    // of the tool that took the lock
	Created   time.Time // when the lock was taken (the engines: when their wait began; B7)
	Path      string    // bucket/key of the state
}

// Marshal encodes l byte for byte as the engines do: seven keys, always all of
// them, compact, HTML-escaped, time in UTC. tofu releases a DynamoDB lock only if
// its stored text equals this encoding.
func (l LockInfo) Marshal() []byte {
	l.Created = l.Created.UTC()
	b, err := json.Marshal(l)
	if err != nil {
		// Only a year outside 0..9999 can get here.
		l.Created = time.Time{}
		b, _ = json.Marshal(l)
	}
	return b
}

// ParseLockInfo reads a lock object as tolerantly as it can be done safely: unknown keys are ignored, names match in
// any case, missing fields stay zero, and a Created that is no time, in the lock's own form or in the one that engines
// show, leaves Created zero (the engines give up there). It fails, matching [ErrInvalid], if the body is empty, larger
// than [MaxLockInfo], not a JSON object, or has no ID: such a lock is held by nobody who can be named.
func ParseLockInfo(body []byte) (LockInfo, error) {
	switch {
	case len(body) == 0:
		return LockInfo{}, fmt.Errorf("%w lock info: the lock object is empty", ErrInvalid)
	case len(body) > MaxLockInfo:
		return LockInfo{}, fmt.Errorf("%w lock info: larger than %d bytes", ErrInvalid, MaxLockInfo)
	}
	var raw struct {
		ID, Operation, Info, Who, Version, Path string
		Created                                 any
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return LockInfo{}, fmt.Errorf("%w lock info: not JSON (at byte %d)", ErrInvalid, syntax.Offset)
		}
		return LockInfo{}, fmt.Errorf("%w lock info: %w", ErrInvalid, err)
	}
	if raw.ID == "" {
		return LockInfo{}, fmt.Errorf("%w lock info: it has no ID", ErrInvalid)
	}
	l := LockInfo{
		ID: raw.ID, Operation: raw.Operation, Info: raw.Info, Who: raw.Who,
		Version: raw.Version, Path: raw.Path,
	}
	if s, ok := raw.Created.(string); ok {
		l.Created = parseCreated(s)
	}
	return l, nil
}

// parseCreated reads the time of a lock object, or as the engines show it, which is how it comes into locks that people
// write by hand; zero if it is neither.
func parseCreated(s string) time.Time {
	s, _, _ = strings.Cut(strings.TrimSpace(s), " m=") // of a clock that only its process had
	for _, layout := range [...]string{
		time.RFC3339, "2006-01-02 15:04:05 -0700 MST", "2006-01-02 15:04:05 -0700",
		"2006-01-02 15:04:05Z07:00",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// Block formats l as the engines show a holder: the line "Lock Info:" and the seven
// fields in their order, because scripts look for it. Control characters are escaped,
// so that a lock object cannot drive a terminal.
func (l LockInfo) Block() string {
	created := "unknown"
	if !l.Created.IsZero() {
		created = l.Created.UTC().String()
	}
	var b bytes.Buffer
	b.WriteString("Lock Info:\n")
	for _, f := range [...][2]string{
		{"ID", l.ID},
		{"Path", l.Path},
		{"Operation", l.Operation},
		{"Who", l.Who},
		{"Version", l.Version},
		{"Created", created},
		{"Info", l.Info},
	} {
		fmt.Fprintf(&b, "  %-11s%s\n", f[0]+":", Printable(f[1]))
	}
	return b.String()
}

// Printable escapes the control and other unprintable characters of text that
// somebody else wrote, for a terminal or a log line.
func Printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRune(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}
