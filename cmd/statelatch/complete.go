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
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/history"
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

// What the scripts look for themselves.
const (
	askFiles    = ":files"
	askDirs     = ":dirs"
	askCommands = ":commands"
	askNoSpace  = ":nospace" // what was completed goes on
)

// completing is a line that is being typed.
type completing struct {
	term    terminal
	command *cli.Command
	options targetOptions // as far as they are typed
	args    []string      // that are whole
	word    string        // the one at the cursor
}

// complete lists what the last of words may become.
func complete(ctx context.Context, root *cli.Command, term terminal, words []string) []string {
	ctx, cancel := context.WithTimeout(ctx, completeBudget)
	defer cancel()
	c := &completing{term: term, command: root, word: words[len(words)-1]}
	var flag cli.Flag // whose value comes next
	for i, word := range words[:len(words)-1] {
		switch {
		case flag != nil:
			c.set(flag, word)
			flag = nil
		case word == "--":
			if i+2 == len(words) {
				return []string{askCommands}
			}
			return []string{askFiles}
		case isFlag(word):
			f := findFlag(c.command, flagName(word))
			if _, value, ok := strings.Cut(word, "="); f != nil && ok {
				c.set(f, value)
			} else if f != nil && takesValue(f) {
				flag = f
			}
		case len(c.args) == 0 && c.command.Command(word) != nil:
			c.command = c.command.Command(word)
		default:
			c.args = append(c.args, word)
		}
	}
	name, value, hasValue := strings.Cut(c.word, "=")
	switch {
	case flag != nil:
		return c.values(ctx, flag, "")
	case isFlag(c.word) && hasValue:
		if f := findFlag(c.command, flagName(name)); f != nil {
			c.word = value
			return c.values(ctx, f, name+"=")
		}
		return nil
	case strings.HasPrefix(c.word, "-"):
		return c.flags()
	case len(c.command.Commands) > 0:
		if len(c.args) > 0 {
			return nil
		}
		return c.commands()
	case c.command.Name == "help":
		for _, name := range c.args {
			if sub := c.command.Root().Command(name); sub != nil {
				root = sub
			}
		}
		c.command = root
		return c.commands()
	}
	return c.argument(ctx)
}

// set notes what says where states are.
func (c *completing) set(f cli.Flag, value string) {
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

// candidate is one, with what it is.
func (c *completing) candidate(list []string, value, what string) []string {
	if !strings.HasPrefix(value, c.word) || statelatch.Printable(value) != value {
		return list
	}
	if what != "" {
		value += "\t" + statelatch.Printable(what)
	}
	return append(list, value)
}

func (c *completing) commands() (list []string) {
	for _, sub := range visible(c.command) {
		list = c.candidate(list, sub.Name, sub.Usage)
	}
	return list
}

// flags lists them with as many dashes as are typed.
func (c *completing) flags() (list []string) {
	dashes := "-"
	if strings.HasPrefix(c.word, "--") {
		dashes = "--"
	}
	seen := map[string]bool{}
	var add func(of *cli.Command)
	add = func(of *cli.Command) {
		for _, f := range of.Flags {
			d, ok := f.(cli.DocGenerationFlag)
			if name := f.Names()[0]; ok && !seen[name] {
				seen[name] = true
				list = c.candidate(list, dashes+name, d.GetUsage())
			}
		}
		for _, sub := range of.Commands {
			add(sub)
		}
	}
	add(c.command)
	if !seen["help"] {
		list = c.candidate(list, dashes+"help", "show the help")
	}
	return list
}

// values lists those of a flag, behind lead.
func (c *completing) values(ctx context.Context, f cli.Flag, lead string) []string {
	if choice, ok := f.(*choiceFlag); ok {
		var list []string
		for _, v := range choice.Config {
			if strings.HasPrefix(v, c.word) {
				list = append(list, lead+v)
			}
		}
		return list
	}
	var list []string
	switch kind := valueName(f); {
	case kind == "DIR":
		return []string{askDirs}
	case strings.Contains(kind, "FILE"):
		return []string{askFiles}
	case f.Names()[0] == "version":
		list = c.versions(ctx)
	case kind == "ID":
		list = c.lockIDs(ctx)
	case kind == "REF":
		list = c.refs(ctx)
	case f.Names()[0] == "profile":
		list = c.profiles()
	}
	for i := range list {
		if list[i] != askNoSpace {
			list[i] = lead + list[i]
		}
	}
	return list
}

var argumentKinds = lazyre.New(`LOCK_ID|VERSION|V[12]\b|FILE|NAME|LOCATION|DIR|s3://BUCKET|REF|bash\|zsh\|fish\|pwsh`)

// kinds are what the command takes, by what its usage says.
func (c *completing) kinds() []string {
	if c.command.Name == "diff" { // [REF] V1 [V2]
		return []string{"VERSION"}
	}
	return argumentKinds.FindAllString(strings.TrimPrefix(c.command.UsageText, c.command.FullName()), -1)
}

// argument lists what may stand at this place.
func (c *completing) argument(ctx context.Context) []string {
	kinds := c.kinds()
	if len(kinds) == 0 {
		return nil
	}
	at := min(len(c.args), len(kinds)-1)
	if strings.HasPrefix(c.word, "s3://") || len(c.args) > 0 && slices.Contains(kinds, "REF") && kinds[at] != "VERSION" {
		return c.refs(ctx)
	}
	switch kind := kinds[at]; kind {
	case "LOCK_ID":
		return c.lockIDs(ctx)
	case "VERSION", "V1", "V2":
		return c.versions(ctx)
	case "FILE", "LOCATION":
		return []string{askFiles}
	case "DIR":
		return []string{askDirs}
	case "NAME":
		return c.workspaces(ctx)
	case "REF", "s3://BUCKET":
		return c.refs(ctx)
	default:
		var list []string
		for _, shell := range strings.Split(kind, "|") {
			list = c.candidate(list, shell, "")
		}
		return list
	}
}

// place opens the state that the line means so far. A working directory counts only if an engine was set up in it: what
// a checkout says of credentials and endpoints is not to be obeyed because somebody pressed a key.
func (c *completing) place(ctx context.Context) (target, bool) {
	o := c.options
	for _, arg := range c.args {
		if strings.HasPrefix(arg, "s3://") {
			o.ref = arg
		}
	}
	if kinds := c.kinds(); o.ref == "" && len(c.args) > 0 && len(kinds) >= len(c.args) && kinds[len(c.args)-1] == "REF" {
		o.ref = inBucket(bucketNamed(c.term.getenv), c.args[len(c.args)-1])
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
	list = c.candidate(list, history.Previous, "the newest older one with other content")
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
			list = c.candidate(list, s, timeOf(e.LastModified))
		}
		if c.word != "" { // serials are shorter
			list = c.candidate(list, e.Name(), what)
		}
	}
	return list
}

