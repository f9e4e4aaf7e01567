package gateway

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// A static key becomes a session for each process of an engine, by credential_process; and an engine that asks who it is
// before it begins gets an answer.
func TestIdentity_CredentialProcess(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 1)
	w := rig.NewWorld(t)
	w.Write(w.Env["AWS_CONFIG_FILE"], fmt.Sprintf("[profile states]\ncredential_process = %s credentials -gateway %s -key-file %s\n",
		rig.Binary, e.door.url, filepath.Join(e.near.Home, "ana.key")))
	w.Env["AWS_PROFILE"] = "states"
	g := &engine{w, filepath.Join(w.Home, "tf")}
	w.Must(w.Home, "mkdir", g.dir)
	text := fmt.Sprintf(config, rig.StateKey, e.door.url, "")
	for _, check := range []string{"skip_credentials_validation", "skip_requesting_account_id"} {
		text = strings.Replace(text, check, "# "+check, 1)
	}
	w.Write(filepath.Join(g.dir, "main.tf"), text)
	w.Must(g.dir, rig.Engine(), "init", "-input=false", "-no-color")
	p, goOn := g.hold("1")
	// Another process of the same owner has another session: the lock of the first is not its own.
	if r := g.run(slices.Concat(rig.Apply, []string{"-var", "value=2"})...); r.Code == 0 || !strings.Contains(r.Stderr, "Error acquiring the state lock") {
		t.Errorf("want the second process refused: %v", r)
	}
	goOn()
	if r := p.Wait(); r.Code != 0 {
		t.Errorf("the first process: %v", r)
	}
	e.wantFree()
}
