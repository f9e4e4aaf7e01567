// Package engine reads command lines of terraform and tofu: which state a call is about, whether it takes that state's
// lock, and the same command line with that lock switched off. It starts nothing, connects to nothing and writes
// nothing.
//
// Where it is not sure it says so: whoever asks then leaves the engine's own lock on. What it knows is Terraform 1.11
// and OpenTofu 1.12; flags and subcommands that it does not know make a call one that it is not sure of.
package engine

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"
)

// Names are the programs that are engines.
var Names = []string{"terraform", "tofu"}

// NameOf returns the engine that a program is by its file name, such as "terraform" of /usr/bin/terraform.exe; empty:
// none.
func NameOf(program string) string {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(program)), ".exe")
	if slices.Contains(Names, name) {
		return name
	}
	return ""
}

// Locking is what a call does about the lock of its state.
type Locking int

const (
	// Unlocked calls take no lock: output, show, version and the like, also all that this package does not know, which
	// are left alone.
	Unlocked Locking = iota
	// Reads is a call that takes the lock, accepts -lock, and writes no state: plan.
	Reads
	// Writes is a call that takes the lock, accepts -lock, and writes the state.
	Writes
	// Moves is init: it locks only while it moves states from one backend to another.
	Moves
	// Deletes is workspace delete: it locks the state of the workspace that it names.
	Deletes
	// Fixed is a call whose lock cannot be switched off: terraform console has no flag for it.
	Fixed
)

// Call is one command line of an engine.
type Call struct {
	Name       string   // terraform or tofu
	Args       []string // behind the engine's name
	Subcommand string   // such as "apply" or "state mv"; empty: none
	Chdir      string   // of -chdir; empty: none

	at    int      // in Args, behind the subcommand
	flags []string // what the engine gets there, in order: TF_CLI_ARGS_NAME, TF_CLI_ARGS, the command line
	rest  []string // arguments that are no flags
	// Why it is not known where the engine works, and which of its arguments are flags; empty: it is.
	vague, unclear string
}

// Parse takes a command line apart. args are without the program; getenv tells TF_CLI_ARGS and its like.
func Parse(name string, args []string, getenv func(string) string) Call {
	c := Call{Name: name, Args: args}
	i := 0
	for ; i < len(args) && strings.HasPrefix(args[i], "-"); i++ {
		switch flag, value, _ := strings.Cut(args[i], "="); flag {
		case "-chdir":
			c.Chdir = value
			if value == "" {
				c.vague = "-chdir has no value"
			}
		case "-help", "--help", "-h", "-version", "--version", "-v":
		default:
			c.vague = fmt.Sprintf("the flag %s before the subcommand is not known", flag)
		}
	}
	if i == len(args) {
		c.at = i
		return c
	}
	c.Subcommand, i = args[i], i+1
	if slices.Contains(groups, c.Subcommand) && i < len(args) && !strings.HasPrefix(args[i], "-") {
		c.Subcommand += " " + args[i]
		i++
	}
	c.at = i
	for _, key := range []string{argsVariable + "_" + variableName(c.Subcommand), argsVariable} {
		extra, err := shellwords.Parse(getenv(key)) // as the engines do, with the same library
		if err != nil {
			c.vague = key + " cannot be split into words"
		}
		c.flags = append(c.flags, extra...)
	}
	c.flags = append(c.flags, args[i:]...)
	c.split()
	return c
}

// groups are the words that a second word belongs to.
var groups = []string{"state", "workspace", "env", "providers", "metadata"}

const argsVariable = "TF_CLI_ARGS"

// variableName is a subcommand as it stands in TF_CLI_ARGS_NAME.
func variableName(subcommand string) string {
	return strings.NewReplacer("-", "_", " ", "_").Replace(subcommand)
}

// Flags that take the next argument as their value, unless one stands behind "=", and those that never do.
var (
	valueFlags = []string{
		"backend-config", "backup", "backup-out", "config", "deprecation", "exclude", "exclude-file", "from-module",
		"generate-config-out", "json-into", "lock-timeout", "lockfile", "out", "parallelism", "plan", "plugin-dir", "replace",
		"state", "state-out",
		"target", "target-file", "test-directory", "var", "var-file",
	}
	switchFlags = []string{
		"allow-deferral", "allow-missing", "auto-approve", "backend", "cloud", "compact-warnings", "concise",
		"consolidate-errors", "consolidate-warnings", "destroy", "detailed-exitcode", "dry-run", "force", "force-copy", "get",
		"help", "h", "ignore-remote-version", "input", "json", "lock", "migrate-state", "no-color", "reconfigure", "refresh",
		"refresh-only", "show-sensitive",
		"suppress-forget-errors", "upgrade",
	}
)

