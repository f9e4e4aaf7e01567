package runner

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
)

// Survivors are the processes of this machine, as far as they can be seen, that were started under the lock of ref: once the run that
// held it is gone, those that outlived it. A daemon that such a process left behind is one of them.
func Survivors(ref statelatch.Ref) []int {
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
			refs, ok := strings.CutPrefix(string(variable), heldVariable+"=")
			if ok && slices.Contains(HeldRefs(func(string) string { return refs }), ref) {
				found = append(found, pid)
			}
		}
	}
	return found
}
