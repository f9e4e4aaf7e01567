package terragrunt

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/internal/treefile"
)

// workingCopy is a directory that terragrunt has run an engine in for a unit.
type workingCopy struct {
	dir, dataDir string
	backend      backendconf.Block // that it was initialized for
	workspace    string            // that it has selected; empty: none
}

// workingCopies are those of the unit in dir that were initialized: its own directory and those in terragrunt's cache.
func workingCopies(dir string, lookupEnv func(string) (string, bool)) []workingCopy {
	cache := cmp.Or(env(lookupEnv, "TG_DOWNLOAD_DIR"), env(lookupEnv, "TERRAGRUNT_DOWNLOAD"))
	dirs := []string{dir}
	if cache == "" { // a directory of one's own is shared between units, and does not tell whose is whose
		dirs = append(dirs, modules(filepath.Join(dir, ".terragrunt-cache"))...)
	}
	name := cmp.Or(env(lookupEnv, "TF_DATA_DIR"), ".terraform")
	if filepath.IsAbs(name) {
		return nil
	}
	var found []workingCopy
	for _, dir := range dirs {
		c := workingCopy{dir: dir, dataDir: filepath.Join(dir, name)}
		var err error
		if c.backend, err = backendconf.ReadCache(c.dataDir); err != nil || c.backend.Type == "" {
			continue
		}
		if data, err := treefile.Read(filepath.Join(c.dataDir, "environment"), maxFile); err == nil {
			c.workspace = strings.TrimSpace(string(data))
		}
		found = append(found, c)
	}
	return found
}

// modules are the directories below a cache in which an engine was initialized.
func modules(cache string) []string {
	var dirs []string
	entries := 0
	_ = filepath.WalkDir(cache, func(name string, d os.DirEntry, err error) error {
		if entries++; err != nil || entries > 100_000 {
			return filepath.SkipAll
		}
		if !d.IsDir() {
			return nil
		}
		switch d.Name() {
		case ".terraform":
			dirs = append(dirs, filepath.Dir(name))
			return filepath.SkipDir
		case ".git", "node_modules":
			return filepath.SkipDir
		}
		return nil
	})
	return dirs
}

// isWorkingCopy reports whether dir is one.
func isWorkingCopy(dir string) bool {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	if slices.Contains(strings.Split(filepath.ToSlash(abs), "/"), ".terragrunt-cache") {
		return true
	}
	for range 10 { // a module lies so deep in its repository at most
		if exists(filepath.Join(abs, ".terragrunt-source-version")) {
			return true
		}
		abs = filepath.Dir(abs)
	}
	return false
}

// agree compares what the unit says with what it was initialized for.
func agree(b backendconf.Backend, copies []workingCopy) error {
	for _, c := range copies {
		same := c.backend.Type == "s3" && fmt.Sprint(c.backend.Args["bucket"]) == b.Bucket &&
			fmt.Sprint(c.backend.Args["key"]) == b.Key
		if same {
			return nil
		}
	}
	if len(copies) == 0 {
		return nil
	}
	c := copies[0]
	return fmt.Errorf("%w terragrunt unit: its configuration says s3://%s/%s, and %s was initialized for %s; "+
		"bring them together with `terragrunt init` (or remove the working copy), or give the REF that is right",
		statelatch.ErrInvalid, b.Bucket, b.Key, c.dir, c.where())
}

func (c workingCopy) where() string {
	if c.backend.Type != "s3" {
		return fmt.Sprintf("backend %q", c.backend.Type)
	}
	return fmt.Sprintf("s3://%v/%v", c.backend.Args["bucket"], c.backend.Args["key"])
}

// workspaceOf is the workspace that the unit's next run would use.
func workspaceOf(copies []workingCopy, opts Options) (string, error) {
	if name := cmp.Or(opts.Workspace, env(opts.LookupEnv, "TF_WORKSPACE")); name != "" {
		return name, nil
	}
	var names []string
	for _, c := range copies {
		if name := cmp.Or(c.workspace, statelatch.DefaultWorkspace); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch len(names) {
	case 0:
		return statelatch.DefaultWorkspace, nil
	case 1:
		return names[0], nil
	}
	slices.Sort(names)
	return "", fmt.Errorf("%w terragrunt unit: its working copies have selected different workspaces (%s); "+
		"set TF_WORKSPACE", statelatch.ErrInvalid, strings.Join(names, ", "))
}
