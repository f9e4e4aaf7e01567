// Package complete lists what a line that is being typed may go on with: states level by level, versions, lock IDs and
// workspaces, as far as a bucket can be reached in the time that somebody waits for a list to appear.
package complete

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/internal/userdir"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/state"
	"github.com/urfave/cli/v3"
)

// Budget is for all that is asked of stores.
const Budget = 2 * time.Second

const (
	keeps    = 30 * time.Second // a level of a bucket is remembered, because keys are pressed in a row
	versions = 20               // of a state are listed
	maxLevel = 1000             // keys of a level
)

// Way opens what a line means, with what it has said so far of how to get there.
type Way interface {
	// Set hears of the flags that are whole, in their order.
	Set(f cli.Flag, value string)
	// Dir is the working directory that they name.
	Dir() string
	// State opens a state: by its ref, or that of the working directory.
	State(ref string) (*site.Site, statelatch.Ref, error)
	// Scope opens a bucket, or that of the working directory.
	Scope(ref string) (*site.Site, statelatch.Scope, error)
}

// Line is a line that is being typed. It is a cliargs.Completer.
type Line struct {
	*cliargs.Typing
	Way

	Ctx    context.Context //nolint:containedctx // a Line lives as long as one call
	Getenv func(string) string
	Bucket string // in which a KEY alone is; empty: none
}

// Value lists those of a flag.
func (l *Line) Value(t *cliargs.Typing, f cli.Flag, name string) (list []string) {
	l.Typing = t
	switch {
	case f.Names()[0] == "version":
		return l.versions()
	case name == "ID":
		return l.lockIDs()
	case name == "REF":
		return l.refs()
	case f.Names()[0] == "profile":
		for _, profile := range backendconf.Profiles(l.Getenv) {
			list = l.Candidate(list, profile, "")
		}
	}
	return list
}

var argumentKinds = lazyre.New(`LOCK_ID|VERSION|V[12]\b|FILE|NAME|LOCATION|DIR|s3://BUCKET|REF|bash\|zsh\|fish\|pwsh`)

// kinds are what the command takes, by what its usage says.
func (l *Line) kinds() []string {
	if l.Command.Name == "diff" { // [REF] V1 [V2]
		return []string{"VERSION"}
	}
	return argumentKinds.FindAllString(strings.TrimPrefix(l.Command.UsageText, l.Command.FullName()), -1)
}

// Argument lists what may stand at this place.
func (l *Line) Argument(t *cliargs.Typing) (list []string) {
	l.Typing = t
	kinds := l.kinds()
	if len(kinds) == 0 {
		return nil
	}
	at := min(len(l.Args), len(kinds)-1)
	if strings.HasPrefix(l.Word, "s3://") || len(l.Args) > 0 && slices.Contains(kinds, "REF") && kinds[at] != "VERSION" {
		return l.refs()
	}
	switch kind := kinds[at]; kind {
	case "LOCK_ID":
		return l.lockIDs()
	case "VERSION", "V1", "V2":
		return l.versions()
	case "FILE", "LOCATION":
		return []string{cliargs.AskFiles}
	case "DIR":
		return []string{cliargs.AskDirs}
	case "NAME":
		return l.workspaces()
	case "REF", "s3://BUCKET":
		return l.refs()
	default:
		for _, shell := range strings.Split(kind, "|") {
			list = l.Candidate(list, shell, "")
		}
		return list
	}
}

// setUp reports whether an engine was set up in the working directory. No other counts: what a checkout says of
// credentials and endpoints is not to be obeyed because somebody pressed a key.
func (l *Line) setUp() bool {
	_, err := os.Stat(filepath.Join(l.Dir(), ".terraform", "terraform.tfstate"))
	return err == nil
}

// state opens the state that the line means so far.
func (l *Line) state() (*site.Site, statelatch.Ref, bool) {
	ref := ""
	for _, arg := range l.Args {
		if strings.HasPrefix(arg, "s3://") {
			ref = arg
		}
	}
	if kinds := l.kinds(); ref == "" && len(l.Args) > 0 && len(kinds) >= len(l.Args) && kinds[len(l.Args)-1] == "REF" {
		ref = cliargs.InBucket(l.Bucket, l.Args[len(l.Args)-1])
	}
	if ref == "" && !l.setUp() {
		return nil, statelatch.Ref{}, false
	}
	s, at, err := l.State(ref)
	return s, at, err == nil
}

// bucket opens the named bucket; without a name that of the working directory.
func (l *Line) bucket(name string) (*site.Site, statelatch.Scope, bool) {
	if name == "" && !l.setUp() {
		if name = l.Bucket; name == "" {
			return nil, statelatch.Scope{}, false
		}
	}
	ref := ""
	if name != "" {
		ref = "s3://" + name
	}
	s, scope, err := l.Scope(ref)
	return s, scope, err == nil
}

