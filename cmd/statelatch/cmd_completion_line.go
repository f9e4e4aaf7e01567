package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
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
	"github.com/statelatch/statelatch/internal/userdir"
	"github.com/statelatch/statelatch/lock"
	"github.com/urfave/cli/v3"
)

const (
	completeBudget   = 2 * time.Second // somebody waits for a list to appear
	completeKeeps    = 30 * time.Second
	completeVersions = 20
)

// completing is what is known of a line that is being typed.
type completing struct {
	*cliargs.Typing

	ctx     context.Context //nolint:containedctx // it lives as long as one call of complete
	term    terminal
	options targetOptions // as far as they are typed
}

// complete lists what the last of words may become.
func complete(ctx context.Context, root *cli.Command, term terminal, words []string) []string {
	ctx, cancel := context.WithTimeout(ctx, completeBudget)
	defer cancel()
	return help.Complete(root, words, &completing{ctx: ctx, term: term})
}

// Set notes what says where states are.
func (c *completing) Set(f cli.Flag, value string) {
	switch f.Names()[0] {
	case "chdir":
		c.options.chdir = value
	case "backend-config":
		c.options.backendConfig = append(c.options.backendConfig, value)
	case "expected-bucket-owner":
		c.options.owner = value
	case "profile":
		c.options.way.profile = value
	case "region":
		c.options.way.region = value
	case "endpoint":
		c.options.way.endpoint = value
	}
}

// Value lists those of a flag.
func (c *completing) Value(t *cliargs.Typing, f cli.Flag, name string) []string {
	c.Typing = t
	switch {
	case f.Names()[0] == "version":
		return c.versions(c.ctx)
	case name == "ID":
		return c.lockIDs(c.ctx)
	case name == "REF":
		return c.refs(c.ctx)
	case f.Names()[0] == "profile":
		var list []string
		for _, profile := range backendconf.Profiles(c.term.Getenv) {
			list = c.Candidate(list, profile, "")
		}
		return list
	}
	return nil
}

var argumentKinds = lazyre.New(`LOCK_ID|VERSION|V[12]\b|FILE|NAME|LOCATION|DIR|s3://BUCKET|REF|bash\|zsh\|fish\|pwsh`)

// kinds are what the command takes, by what its usage says.
func (c *completing) kinds() []string {
	if c.Command.Name == "diff" { // [REF] V1 [V2]
		return []string{"VERSION"}
	}
	return argumentKinds.FindAllString(strings.TrimPrefix(c.Command.UsageText, c.Command.FullName()), -1)
}

// Argument lists what may stand at this place.
func (c *completing) Argument(t *cliargs.Typing) []string {
	c.Typing = t
	ctx := c.ctx
	kinds := c.kinds()
	if len(kinds) == 0 {
		return nil
	}
	at := min(len(c.Args), len(kinds)-1)
	if strings.HasPrefix(c.Word, "s3://") || len(c.Args) > 0 && slices.Contains(kinds, "REF") && kinds[at] != "VERSION" {
		return c.refs(ctx)
	}
	switch kind := kinds[at]; kind {
	case "LOCK_ID":
		return c.lockIDs(ctx)
	case "VERSION", "V1", "V2":
		return c.versions(ctx)
	case "FILE", "LOCATION":
		return []string{cliargs.AskFiles}
	case "DIR":
		return []string{cliargs.AskDirs}
	case "NAME":
		return c.workspaces(ctx)
	case "REF", "s3://BUCKET":
		return c.refs(ctx)
	default:
		var list []string
		for _, shell := range strings.Split(kind, "|") {
			list = c.Candidate(list, shell, "")
		}
		return list
	}
}

// place opens the state that the line means so far. A working directory counts only if an engine was set up in it: what
// a checkout says of credentials and endpoints is not to be obeyed because somebody pressed a key.
func (c *completing) place(ctx context.Context) (target, bool) {
	o := c.options
	for _, arg := range c.Args {
		if strings.HasPrefix(arg, "s3://") {
			o.ref = arg
		}
	}
	if kinds := c.kinds(); o.ref == "" && len(c.Args) > 0 && len(kinds) >= len(c.Args) && kinds[len(c.Args)-1] == "REF" {
		o.ref = inBucket(bucketNamed(c.term.Getenv), c.Args[len(c.Args)-1])
	}
	if o.ref == "" {
		if _, err := os.Stat(filepath.Join(o.chdir, ".terraform", "terraform.tfstate")); err != nil {
			return target{}, false
		}
	}
	t, err := o.open(ctx, c.term)
	return t, err == nil
}

func (c *completing) versions(ctx context.Context) (list []string) {
	list = c.Candidate(list, history.Previous, "the newest older one with other content")
	t, ok := c.place(ctx)
	if !ok {
		return list
	}
	entries, err := history.List(ctx, t.Store, t.ref, history.Options{Limit: completeVersions})
	if err != nil {
		return list
	}
	for _, e := range entries {
		s := serialCell(serialOf(e.Version))
		what := "serial " + s + ", " + timeOf(e.LastModified)
		if s != "-" && !e.Current {
			list = c.Candidate(list, s, timeOf(e.LastModified))
		}
		if c.Word != "" { // serials are shorter
			list = c.Candidate(list, e.Name(), what)
		}
	}
	return list
}

