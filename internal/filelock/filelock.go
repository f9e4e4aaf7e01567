// Package filelock locks files between processes, as the systems do it: the lock goes with the process, however that
// ends.
package filelock
