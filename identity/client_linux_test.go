package identity

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestProcess_Alive_Zombie: where nobody reaps, as in a container without an init, the dead keep their PIDs.
func TestProcess_Alive_Zombie(t *testing.T) {
	t.Parallel()
	c := startChild(t)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	check(t, "a zombie", c.process, Dead)
}
