package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// erroredName is the file in which an engine leaves a state that it could not write to its backend.
const erroredName = "errored.tfstate"

// ErroredStates knows which states engines had left in the directories of a command before it ran.
type ErroredStates struct {
	before map[string]fs.FileInfo // nil: there was none
}

// SnapshotErrored looks for errored.tfstate where an engine started as cmd would leave it: in cmd.Dir, or the current
// directory, and for terraform and tofu in the directory of -chdir. An engine that a script or terragrunt starts
// in some other directory leaves it there, and is not found out about.
func SnapshotErrored(cmd Command) (*ErroredStates, error) {
	s := &ErroredStates{before: map[string]fs.FileInfo{}}
	dirs := []string{cmd.Dir}
	if chdir := chdirOf(cmd.Args); chdir != "" {
		if !filepath.IsAbs(chdir) {
			chdir = filepath.Join(cmd.Dir, chdir)
		}
		dirs = append(dirs, chdir)
	}
	for _, dir := range dirs {
		path, err := filepath.Abs(filepath.Join(dir, erroredName))
		if err != nil {
			return nil, fmt.Errorf("%w directory %q: %w", statelatch.ErrInvalid, dir, err)
		}
		if s.before[path], err = statErrored(path); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// New returns the absolute paths of the errored.tfstate files that came or changed since the snapshot. Those that could be looked at
// are returned even with an error.
func (s *ErroredStates) New() ([]string, error) {
	var found []string
	var failed error
	for path, before := range s.before {
		now, err := statErrored(path)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if now != nil && !unchanged(before, now) {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	return found, failed
}

// statErrored returns nil if there is no such file. A directory or device of that name is none of an engine's.
func statErrored(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w %s, which may hold an unsaved state: %w", statelatch.ErrInvalid, path, err)
	case !info.Mode().IsRegular():
		return nil, nil
	}
	return info, nil
}

func unchanged(before, now fs.FileInfo) bool {
	return before != nil && os.SameFile(before, now) && before.Size() == now.Size() && before.ModTime().Equal(now.ModTime())
}

// chdirOf returns the value of -chdir if args start an engine. It accepts the flag where and as the engines do: before the
// subcommand, with one dash and "=".
func chdirOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	switch strings.TrimSuffix(strings.ToLower(filepath.Base(args[0])), ".exe") {
	case "terraform", "tofu":
	default:
		return ""
	}
	for _, arg := range args[1:] {
		if !strings.HasPrefix(arg, "-") {
			return ""
		}
		if dir, ok := strings.CutPrefix(arg, "-chdir="); ok {
			return dir
		}
	}
	return ""
}
