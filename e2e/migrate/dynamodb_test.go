package migrate

import (
	"strings"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// A client of one phase of the migration off DynamoDB, ours or an engine.
type client struct {
	name        string
	ours        bool
	phase       string
	file, table bool // what it locks
}

// Acceptance 4: the three phases of the migration, with engines and with us in each. Two clients exclude each other exactly
// if they share one of the two; we take both wherever a table is configured.
func TestDynamoDB_PhasesOfTheMigration(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	engine := rig.Need(t, rig.Engine())
	server := w.Serve()
	url := w.Dynalite()
	dirs := map[string]string{}
	for phase, arguments := range map[string]string{
		"table only": `dynamodb_table = "locks"`,
		"both":       "use_lockfile = true\ndynamodb_table = \"locks\"",
		"file only":  `use_lockfile = true`,
	} {
		block := strings.Replace(server.Block, "example/terraform.tfstate", rig.StateKey, 1)
		block = strings.Replace(block, "use_lockfile = true", arguments, 1)
		block = strings.Replace(block, `endpoints                   = { s3 = "`+server.URL+`" }`,
			`endpoints                   = { s3 = "`+server.URL+`", dynamodb = "`+url+`" }`, 1)
		if !strings.Contains(block, url) {
			t.Fatalf("no endpoint for DynamoDB in %s", block)
		}
		dirs[phase] = w.Project(block)
		w.Must(dirs[phase], engine, "init", "-input=false", "-no-color")
	}
	w.Must(dirs["both"], engine, rig.Apply...)

	clients := []client{
		{"engine, table only", false, "table only", false, true},
		{"engine, both", false, "both", true, true},
		{"engine, file only", false, "file only", true, false},
		{"ours, table only", true, "table only", true, true},
		{"ours, both", true, "both", true, true},
		{"ours, file only", true, "file only", true, false},
	}
	for _, holder := range clients {
		release := hold(w, holder, engine, dirs[holder.phase])
		for _, other := range clients {
			excluded := holder.file && other.file || holder.table && other.table
			got := try(w, other, engine, dirs[other.phase])
			if refused := got.Code != 0; refused != excluded {
				t.Errorf("%s while %s holds: refused %v, want %v: %v", other.name, holder.name, refused, excluded, got)
			}
			if excluded && !strings.Contains(got.Stderr, "Lock Info:") {
				t.Errorf("%s while %s holds: the holder is not shown: %v", other.name, holder.name, got)
			}
		}
		release()
	}
	for phase, dir := range dirs {
		rig.Want(t, phase, w.Statelatch("status", "-chdir", dir), 0, "not locked")
	}

	// Our writes keep the digest in step: the next engine that checks it is content.
	next := rig.Successor(t, w.Statelatch("pull", "-chdir", dirs["both"]).Stdout, "b")
	rig.Want(t, "push", w.Statelatch("push", "-chdir", dirs["table only"], w.File("next.tfstate", next)), 0, "serial 2")
	rig.Want(t, "engine after push", w.Run(dirs["table only"], engine, "output", "-no-color"), 0)
	rig.Want(t, "run", w.Statelatch("run", "-chdir", dirs["table only"], "--", engine, "apply", "-input=false", "-no-color", "-auto-approve"), 0, "Apply complete!")
	rig.Want(t, "engine after run", w.Run(dirs["both"], engine, "plan", "-detailed-exitcode", "-input=false", "-no-color"), 0)

	// A dead run's lock is taken over in both places, and the fence keeps the digest in step.
	p := w.Start(w.Home, rig.Binary, "run", "-lease", "3s", "-chdir", dirs["both"], "--", "sh", "-c", "echo started; exec sleep 600")
	p.WaitFor("started")
	p.Signal(syscall.SIGKILL)
	p.Wait()
	rig.Want(t, "engine, table only", try(w, clients[0], engine, dirs["table only"]), 1, "Lock Info:")
	rig.Want(t, "takeover", w.Statelatch("run", "-takeover=expired", "-chdir", dirs["both"], "--", engine, "plan", "-detailed-exitcode", "-input=false", "-no-color"), 0)
	rig.Want(t, "engine, table only", try(w, clients[0], engine, dirs["table only"]), 0)
	rig.Want(t, "status", w.Statelatch("status", "-chdir", dirs["both"]), 0, "not locked")
}

// hold takes the lock as c does, and returns how to release it.
func hold(w *rig.World, c client, engine, dir string) (release func()) {
	w.T.Helper()
	if c.ours {
		w.Must(w.Home, rig.Binary, "lock", "-chdir", dir)
		return func() { w.Must(w.Home, rig.Binary, "unlock", "-chdir", dir) }
	}
	p := w.Start(dir, engine, "apply", "-no-color", "-var", "value=never")
	p.WaitFor(`Enter a value:`)
	return func() {
		p.Say("no")
		p.Wait()
	}
}

// try takes the lock as c does and releases it at once.
func try(w *rig.World, c client, engine, dir string) rig.Result {
	w.T.Helper()
	if !c.ours {
		return w.Run(dir, engine, "plan", "-input=false", "-no-color")
	}
	got := w.Statelatch("lock", "-chdir", dir)
	if got.Code == 0 {
		w.Must(w.Home, rig.Binary, "unlock", "-chdir", dir)
	}
	return got
}
