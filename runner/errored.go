package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/statelatch/statelatch"
)

// erroredName is the file in which an engine leaves a state that it could not write to its backend.
const erroredName = "errored.tfstate"

// ErroredStates knows which states engines had left in the directories of a command before it ran.
type ErroredStates struct {
	before map[string]fs.FileInfo // nil: there was none
}

// SnapshotErrored looks for errored.tfstate where engines that work in dirs would leave it. Empty: the current
// directory.
func SnapshotErrored(dirs ...string) (*ErroredStates, error) {
	s := &ErroredStates{before: map[string]fs.FileInfo{}}
	for _, dir := range dirs {
		if err := s.Watch(dir); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Watch adds the directory of an engine that is about to start, unless it is watched already.
func (s *ErroredStates) Watch(dir string) error {
	path, err := filepath.Abs(filepath.Join(dir, erroredName))
	if err != nil {
		return fmt.Errorf("%w directory %q: %w", statelatch.ErrInvalid, dir, err)
	}
	if _, known := s.before[path]; known {
		return nil
	}
	before, err := statErrored(path)
	if err == nil {
		s.before[path] = before
	}
	return err
}

// New returns the absolute paths of the errored.tfstate files that came or changed since the snapshot. Those that could
// be looked at are returned even with an error.
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
	return before != nil && os.SameFile(before, now) && before.Size() == now.Size() &&
		before.ModTime().Equal(now.ModTime())
}
