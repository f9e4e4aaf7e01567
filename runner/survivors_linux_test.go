package runner

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
)

// What was started below a run may outlive it.
func TestSurvivors(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	cmd.Env = WithHeld(os.Environ(), HeldState{Ref: statelatch.Ref{Bucket: "b", Key: "some/state"}})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := Survivors(identity.Client()); !slices.Contains(got, cmd.Process.Pid) {
		t.Errorf("got %v, want %d among them", got, cmd.Process.Pid)
	}
	if got := Survivors(identity.Client() + "0"); got != nil {
		t.Errorf("of another run: got %v", got)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if got := Survivors(identity.Client()); slices.Contains(got, cmd.Process.Pid) {
		t.Errorf("after its end: got %v", got)
	}
}
