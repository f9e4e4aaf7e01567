package runner

import (
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Mode is what a command does with the state.
type Mode int

// The modes. Under Write we hold the lock, so no engine must try to take it. Under Read nobody does: plans do without a
// lock, and whatever writes still takes the engine's own.
const (
	Write Mode = iota
	Read
)

const (
	argsVariable = "TF_CLI_ARGS" // for every subcommand; with "_NAME" behind it, for one
	noLock       = "-lock=false"
)

// lockingSubcommands take the state's lock and accept -lock, in Terraform 1.11 and in OpenTofu 1.12, as their names stand in
// the variables. "console" takes it too, but only tofu's accepts -lock: under Write it is refused unless tofu's is given the flag.
var lockingSubcommands = []string{
	"apply", "destroy", "env_delete", "env_new", "import", "init", "plan", "refresh",
	"state_mv", "state_push", "state_replace_provider", "state_rm",
	"taint", "untaint", "workspace_delete", "workspace_new",
}

// EngineEnv returns env with the locking of terraform and tofu, which read the same variables, switched off for the subcommands
// that mode allows. It works for engines that are started by something else, such as make or terragrunt.
//
// What the user has set in TF_CLI_ARGS_NAME stays, behind ours: an engine reads that value only up to an unquoted ";", "&" or "|",
// and takes what follows an argument that is no flag for an argument. A -lock or -lock=true there, and under Write in TF_CLI_ARGS,
// becomes -lock=false. An engine's order is: TF_CLI_ARGS_NAME, TF_CLI_ARGS, the command line; the last one counts.
// So a -lock=true on the command line, or one between quotes, has its way: under Write the engine then finds the state locked
// by us and stops before it does anything.
func EngineEnv(env []string, mode Mode) []string {
	env = slices.Clone(env)
	names := lockingSubcommands
	if mode == Read {
		names = []string{"plan"}
	} else if all := lookup(env, argsVariable); all != "" {
		env = set(env, argsVariable, unlocked(all))
	}
	for _, name := range names {
		key := argsVariable + "_" + name
		value := noLock
		if old := lookup(env, key); old != "" {
			value += " " + unlocked(old)
		}
		env = set(env, key, value)
	}
	return env
}

var (
	word     = regexp.MustCompile(`\S+`)
	lockFlag = regexp.MustCompile(`^--?lock(=.*)?$`)
)

// unlocked turns the words -lock and -lock=... of an engine's arguments into -lock=false. Between quotes such a word may
// be part of a value, so arguments with quotes are left alone.
func unlocked(args string) string {
	if strings.ContainsAny(args, `'"\`) {
		return args
	}
	return word.ReplaceAllStringFunc(args, func(w string) string {
		if lockFlag.MatchString(w) {
			return noLock
		}
		return w
	})
}

// lookup returns the value that the last setting of key in env has, as for a process started with it.
func lookup(env []string, key string) string {
	for _, entry := range slices.Backward(env) {
		if k, v, ok := strings.Cut(entry, "="); ok && sameVariable(k, key) {
			return v
		}
	}
	return ""
}

// set replaces every setting of key. It reuses env.
func set(env []string, key, value string) []string {
	env = slices.DeleteFunc(env, func(entry string) bool {
		k, _, ok := strings.Cut(entry, "=")
		return ok && sameVariable(k, key)
	})
	return append(env, key+"="+value)
}

func sameVariable(a, b string) bool {
	if runtime.GOOS == "windows" {
		return strings.EqualFold(a, b)
	}
	return a == b
}
