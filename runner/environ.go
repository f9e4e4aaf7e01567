package runner

import (
	"runtime"
	"slices"
	"strings"
)

// lookup returns the value that the last setting of key in env has, as for a process started with it.
func lookup(env []string, key string) string {
	for _, entry := range slices.Backward(env) {
		if k, v, ok := strings.Cut(entry, "="); ok && sameVariable(k, key) {
			return v
		}
	}
	return ""
}

// set replaces every setting of key. It reuses env.
func set(env []string, key, value string) []string {
	env = slices.DeleteFunc(env, func(entry string) bool {
		k, _, ok := strings.Cut(entry, "=")
		return ok && sameVariable(k, key)
	})
	return append(env, key+"="+value)
}

func sameVariable(a, b string) bool {
	if runtime.GOOS == "windows" {
		return strings.EqualFold(a, b)
	}
	return a == b
}
