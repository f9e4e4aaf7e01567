package runner

import "golang.org/x/sys/unix"

// prepareSystem asks for what only Linux has.
func prepareSystem() {
	// Orphans of the group come to us, so that their ends can be seen even where the first process of a container
	// does not wait for its children. Without it (it cannot fail since Linux 3.4) they go to that process.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}
