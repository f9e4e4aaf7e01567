package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/backendconf/terragrunt"
	"github.com/statelatch/statelatch/internal/userdir"
)

// trustVariable says that whoever runs the program has looked at what it is run on.
const trustVariable = "STATELATCH_TRUST_DIRECTORY"

// trust asks, once for a directory and what it says, before a checkout decides about more than a bucket of AWS: an
// endpoint of its own, a program that a file in it names. Engines do as they are told, at init; so does this program
// where nobody is there to be asked, and says so.
func (o targetOptions) trust(ctx context.Context, term terminal, backend backendconf.Backend) error {
	if o.ref != "" {
		return nil
	}
	return trustDirectory(ctx, term, cmp.Or(o.chdir, "."), backend, o.backendConfig)
}

// trustDirectory is trust for the backend of a directory, of which given was typed.
func trustDirectory(ctx context.Context, term terminal, dir string, backend backendconf.Backend, given []string) error {
	tree, err := terragrunt.TreeOf(dir)
	if err != nil {
		return err
	}
	typed, err := backendconf.ParseArguments(dir, given)
	if err != nil {
		return err
	}
	var says, files []string
	local := true
	for _, r := range backend.Reaches(tree, term.Getenv, typed) {
		says, local = append(says, r.What), local && r.Local
		if r.File {
			files = append(files, r.Target)
		}
	}
	return askTrust(ctx, term, dir, says, files, local)
}

// trusted are the answers of this process, by what was asked.
var trusted sync.Map

// askTrust asks whether dir may do what it says. The content of files belongs to the question. Quiet is for what needs
// no warning where nobody can be asked.
func askTrust(ctx context.Context, term terminal, dir string, says, files []string, quiet bool) error {
	if ok, _ := strconv.ParseBool(term.Getenv(trustVariable)); ok || len(says) == 0 {
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("%w directory: %w", statelatch.ErrInvalid, err)
	}
	question := trustQuestion(dir, says, files)
	if _, ok := trusted.Load(question); ok {
		return nil
	}
	memory := trustFile(term, question)
	if _, err := os.Stat(memory); memory != "" && err == nil {
		return nil
	}
	var list strings.Builder
	fmt.Fprintf(&list, "this configuration decides about more than a bucket.\nIn %s", statelatch.Printable(dir))
	for _, what := range says {
		fmt.Fprintf(&list, "\n  it %s", statelatch.Printable(what))
	}
	switch {
	case term.Interactive:
		if err := term.Confirm(ctx, "Before anything is sent: "+list.String()+
			"\nGo on only if you trust whoever wrote it. The answer is remembered until any of this changes.", ""); err != nil {
			return err
		}
		if err := rememberTrust(memory, dir, says); err != nil {
			term.Say("Warning: the answer will not be remembered: %v\n", err)
		}
	case !quiet:
		term.Say("Warning: %s\n%s=1 says that you know.\n", list.String(), trustVariable)
	}
	trusted.Store(question, true)
	return nil
}

// trustQuestion names a question.
func trustQuestion(dir string, says, files []string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", dir, says)
	for _, name := range files {
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			continue // opening a pipe would wait for its other end
		}
		if f, err := os.Open(name); err == nil {
			_, _ = io.Copy(h, io.LimitReader(f, 1<<20))
			_ = f.Close()
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// trustFile is where an answer is kept; empty if there is nowhere.
func trustFile(term terminal, question string) string {
	dir, err := userdir.State(term.Getenv)
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "trusted", question+".json")
}

func rememberTrust(file, dir string, says []string) error {
	if file == "" {
		return errors.New("there is no directory for it: set STATELATCH_STATE_DIR")
	}
	text, err := json.Marshal(map[string]any{"directory": dir, "trusted": says})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o700)
	}
	if err == nil {
		err = os.WriteFile(file, append(text, '\n'), 0o600)
	}
	return err
}
