package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killRounds is how often run is killed below an apply.
func killRounds() int {
	if full() {
		return 50
	}
	return 4
}

// kill -9 of run while its engine creates a resource: the engine gets one interrupt, also where shells are between, and
// saves what it has. A second interrupt would make it give up, and the resource would be in no state.
func TestRun_Killed_EngineGetsOneInterrupt(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	standing := filepath.Join(r.home, "standing")
	r.write(filepath.Join(r.dir, "slow.tf"), fmt.Sprintf(`
resource "terraform_data" "slow" {
  triggers_replace = timestamp()
  provisioner "local-exec" { command = "touch %s; exec sleep 30" }
}
`, standing))
	engine := filepath.Base(r.terraform) // found in PATH, where run can tell it that its state is held
	script := r.file("deploy.sh", "cd "+r.dir+"\n"+engine+" "+strings.Join(apply, " ")+"\necho the shell goes on\n")
	makefile := r.file("Makefile", "deploy:\n\tcd "+r.dir+" && "+engine+" "+strings.Join(apply, " ")+"\n")
	commands := [][]string{
		append([]string{engine}, apply...),
		{"sh", script},
		{need(t, "make"), "-f", makefile},
	}
	lost := 0
	for round := range killRounds() {
		command := commands[round%len(commands)]
		p := r.start(r.home, binary, append([]string{"run", "-chdir", r.dir, r.ref, "--"}, command...)...)
		r.await(standing, p)
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond) // the random moment
		p.signal(syscall.SIGKILL)
		done := p.wait() // the engine has the output, too
		r.must(r.home, "rm", standing)
		interrupts := strings.Count(done.stdout, "Interrupt received")
		if interrupts != 1 || strings.Contains(done.stdout, "Two interrupts") {
			t.Errorf("round %d, %s: got %d interrupts, want 1: %v", round, command[0], interrupts, done)
		}
		r.must(r.home, binary, "unlock", r.ref)
		if state := r.statelatch("pull", r.ref).stdout; !strings.Contains(state, `"slow"`) {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d kills lost the resource that was being created, want 0", lost, killRounds())
	}
}