// split tells flags and other arguments apart, as the engines' flag package does: the first that is no flag ends them.
func (c *Call) split() {
	flags := c.flags
	for i := 0; i < len(flags); i++ {
		name, hasValue, ok := flagName(flags[i])
		switch {
		case flags[i] == "--":
			c.flags, c.rest = flags[:i], flags[i+1:]
			return
		case !ok:
			c.flags, c.rest = flags[:i], flags[i:]
			return
		case hasValue || slices.Contains(switchFlags, name):
		case slices.Contains(valueFlags, name):
			i++
		case i+1 < len(flags) && !strings.HasPrefix(flags[i+1], "-"):
			c.unclear = fmt.Sprintf("the flag -%s is not known", name)
		}
	}
}

// flagName is the name of a flag; ok is false for what is none.
func flagName(arg string) (name string, hasValue, ok bool) {
	if len(arg) < 2 || arg[0] != '-' {
		return "", false, false
	}
	name, _, hasValue = strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	return name, hasValue, true
}

// value is the last value of a flag.
func (c Call) value(flag string) (value string, ok bool) {
	values := c.values(flag)
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

// values are all values of a flag; of a switch without one, "true".
func (c Call) values(flag string) []string {
	var found []string
	for i := 0; i < len(c.flags); i++ {
		name, hasValue, _ := flagName(c.flags[i])
		takesNext := !hasValue && slices.Contains(valueFlags, name)
		if name == flag {
			switch {
			case hasValue:
				_, v, _ := strings.Cut(c.flags[i], "=")
				found = append(found, v)
			case takesNext && i+1 < len(c.flags):
				found = append(found, c.flags[i+1])
			default:
				found = append(found, "true")
			}
		}
		if takesNext {
			i++
		}
	}
	return found
}

// subcommands are those that take a lock. "destroy" is apply -destroy.
var subcommands = map[string]Locking{
	"plan": Reads, "apply": Writes, "destroy": Writes, "import": Writes, "refresh": Writes, "taint": Writes,
	"untaint":  Writes,
	"state mv": Writes, "state push": Writes, "state replace-provider": Writes, "state rm": Writes,
	"init": Moves, "console": Fixed, "workspace delete": Deletes, "env delete": Deletes,
	// workspace new locks what it creates whatever its flags say, and creates nothing that is there.
}

// Locking is what the call does about the lock of its state.
func (c Call) Locking() Locking {
	switch {
	case c.asksForHelp():
		return Unlocked
	case c.Subcommand == "console" && c.Name == "tofu":
		return Reads
	case strings.HasPrefix(c.Subcommand, "state "), strings.HasSuffix(c.Subcommand, "taint"):
		for _, flag := range []string{"state", "state-out"} {
			if _, ok := c.value(flag); ok {
				return Unlocked // of files in place of the backend's state
			}
		}
	}
	return subcommands[c.Subcommand]
}

func (c Call) asksForHelp() bool {
	for _, arg := range c.Args[:c.at] {
		switch strings.TrimLeft(arg, "-") {
		case "help", "h", "version", "v":
			if strings.HasPrefix(arg, "-") {
				return true
			}
		}
	}
	for _, flag := range []string{"help", "h"} {
		if _, ok := c.value(flag); ok {
			return true
		}
	}
	return false
}

// LockOff reports whether the user has switched the lock off.
func (c Call) LockOff() bool {
	v, _ := c.value("lock")
	switch strings.ToLower(v) {
	case "false", "f", "0":
		return true
	}
	return false
}

// LockTimeout is how long the user wants the engine to wait for the lock; 0: not at all, or it is not understood.
func (c Call) LockTimeout() time.Duration {
	v, _ := c.value("lock-timeout")
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// WithoutLock is the command line with the lock of the state switched off: as the first flag, where it counts more than
// those in the environment, and in place of every -lock that the user has put behind it.
func (c Call) WithoutLock() []string {
	args := append(slices.Clone(c.Args[:c.at]), noLock)
	own := c.Args[c.at:]
	for i := 0; i < len(own); i++ {
		name, hasValue, ok := flagName(own[i])
		if !ok || own[i] == "--" {
			return append(args, own[i:]...)
		}
		if name == "lock" {
			continue
		}
		args = append(args, own[i])
		if !hasValue && slices.Contains(valueFlags, name) && i+1 < len(own) {
			i++
			args = append(args, own[i])
		}
	}
	return args
}

const noLock = "-lock=false"

// Dir is the directory that the engine works in when it is started in dir, without symbolic links: the system goes
// through a link before it goes up, where a path that is shortened as text leads elsewhere.
func (c Call) Dir(dir string) string {
	work := dir
	switch {
	case filepath.IsAbs(c.Chdir):
		work = c.Chdir
	case c.Chdir != "":
		work = cmp.Or(dir, ".") + string(filepath.Separator) + c.Chdir
	}
	if work == "" {
		return ""
	}
	if real, err := filepath.EvalSymlinks(work); err == nil {
		return real
	}
	return filepath.Clean(work)
}

// String is what may be told about the call: the program and its subcommand. Arguments may be secret.
func (c Call) String() string { return strings.TrimSpace(c.Name + " " + c.Subcommand) }
