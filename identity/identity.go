// Package identity says who really runs: the person and the CI job behind a lock, in place of the
// runner@fv-az123 that user and host name make of it.
//
// It reads the variables that the CI systems document, and our own; it asks no service. Everything it
// returns is one printable line of bounded length. It never reads a variable that is meant to hold a
// secret, and takes the credentials out of URLs that may have some. It does not prove
// anything: whoever sets the environment can claim to be anybody.
package identity

import (
	"cmp"
	"net/url"
	"os"
	"os/user"
	"strings"
	"unicode"

	"github.com/statelatch/statelatch"
)

// The variables that override what is found.
const (
	EnvWho    = "STATELATCH_WHO"    // for [statelatch.LockInfo.Who]
	EnvInfo   = "STATELATCH_INFO"   // for [statelatch.LockInfo.Info]
	EnvReason = "STATELATCH_REASON" // for [statelatch.Managed.Reason]
)

// The longest values, in characters: what a line of a terminal or a page of a CI system can show.
const (
	maxWord = 128  // a name, an ID, a branch
	maxLine = 1024 // a free text, a URL
)

// Identity is who runs, in the terms of a lock.
type Identity struct {
	// Who is ACTOR@SYSTEM in a CI job that names its actor, else user@host as the engines write it.
	Who string
	// Info is the job's URL and short commit, for people; empty outside of CI.
	Info string
	// Reason is what [EnvReason] says.
	Reason string
	// Run is the CI job; nil if none was recognised.
	Run *statelatch.Run
}

// Detect tells the identity by the environment that getenv reads (os.Getenv, outside of tests).
func Detect(getenv func(string) string) Identity {
	id := Identity{
		Who:    line(getenv(EnvWho), maxWord),
		Info:   line(getenv(EnvInfo), maxLine),
		Reason: line(getenv(EnvReason), maxLine),
		Run:    detectRun(getenv),
	}
	if id.Run != nil {
		id.Info = cmp.Or(id.Info, summary(*id.Run))
		if id.Run.Actor != "" {
			id.Who = cmp.Or(id.Who, id.Run.Actor+"@"+id.Run.System)
		}
	}
	if id.Who == "" {
		id.Who = userAtHost(getenv)
	}
	return id
}

// With returns id with what is given instead; empty: as it is. A reason that nobody gave a line for is shown in Info,
// too, which is all that engines show of a lock.
func (id Identity) With(who, info, reason string) Identity {
	id.Who, id.Reason = cmp.Or(who, id.Who), cmp.Or(reason, id.Reason)
	switch {
	case info != "":
		id.Info = info
	case id.Reason != "" && id.Info != "":
		id.Info = id.Reason + " (" + id.Info + ")"
	case id.Reason != "":
		id.Info = id.Reason
	}
	return id
}

// userAtHost is what the engines write.
func userAtHost(getenv func(string) string) string {
	name := getenv("USER")
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, _ := os.Hostname()
	return line(name+"@"+host, maxWord)
}

func summary(r statelatch.Run) string {
	s := cmp.Or(r.URL, strings.Join(strings.Fields(r.System+" "+r.Repo+" "+r.ID), " "))
	if r.Commit != "" {
		s += " (commit " + r.Commit[:min(8, len(r.Commit))] + ")"
	}
	return s
}

// line makes one printable line of at most limit characters.
func line(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	runes := []rune(strings.Join(strings.Fields(s), " "))
	return strings.TrimSpace(string(runes[:min(limit, len(runes))]))
}

// link is a web address without credentials; empty if s is none.
func link(s string) string {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	u.User = nil
	if s = u.String(); len(s) > maxLine { // half an address leads nowhere
		return ""
	}
	return line(s, maxLine)
}

// repository names a repository by its address or by what a CI system calls it. Nothing before an @
// and no query survives: it may be a credential.
func repository(s string) string {
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s, _, _ = strings.Cut(rest, "?")
	}
	s = s[strings.LastIndexByte(s, '@')+1:]
	return line(strings.TrimSuffix(s, ".git"), maxWord)
}

// commit is a full or abbreviated hash; empty for what else the systems put there, such as HEAD.
func commit(s string) string {
	if len(s) < 7 || len(s) > 64 || strings.Trim(strings.ToLower(s), "0123456789abcdef") != "" {
		return ""
	}
	return s
}

// branch is the short name of a branch or tag.
func branch(s string) string {
	s = strings.TrimPrefix(s, "refs/heads/")
	return line(strings.TrimPrefix(s, "refs/tags/"), maxWord)
}
