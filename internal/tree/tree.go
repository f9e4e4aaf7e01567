// Package tree writes a tree of configurations as they are found in the wild, with what is true of them: what a search
// for backends must find, and what it must not. It serves tests; `go run ./internal/tree/maketree DIR` writes it for
// people.
package tree

import (
	"os"
	"path/filepath"
	"strings"
)

// Root is one configuration that init can be run on.
type Root struct {
	Dir, Variant string
	Phase        string // table, both, lockfile, none, unknown
	State        string // s3://BUCKET/KEY; empty: not known
	Table        string // the name; empty: none, or computed
	Engine       string // ok, may-be-too-old, too-old
	Plan1, Plan2 string // what a plan has for it: edit, done, refused, manual
	Flagged      string // Plan1 with -engine 1.11.4; empty: the same
	NoInit       bool   // engines refuse it by itself, before and after: terragrunt completes it
}

// Finding is one thing to be reported beyond the phases.
type Finding struct {
	ID, File string
	Line     int
}

// Truth is what is true of the tree.
type Truth struct {
	Roots    []Root
	Findings []Finding
}

// part is some files with what is true of them.
type part struct {
	files    map[string]string
	links    map[string]string
	roots    []Root
	findings []Finding
}

// Write writes the tree below dir.
func Write(dir string) (Truth, error) {
	var truth Truth
	for _, p := range parts() {
		for name, text := range p.files {
			if err := write(filepath.Join(dir, filepath.FromSlash(name)), text); err != nil {
				return Truth{}, err
			}
		}
		for name, target := range p.links {
			name = filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
				return Truth{}, err
			}
			if err := os.Symlink(filepath.FromSlash(target), name); err != nil {
				return Truth{}, err
			}
		}
		truth.Roots = append(truth.Roots, p.roots...)
		truth.Findings = append(truth.Findings, p.findings...)
	}
	return truth, nil
}

func write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o600)
}

// crlf gives a text the line ends of Windows.
func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// ref is where the root of a name keeps its state, unless it says something else.
func ref(name string) string { return "s3://acme-state/" + name + "/terraform.tfstate" }

// table is a root in phase 0, both one in phase 1, lockfile one in phase 2.
func table(dir string) Root {
	return Root{Dir: dir, Phase: "table", State: ref(dir), Table: "tf-locks", Engine: "ok", Plan1: "edit", Plan2: "refused"}
}

func both(dir string) Root {
	return Root{Dir: dir, Phase: "both", State: ref(dir), Table: "tf-locks", Engine: "ok", Plan1: "done", Plan2: "edit"}
}

func lockfile(dir string) Root {
	return Root{Dir: dir, Phase: "lockfile", State: ref(dir), Engine: "ok", Plan1: "done", Plan2: "done"}
}

// with changes a root.
func (r Root) with(change func(*Root)) Root {
	change(&r)
	return r
}

// fill puts the name of a directory into a text.
func fill(text, dir string) string { return strings.ReplaceAll(text, "DIR", dir) }
