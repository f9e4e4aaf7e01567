package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/statelatch/statelatch/internal/unsaved"
)

// tellUnsaved says what is left, and what to do with it. Of the file given that is being done.
func tellUnsaved(term terminal, left unsaved.Copies, again naming, given string) {
	for _, l := range left.Left(time.Now(), false) {
		if l.Path == given {
			continue
		}
		if l.Partial {
			term.Say("Note: a push of this state was stopped while it read its input. What it had read, %d bytes, not all, is in\n%s until the next push.\n\n",
				l.Size, shellQuote(l.Path))
			continue
		}
		term.Say("Note: a push of this state did not end. What it was to store (serial %d, %d bytes, of %s UTC) is in %s\n"+
			"Store it:  %s\nIf it is of no use: rm %[4]s\n\n", l.Serial, l.Size, timeOf(l.Kept), shellQuote(l.Path),
			again.command("push "+shellQuote(l.Path)))
	}
}

// openInput opens FILE.
func openInput(file string) (io.ReadSeekCloser, unsaved.File, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, unsaved.File{}, usageError{err}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unsaved.File{}, usageError{fmt.Errorf("FILE: %w", err)}
	}
	return f, unsaved.File{Path: path}, nil
}
