package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/statelatch/statelatch/internal/treefile"
)

// ErrChanged means that a file is not what the plan was made for. Those before it were written, the others were not;
// each is whole, and a new plan goes on from there.
var ErrChanged = errors.New("a file has changed since the plan was made")

// Apply writes the files of a plan in their order, each at once: a reader sees it as it was before or as it is after.
// It keeps their modes, reads each again before it writes, and calls done after. Stopping anywhere is safe, and so is a
// second time: what is written already stays.
func (p *Plan) Apply(ctx context.Context, done func(FileEdit)) error {
	for _, f := range p.Files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f.write(); err != nil {
			return err
		}
		done(f)
	}
	return nil
}

func (f FileEdit) write() error {
	now, err := treefile.Read(f.real, treefile.MaxSize)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", f.Path, ErrChanged, cause(err))
	}
	if bytes.Equal(now, f.After) {
		return nil
	}
	if !bytes.Equal(now, f.Before) {
		return fmt.Errorf("%s: %w: plan again", f.Path, ErrChanged)
	}
	info, err := os.Stat(f.real)
	if err != nil {
		return fmt.Errorf("write %s: %s", f.Path, cause(err))
	}
	if err := replace(f.real, f.After, info.Mode().Perm()); err != nil {
		return fmt.Errorf("write %s: %s", f.Path, cause(err))
	}
	return nil
}

// replace puts a new file in the place of name.
func replace(name string, data []byte, mode os.FileMode) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".statelatch-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(data)
	for _, next := range []func() error{func() error { return tmp.Chmod(mode) }, tmp.Sync} {
		if err == nil {
			err = next()
		}
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	return err
}