func (c *completing) lockIDs(ctx context.Context) (list []string) {
	if t, ok := c.place(ctx); ok {
		if held, err := t.Manager.Status(ctx, t.ref); err == nil && held.Err == nil {
			return c.Candidate(list, held.Info.ID, held.Info.Who)
		}
		return nil
	}
	p, ok := c.wholeBucket(ctx, "")
	if !ok {
		return nil
	}
	found, err := fleet.Locks(ctx, &lock.Manager{Bucket: p.Bucket}, p.scope,
		fleet.LockOptions{WorkspacePrefix: p.Backend.WorkspaceKeyPrefix})
	if err != nil {
		return nil
	}
	for _, l := range found.Locks {
		if l.Err == nil {
			list = c.Candidate(list, l.Info.ID, l.Ref.Key+", "+l.Info.Who)
		}
	}
	return list
}

func (c *completing) workspaces(ctx context.Context) (list []string) {
	if c.Command.Name == "new" {
		return nil
	}
	if _, ok := c.place(ctx); !ok {
		return nil
	}
	_, all, err := workspaceOptions{targetOptions: c.options}.openWorkspace(ctx, c.term)
	if err != nil {
		return nil
	}
	names, _ := all.List(ctx)
	for _, name := range names {
		if name != statelatch.DefaultWorkspace {
			list = c.Candidate(list, name, "")
		}
	}
	return list
}

// wholeBucket opens the named bucket; without a name that of the working directory.
func (c *completing) wholeBucket(ctx context.Context, name string) (place, bool) {
	o := c.options
	if name != "" {
		o.ref = "s3://" + name
	} else if _, err := os.Stat(filepath.Join(o.chdir, ".terraform", "terraform.tfstate")); err != nil {
		if name = bucketNamed(c.term.Getenv); name == "" {
			return place{}, false
		}
		o.ref = "s3://" + name
	}
	p, err := o.openScope(ctx, c.term)
	return p, err == nil
}

// refs lists states: those that this user has locked, and the level of the bucket that is being typed.
func (c *completing) refs(ctx context.Context) (list []string) {
	if mine, err := claims.Open(c.term.Getenv); err == nil {
		for _, ref := range mine.Refs() {
			list = c.Candidate(list, ref, "locked by you")
		}
	}
	lead := "s3://"
	name, key, slash := strings.Cut(strings.TrimPrefix(c.Word, lead), "/")
	switch typed := strings.HasPrefix(c.Word, lead); {
	case typed && slash:
		lead += name + "/"
	case !typed && bucketNamed(c.term.Getenv) != "" && c.Command.Name != "run":
		name, key, lead = bucketNamed(c.term.Getenv), c.Word, ""
	default:
		if p, ok := c.wholeBucket(ctx, ""); ok {
			list = c.Candidate(list, lead+p.scope.Bucket+"/", "a bucket")
		}
		return cliargs.GoesOn(list)
	}
	folder := key[:strings.LastIndex(key, "/")+1]
	keys, ok := c.level(ctx, name, folder)
	if !ok {
		return list
	}
	for _, k := range keys {
		ref := lead + k
		if !slices.ContainsFunc(list, func(known string) bool { return known == ref || strings.HasPrefix(known, ref+"\t") }) {
			list = c.Candidate(list, ref, "")
		}
	}
	return cliargs.GoesOn(list)
}

// level lists the folders and states right below a folder of a bucket. It remembers them for a moment, because keys are
// pressed in a row.
func (c *completing) level(ctx context.Context, name, folder string) ([]string, bool) {
	p, ok := c.wholeBucket(ctx, name)
	if !ok {
		return nil, false
	}
	file := ""
	if dir, err := userdir.State(c.term.Getenv); err == nil {
		sum := sha256.Sum256([]byte(p.Bucket.Endpoint() + "\x00" + name + "\x00" + folder))
		file = filepath.Join(dir, "completion", hex.EncodeToString(sum[:16])+".json")
	}
	var keys []string
	if info, err := os.Stat(file); err == nil && time.Since(info.ModTime()) < completeKeeps {
		if body, err := os.ReadFile(file); err == nil && json.Unmarshal(body, &keys) == nil {
			return keys, true
		}
	}
	for obj, err := range p.Bucket.List(ctx, bucket.ListOptions{Prefix: folder, Delimiter: "/"}) {
		if err != nil {
			return nil, false
		}
		if obj.IsPrefix || !statelatch.IsLockKey(obj.Key) && !strings.HasSuffix(obj.Key, "/") {
			keys = append(keys, obj.Key)
		}
		if len(keys) == 1000 {
			break
		}
	}
	if body, err := json.Marshal(keys); err == nil && file != "" && os.MkdirAll(filepath.Dir(file), 0o700) == nil {
		_ = os.WriteFile(file, body, 0o600) // or it is asked for again
	}
	return keys, true
}
