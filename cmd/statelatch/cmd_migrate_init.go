package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/statelatch/statelatch/migrate"
)

// maxScripts of one phase in a directory.
const maxScripts = 1000

// writeInitScript writes the script into the tree, under a name that is new: one from before may not have been run yet.
func writeInitScript(dir string, plan *migrate.Plan) (name string, err error) {
	phase := plan.Phase
	for i := 1; i <= maxScripts; i++ {
		name = filepath.Join(dir, fmt.Sprintf("init-phase-%d.sh", phase))
		if i > 1 {
			name = filepath.Join(dir, fmt.Sprintf("init-phase-%d-%d.sh", phase, i))
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755) //nolint:gosec // it is to be run, by whoever has the checkout
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.WriteString(plan.InitScript())
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			_ = os.Remove(name)
		}
		return name, err
	}
	return "", fmt.Errorf("%s: there are %d scripts already; remove those that have been run", name, maxScripts)
}
