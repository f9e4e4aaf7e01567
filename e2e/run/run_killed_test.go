package run

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// killRounds is how often run is killed below an apply.
func killRounds() int {
	if rig.Full() {
		return 50
	}
	return 4
}

// kill -9 of run while its engine creates a resource: the engine gets one interrupt, also where shells are between, and
// saves what it has. A second interrupt would make it give up, and the resource would be in no state.
func TestRun_Killed_EngineGetsOneInterrupt(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	standing := filepath.Join(r.Home, "standing")
	r.Write(filepath.Join(r.Dir, "slow.tf"), fmt.Sprintf(`
resource "terraform_data" "slow" {
  triggers_replace = timestamp()
  provisioner "local-exec" { command = "touch %s; exec sleep 30" }
}
`, standing))
	engine := filepath.Base(r.Terraform) // found in PATH, where run can tell it that its state is held
	script := r.File("deploy.sh", "cd "+r.Dir+"\n"+engine+" "+strings.Join(rig.Apply, " ")+"\necho the shell goes on\n")
	makefile := r.File("Makefile", "deploy:\n\tcd "+r.Dir+" && "+engine+" "+strings.Join(rig.Apply, " ")+"\n")
	commands := [][]string{
		append([]string{engine}, rig.Apply...),
		{"sh", script},
		{rig.Need(t, "make"), "-f", makefile},
	}
	lost := 0
	for round := range killRounds() {
		command := commands[round%len(commands)]
		p := r.Start(r.Home, rig.Binary, append([]string{"run", "-chdir", r.Dir, r.Ref, "--"}, command...)...)
		await(r.World, standing, p)
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond) // the random moment
		p.Signal(syscall.SIGKILL)
		done := p.Wait() // the engine has the output, too
		r.Must(r.Home, "rm", standing)
		interrupts := strings.Count(done.Stdout, "Interrupt received")
		if interrupts != 1 || strings.Contains(done.Stdout, "Two interrupts") {
			t.Errorf("round %d, %s: got %d interrupts, want 1: %v", round, command[0], interrupts, done)
		}
		r.Must(r.Home, rig.Binary, "unlock", r.Ref)
		if state := r.Statelatch("pull", r.Ref).Stdout; !strings.Contains(state, `"slow"`) {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d kills lost the resource that was being created, want 0", lost, killRounds())
	}
}
