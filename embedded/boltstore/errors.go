package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/statelatch/statelatch/s3/s3model"
)

// Why [Open] refused. In every case the directory was left as it was.
var (
	// ErrInUse means that another process (or another Store of this one) has the directory open.
	ErrInUse = errors.New("the data directory is in use by another process")
	// ErrCorrupt means that the database cannot be read, or is gone while bodies are left.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrFormat means that the database was written by a newer version, or by another program.
	ErrFormat = errors.New("the format of the database is not known")
	// ErrKey means that the encryption key is missing, unreadable, exposed, or another one.
	ErrKey = errors.New("the encryption key cannot be used")
)

var (
	errClosed  = errors.New("the store is closed")
	errDamaged = errors.New("damaged")
	// errUnknown marks a commit of which nobody can say whether it will survive.
	errUnknown = errors.New("the outcome of the write is unknown, and no more writes are accepted until the store " +
		"is opened again")
)

// Refusals that only a store can pronounce.
var (
	errKeyTooLong = &s3model.Error{
		Code: "KeyTooLongError", Status: 400,
		Message: "The key is longer than 1024 bytes.",
	}
	errInvalidArgument = &s3model.Error{Code: "InvalidArgument", Status: 400, Message: "An argument is not valid."}
	errBadDigest       = &s3model.Error{
		Code: "BadDigest", Status: 400,
		Message: "The checksum of the whole object differs from the one in the request.",
	}
)

// failure translates an error of the disk or the database into S3's terms. Refusals
// and the end of the caller's context pass as they are.
func failure(err error) error {
	var refusal *s3model.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return s3model.ErrInternal.With("", errClosed)
	case errors.Is(err, errUnknown):
		return s3model.ErrInternal.With("", err)
	case isErrno(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return s3model.ErrStorageFull.With("", err)
	case isErrno(err, syscall.EROFS, syscall.EACCES, syscall.EPERM):
		return s3model.ErrReadOnly.With("", err)
	}
	return s3model.ErrInternal.With("", err)
}

// isErrno reports whether err is or ends with one of the given system errors. The
// text is looked at as well because bbolt flattens the cause when the database file
// cannot grow.
func isErrno(err error, numbers ...syscall.Errno) bool {
	for _, n := range numbers {
		if errors.Is(err, n) || strings.HasSuffix(err.Error(), ": "+n.Error()) {
			return true
		}
	}
	return false
}

// damaged reports a record or body that cannot be what was written.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
