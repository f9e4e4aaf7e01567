// Package private tells whether a directory or a file of secrets is out of reach of other people on the machine.
// On Windows it says yes to everything: there, who owns a directory decides by lists that modes do not show.
package private

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Dir refuses a directory in which others could put or exchange files: it is writable by everybody or by a group of
// others, it belongs to somebody else, or a directory above it, or above a symbolic link to it, is writable by
// everybody (unless sticky, as /tmp is). The superuser may use another's directory, whose files File then refuses.
func Dir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	who, group, known := owner(info)
	others := fs.FileMode(0o022)
	if known && ownGroup(who, group, os.Geteuid()) {
		others = 0o002
	}
	if mode := info.Mode(); mode.Perm()&others != 0 {
		return fmt.Errorf("directory %s can be written by others (mode %04o): make sure that what is in it is yours, then "+
			"run chmod go-w %[1]s", path, mode.Perm())
	}
	if known && os.Geteuid() != 0 && !trusted(who, os.Geteuid()) {
		return fmt.Errorf("directory %s belongs to another user (uid %d): use one of your own", path, who)
	}
	for _, at := range []string{real, path} { // a symbolic link can be exchanged where it is
		if err := parents(path, at); err != nil {
			return err
		}
	}
	return nil
}

// parents refuses directories above at that everybody can write. path is how the user calls it.
func parents(path, at string) error {
	for parent := filepath.Dir(at); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return err
		}
		if mode := info.Mode(); mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0 {
			return fmt.Errorf("directory %s is in %s, which everybody can write (mode %04o), so that anybody "+
				"could exchange it: "+
				"use another place, or run chmod o-w %[2]s", path, parent, mode.Perm())
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}

// Owned refuses a file that belongs to somebody else or that others can write. The error of a
// file that is not there is fs.ErrNotExist.
func Owned(path string) error {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" {
		return err
	}
	if who, _, ok := owner(info); ok && !trusted(who, os.Geteuid()) {
		return fmt.Errorf("%s belongs to another user (uid %d), who knows what is in it: remove it, or make it yours "+
			"(chown) if you trust it", path, who)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%s can be written by others (mode %04o): make sure that it is as you left it, then run "+
			"chmod 600 %[1]s", path, mode)
	}
	return nil
}

// File is Owned for a secret, which others must not read either.
func File(path string) error {
	if err := Owned(path); err != nil || runtime.GOOS == "windows" {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s can be read by others (mode %04o): run chmod 600 %[1]s, and consider what is in "+
			"it known to them", path, mode)
	}
	return nil
}

// ownGroup says whether what the group may is no sign of others: it is the user's private group (the rule of
// pam_umask), the superuser's, or the one by which root lets this user in, as Kubernetes does with its volumes.
func ownGroup(uid, gid uint32, self int) bool {
	return gid == 0 || (self != 0 && (int64(gid) == int64(self) || uid == 0))
}

// trusted says whether a file of this owner is as good as one's own.
func trusted(uid uint32, self int) bool { return uid == 0 || int64(uid) == int64(self) }
