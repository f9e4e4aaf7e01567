// Package userdir is where a user's Statelatch keeps its files.
package userdir

import (
	"errors"
	"path/filepath"
	"runtime"
)

// State is the directory of what must not be forgotten: STATELATCH_STATE_DIR, else statelatch in the user's state
// directory. The error says which variables are not set.
func State(getenv func(string) string) (string, error) {
	if dir := getenv("STATELATCH_STATE_DIR"); dir != "" {
		return dir, nil
	}
	if dir := find(getenv, runtime.GOOS, "XDG_STATE_HOME", "state"); dir != "" {
		return dir, nil
	}
	return "", errors.New("neither STATELATCH_STATE_DIR, XDG_STATE_HOME nor " + home(runtime.GOOS) + " is set")
}

// Data is the directory of what a user stores here: statelatch in the user's data directory.
func Data(getenv func(string) string) (string, error) {
	if dir := find(getenv, runtime.GOOS, "XDG_DATA_HOME", "share"); dir != "" {
		return dir, nil
	}
	return "", errors.New("neither XDG_DATA_HOME nor " + home(runtime.GOOS) + " is set")
}

// find returns the directory by the XDG rules, and on Windows in the user's local application data; empty if nothing
// says where that is.
func find(getenv func(string) string, goos, xdg, below string) string {
	if base := getenv(xdg); filepath.IsAbs(base) {
		return filepath.Join(base, "statelatch")
	}
	if goos == "windows" {
		// HOME is set by some shells and not by others: one user must find the same place from all.
		if base := getenv("LOCALAPPDATA"); base != "" {
			return filepath.Join(base, "statelatch", below)
		}
		if base := getenv("USERPROFILE"); base != "" {
			return filepath.Join(base, "AppData", "Local", "statelatch", below)
		}
	}
	if base := getenv("HOME"); base != "" {
		return filepath.Join(base, ".local", below, "statelatch")
	}
	return ""
}

func home(goos string) string {
	if goos == "windows" {
		return "LOCALAPPDATA"
	}
	return "HOME"
}