func (c *completing) lockIDs(ctx context.Context) (list []string) {
	if t, ok := c.place(ctx); ok {
		if held, err := t.Manager.Status(ctx, t.ref); err == nil && held.Err == nil {
			return c.candidate(list, held.Info.ID, held.Info.Who)
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
			list = c.candidate(list, l.Info.ID, l.Ref.Key+", "+l.Info.Who)
		}
	}
	return list
}

func (c *completing) workspaces(ctx context.Context) (list []string) {
	if c.command.Name == "new" {
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
			list = c.candidate(list, name, "")
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
		if name = bucketNamed(c.term.getenv); name == "" {
			return place{}, false
		}
		o.ref = "s3://" + name
	}
	p, err := o.openScope(ctx, c.term)
	return p, err == nil
}

// refs lists states: those that this user has locked, and the level of the bucket that is being typed.
func (c *completing) refs(ctx context.Context) (list []string) {
	if mine, err := openClaims(c.term.getenv); err == nil {
		for _, ref := range mine.refs() {
			list = c.candidate(list, ref, "locked by you")
		}
	}
	lead := "s3://"
	name, key, slash := strings.Cut(strings.TrimPrefix(c.word, lead), "/")
	switch typed := strings.HasPrefix(c.word, lead); {
	case typed && slash:
		lead += name + "/"
	case !typed && bucketNamed(c.term.getenv) != "" && c.command.Name != "run":
		name, key, lead = bucketNamed(c.term.getenv), c.word, ""
	default:
		if p, ok := c.wholeBucket(ctx, ""); ok {
			list = c.candidate(list, lead+p.scope.Bucket+"/", "a bucket")
		}
		return c.goesOn(list)
	}
	folder := key[:strings.LastIndex(key, "/")+1]
	keys, ok := c.level(ctx, name, folder)
	if !ok {
		return list
	}
	for _, k := range keys {
		ref := lead + k
		if !slices.ContainsFunc(list, func(known string) bool { return known == ref || strings.HasPrefix(known, ref+"\t") }) {
			list = c.candidate(list, ref, "")
		}
	}
	return c.goesOn(list)
}

// goesOn says so where the only candidate is a folder.
func (c *completing) goesOn(list []string) []string {
	if value, _, _ := strings.Cut(strings.Join(list, "\n"), "\t"); len(list) == 1 && strings.HasSuffix(value, "/") {
		list = append(list, askNoSpace)
	}
	return list
}

// level lists the folders and states right below a folder of a bucket. It remembers them for a moment, because keys are
// pressed in a row.
func (c *completing) level(ctx context.Context, name, folder string) ([]string, bool) {
	p, ok := c.wholeBucket(ctx, name)
	if !ok {
		return nil, false
	}
	file := ""
	if dir, err := userdir.State(c.term.getenv); err == nil {
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

// profiles lists those of the AWS configuration.
func (c *completing) profiles() (list []string) {
	for _, file := range [...]struct{ env, name string }{
		{"AWS_CONFIG_FILE", "config"},
		{"AWS_SHARED_CREDENTIALS_FILE", "credentials"},
	} {
		path := c.term.getenv(file.env)
		if path == "" {
			path = filepath.Join(c.term.getenv("HOME"), ".aws", file.name)
		}
		body, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(body)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "["); ok {
				name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSuffix(name, "]"), "profile "))
				if !strings.Contains(name, " ") && !slices.Contains(list, name) {
					list = c.candidate(list, name, "")
				}
			}
		}
	}
	return list
}
