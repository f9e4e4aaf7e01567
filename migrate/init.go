package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/statelatch/statelatch"
)

// Init is how init is run again in a root: the words of a command, to be run in Dir.
type Init struct {
	Name  string   // of the root
	Dir   string   // relative to the tree, with slashes
	Words []string // the engine first
}

// Inits are the commands that have the engines of the roots that a plan moves read their configurations anew. The state
// stays where it is.
func (p *Plan) Inits() []Init {
	var all []Init
	for _, m := range p.Moves {
		if m.Status != MoveEdit {
			continue
		}
		r := m.Root
		words := []string{r.Tool, "init", "-reconfigure"}
		for _, place := range r.Places {
			if place.Kind == KindBackendConfig {
				words = append(words, "-backend-config="+relative(r.Dir, place.File))
			}
		}
		all = append(all, Init{r.Name(), r.Dir, words})
	}
	return all
}

// relative is how a file of the tree is named from a directory of it.
func relative(dir, file string) string {
	up := ""
	for dir != "." && !within(dir, file) {
		dir = path.Dir(dir)
		up += "../"
	}
	if dir != "." {
		file = file[len(dir)+1:]
	}
	return up + file
}

func within(dir, file string) bool {
	return len(file) > len(dir) && file[:len(dir)] == dir && file[len(dir)] == '/'
}

// scriptHead is how the script begins; a scan takes what it says for no news.
const scriptHead = "#!/bin/sh\n# Runs init again in the roots that 'statelatch migrate apply' has edited"

// InitScript is a script that runs init again in each root that moves, from the directory that it stands in.
func (p *Plan) InitScript() string {
	var b strings.Builder
	inits := p.Inits()
	b.WriteString(scriptHead)
	fmt.Fprintf(&b, ` for phase %d: the state of each stays where it is.
# It stops at the first that fails. Run it again to go on: what is done stands in the file beside it that ends in .done.
# TERRAFORM, TOFU and TERRAGRUNT name other programs, and what is given to the script is given to each init.
set -eu
cd -- "$(dirname -- "$0")"
: "${TERRAFORM:=terraform}" "${TOFU:=tofu}" "${TERRAGRUNT:=terragrunt}"
record="$(basename -- "$0").done"
touch -- "$record"

# root NAME DIR COMMAND...
root() {
  name=$1
  dir=$2
  shift 2
  if grep -qxF -e "$name" -- "$record"; then
    return 0
  fi
  printf '\n== %%s\n' "$name"
  (cd -- "$dir" && "$@")
  printf '%%s\n' "$name" >>"$record"
}

`, p.Phase)
	for i, one := range inits {
		fmt.Fprintf(&b, "root %s %s \"$%s\"", posixQuote(fmt.Sprintf("%d %s", i+1, statelatch.Printable(one.Name))),
			posixQuote("./"+one.Dir), strings.ToUpper(one.Words[0]))
		for _, word := range one.Words[1:] {
			b.WriteString(" " + posixQuote(word))
		}
		b.WriteString(" \"$@\"\n")
	}
	fmt.Fprintf(&b, "\nrm -f -- \"$record\"\nprintf '\\n%%s\\n' %s\n", posixQuote(fmt.Sprintf("Done: %d.", len(inits))))
	return b.String()
}

// posixQuote is a word for every POSIX shell, whatever bytes it has.
func posixQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// maxScripts of one phase are in a directory.
const maxScripts = 1000

// WriteInitScript writes [Plan.InitScript] into the tree at dir, under a name that is new: one from before may not have
// been run yet.
func (p *Plan) WriteInitScript(dir string) (name string, err error) {
	for i := 1; i <= maxScripts; i++ {
		name = filepath.Join(dir, fmt.Sprintf("init-phase-%d.sh", p.Phase))
		if i > 1 {
			name = filepath.Join(dir, fmt.Sprintf("init-phase-%d-%d.sh", p.Phase, i))
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755) //nolint:gosec // it is to be run, by whoever has the checkout
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.WriteString(p.InitScript())
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
