package main

import (
	"context"
	"errors"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/inspect"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/state"
)

// The exit codes, the same for every command. exitHelp and docs/CLI.md repeat them.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 10
	exitLocked      = 11
	exitLost        = 12
	exitUnsafe      = 13
	exitDenied      = 14
	exitMoved       = 15
	exitInterrupted = 130
)

const exitHelp = `Exit codes:
  0    ok (status: the state is free)
  1    error, or a question was answered with no
  2    usage
  10   not found, not locked
  11   locked by someone else, or waited in vain (status: locked)
  12   the lock was lost while held
  13   the store cannot lock safely
  14   access denied
  15   run -read: the state changed meanwhile (run otherwise: the command's own)
  130  interrupted
`

// usageError is a mistake in the command line.
type usageError struct{ error }

// exitCode is the one place that turns an error into an exit code.
func exitCode(ctx context.Context, err error) int {
	var usage usageError
	var child childError
	var start startError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, statelatch.ErrLockLost):
		return exitLost
	case errors.As(err, &child):
		return child.code
	case errors.As(err, &start):
		return start.code
	case errors.As(err, new(movedError)):
		return exitMoved
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, new(term.UnaskedError)):
		return exitUsage
	case errors.Is(err, statelatch.ErrLocked):
		return exitLocked
	case errors.Is(err, statelatch.ErrNotLocked):
		return exitNotFound
	case errors.Is(err, statelatch.ErrUnsafeStore):
		return exitUnsafe
	case errors.Is(err, statelatch.ErrDenied):
		return exitDenied
	case errors.Is(err, statelatch.ErrNotFound):
		return exitNotFound
	case errors.As(err, new(*inspect.ContentError)), errors.As(err, new(*state.MismatchError)):
		return exitError
	case errors.Is(err, statelatch.ErrInvalid):
		return exitUsage
	}
	return exitError
}

// kindOf names err for the "kind" of JSON output.
func kindOf(ctx context.Context, err error) string {
	switch exitCode(ctx, err) {
	case exitUsage:
		return "usage"
	case exitLocked:
		return "locked"
	case exitNotFound:
		if errors.Is(err, statelatch.ErrNotLocked) {
			return "not_locked"
		}
		return "not_found"
	case exitLost:
		return "lock_lost"
	case exitUnsafe:
		return "unsafe_store"
	case exitDenied:
		return "denied"
	case exitInterrupted:
		return "interrupted"
	}
	if errors.Is(err, statelatch.ErrAmbiguous) {
		return "unknown_outcome"
	}
	return "error"
}