func (l *Line) versions() (list []string) {
	list = l.Candidate(list, history.Previous, "the newest older one with other content")
	s, ref, ok := l.state()
	if !ok {
		return list
	}
	entries, err := history.List(l.Ctx, s.Store, ref, history.Options{Limit: versions})
	if err != nil {
		return list
	}
	for _, e := range entries {
		serial, at := "-", term.Time(e.LastModified)
		if n := e.Serial(); n != nil {
			serial = strconv.FormatUint(*n, 10)
		}
		if serial != "-" && !e.Current {
			list = l.Candidate(list, serial, at)
		}
		if l.Word != "" { // serials are shorter
			list = l.Candidate(list, e.Name(), "serial "+serial+", "+at)
		}
	}
	return list
}

func (l *Line) lockIDs() (list []string) {
	if s, ref, ok := l.state(); ok {
		if held, err := s.Manager.Status(l.Ctx, ref); err == nil && held.Err == nil {
			return l.Candidate(list, held.Info.ID, held.Info.Who)
		}
		return nil
	}
	s, scope, ok := l.bucket("")
	if !ok {
		return nil
	}
	found, err := fleet.Locks(l.Ctx, &lock.Manager{Bucket: s.Bucket}, scope,
		fleet.LockOptions{WorkspacePrefix: s.Backend.WorkspaceKeyPrefix})
	if err != nil {
		return nil
	}
	for _, held := range found.Locks {
		if held.Err == nil {
			list = l.Candidate(list, held.Info.ID, held.Ref.Key+", "+held.Info.Who)
		}
	}
	return list
}

func (l *Line) workspaces() (list []string) {
	if l.Command.Name == "new" {
		return nil
	}
	s, _, ok := l.state()
	if !ok {
		return nil
	}
	names, _ := state.Workspaces{Store: s.Store, Key: s.Backend.Key, Prefix: s.Backend.WorkspaceKeyPrefix}.List(l.Ctx)
	for _, name := range names {
		if name != statelatch.DefaultWorkspace {
			list = l.Candidate(list, name, "")
		}
	}
	return list
}

// refs lists states: those that this user has locked, and the level of the bucket that is being typed.
func (l *Line) refs() (list []string) {
	if mine, err := claims.Open(l.Getenv); err == nil {
		for _, ref := range mine.Refs() {
			list = l.Candidate(list, ref, "locked by you")
		}
	}
	lead := "s3://"
	name, key, slash := strings.Cut(strings.TrimPrefix(l.Word, lead), "/")
	switch typed := strings.HasPrefix(l.Word, lead); {
	case typed && slash:
		lead += name + "/"
	case !typed && l.Bucket != "" && l.Command.Name != "run":
		name, key, lead = l.Bucket, l.Word, ""
	default:
		if _, scope, ok := l.bucket(""); ok {
			list = l.Candidate(list, lead+scope.Bucket+"/", "a bucket")
		}
		return cliargs.GoesOn(list)
	}
	for _, k := range l.level(name, key[:strings.LastIndex(key, "/")+1]) {
		ref := lead + k
		if !slices.ContainsFunc(list, func(known string) bool { return known == ref || strings.HasPrefix(known, ref+"\t") }) {
			list = l.Candidate(list, ref, "")
		}
	}
	return cliargs.GoesOn(list)
}

// level lists the folders and states right below a folder of a bucket; nothing where it cannot.
func (l *Line) level(name, folder string) (keys []string) {
	s, _, ok := l.bucket(name)
	if !ok {
		return nil
	}
	file := ""
	if dir, err := userdir.State(l.Getenv); err == nil {
		sum := sha256.Sum256([]byte(s.Bucket.Endpoint() + "\x00" + name + "\x00" + folder))
		file = filepath.Join(dir, "completion", hex.EncodeToString(sum[:16])+".json")
	}
	if info, err := os.Stat(file); err == nil && time.Since(info.ModTime()) < keeps {
		if body, err := os.ReadFile(file); err == nil && json.Unmarshal(body, &keys) == nil {
			return keys
		}
	}
	for obj, err := range s.Bucket.List(l.Ctx, bucket.ListOptions{Prefix: folder, Delimiter: "/"}) {
		if err != nil {
			return nil
		}
		if obj.IsPrefix || !statelatch.IsLockKey(obj.Key) && !strings.HasSuffix(obj.Key, "/") {
			keys = append(keys, obj.Key)
		}
		if len(keys) == maxLevel {
			break
		}
	}
	if body, err := json.Marshal(keys); err == nil && file != "" && os.MkdirAll(filepath.Dir(file), 0o700) == nil {
		_ = os.WriteFile(file, body, 0o600) // or it is asked for again
	}
	return keys
}
