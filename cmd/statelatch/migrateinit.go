package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/migrate"
)

// initScript is a script that runs init again in each root, from the directory that it stands in.
func initScript(phase int, inits []migrate.Init) string {
	var b strings.Builder
	fmt.Fprintf(&b, `#!/bin/sh
# Runs init again in the roots that 'statelatch migrate apply -phase %d' has edited: the state of each stays where it is.
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

`, phase)
	for i, one := range inits {
		fmt.Fprintf(&b, "root %s %s \"$%s\"", posixQuote(fmt.Sprintf("%d %s", i+1, statelatch.Printable(one.Name))), posixQuote("./"+one.Dir), strings.ToUpper(one.Words[0]))
		for _, word := range one.Words[1:] {
			b.WriteString(" " + posixQuote(word))
		}
		b.WriteString(" \"$@\"\n")
	}
	fmt.Fprintf(&b, "\nrm -f -- \"$record\"\nprintf '\\n%%s\\n' %s\n", posixQuote("Done: "+count(len(inits), "root")+"."))
	return b.String()
}

// posixQuote is a word for every POSIX shell, whatever bytes it has.
func posixQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// maxScripts of one phase in a directory.
const maxScripts = 1000

// writeInitScript writes the script into the tree, under a name that is new: one from before may not have been run yet.
func writeInitScript(dir string, phase int, inits []migrate.Init) (name string, err error) {
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
		_, err = f.WriteString(initScript(phase, inits))
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
