package runner

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/statelatch/statelatch"
)

// What was started under a lock outlives the run that held it, perhaps.
func TestSurvivors(t *testing.T) {
	t.Parallel()
	ref := statelatch.Ref{Bucket: "survivors", Key: "some/state"}
	other := statelatch.Ref{Bucket: "survivors", Key: "some/state2"}
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	cmd.Env = WithHeld(WithHeld(os.Environ(), other), ref)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := Survivors(ref); !slices.Equal(got, []int{cmd.Process.Pid}) {
		t.Errorf("got %v, want %d", got, cmd.Process.Pid)
	}
	if got := Survivors(statelatch.Ref{Bucket: "survivors", Key: "some"}); got != nil {
		t.Errorf("of another state: got %v", got)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if got := Survivors(ref); got != nil {
		t.Errorf("after its end: got %v", got)
	}
}
