package gateway

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// Without a store in the rules, the one on this machine stands behind the doors: what the rules give and no more, and it
// is all there after a restart.
func TestGateway_OwnStore(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 0)
	data := filepath.Join(e.near.Home, "own")
	start := func() *rig.Process {
		p := e.near.Start(e.near.Home, rig.Binary, "serve", "-config", e.rules, "-data", data, "-bucket", "terraform-state",
			"-addr", "127.0.0.1:0")
		e.door.add(p, p.WaitFor(`at http://(\S+)`)[1])
		return p
	}
	p := start()
	deploy, ana := e.pipeline("deploy"), e.person("ana")
	rig.Want(t, "apply", deploy.apply("1"), 0)
	rig.Want(t, "plan", ana.run("plan", "-input=false", "-no-color", "-var", "value=1"), 0, "No changes")
	rig.Want(t, "apply with the right to plan", e.pipeline("pull-request").apply("2"), 1, "AccessDenied")
	e.door.remove(p)
	p.Signal(syscall.SIGTERM)
	if r := p.Wait(); r.Code != 0 {
		t.Errorf("stopped: %v", r)
	}
	start()
	rig.Want(t, "plan after a restart", ana.run("plan", "-input=false", "-no-color", "-var", "value=1"), 0, "No changes")
	rig.Want(t, "apply", deploy.apply("2"), 0)
}
