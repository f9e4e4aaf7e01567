package runner

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Survivors are the processes of this machine, as far as they can be seen, that were started below the run that client
// names, as [identity.Client] does: once it is gone, those that outlived it. A daemon that one of them left behind is
// one, too.
func Survivors(client string) []int {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	var found []int
	for _, path := range environments {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for variable := range bytes.SplitSeq(env, []byte{0}) {
			around, ok := strings.CutPrefix(string(variable), heldVariable+"=")
			if ok && slices.Contains(strings.Split(around, "\n"), client) {
				found = append(found, pid)
			}
		}
	}
	return found
}
