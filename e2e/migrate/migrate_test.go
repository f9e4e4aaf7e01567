package migrate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/tree"
)

// copies are roots whose text is another's; one of each kind goes through the engine.
var copies = regexp.MustCompile(`-[1-9]$|^windows/b$`)

// Every edited root is accepted by the engine: its files by validate, its backend by init on a real store.
func TestMigrate_EngineAcceptsEveryEdit(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	terraform := rig.Need(t, rig.Engine())
	s := w.Serve()
	for _, bucket := range []string{"acme-state", "acme-prod", "acme-test"} {
		w.Must(w.Home, rig.Binary, "bucket", "init", "-auto-approve", "-backend-config", `endpoints={s3="`+s.URL+`"}`, "-backend-config", "use_path_style=true", "s3://"+bucket)
	}
	dir := filepath.Join(w.Home, "tree")
	truth, err := tree.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	for phase := 1; phase <= 2; phase++ {
		r := w.Must(w.Home, rig.Binary, "migrate", "apply", "-phase", strconv.Itoa(phase), "-auto-approve", "-json", dir)
		var done struct {
			Roots []struct{ Dir, Variant, Status string }
		}
		if err := json.Unmarshal([]byte(r.Stdout), &done); err != nil {
			t.Fatalf("%v: %v", err, r)
		}
		inits := 0
		for i, root := range done.Roots {
			known := find(truth, root.Dir, root.Variant)
			if root.Status != "edit" || known.NoInit || copies.MatchString(root.Dir) {
				continue
			}
			inits++
			at := filepath.Join(dir, root.Dir)
			args := []string{
				"init", "-input=false", "-reconfigure", "-no-color", "-backend-config=use_path_style=true",
				"-backend-config=skip_credentials_validation=true", "-backend-config=skip_requesting_account_id=true",
				`-backend-config=endpoints={s3="` + s.URL + `"}`, "-backend-config=region=us-east-1",
			}
			files, _ := filepath.Glob(filepath.Join(at, "*.tfbackend"))
			if strings.HasSuffix(root.Variant, ".tfbackend") {
				files = []string{filepath.Join(at, root.Variant)}
			}
			more, _ := filepath.Glob(filepath.Join(at, "backend.[hj]*"))
			for _, f := range append(files, more...) {
				args = append(args, "-backend-config="+f)
			}
			if got := w.Run(at, terraform, args...); got.Code != 0 {
				t.Errorf("phase %d of %v: %v", phase, done.Roots[i], got)
			}
			if got := w.Run(at, terraform, "validate", "-no-color"); got.Code != 0 {
				t.Errorf("phase %d of %v: %v", phase, done.Roots[i], got)
			}
			_ = os.RemoveAll(filepath.Join(at, ".terraform"))
		}
		if inits < 15 {
			t.Errorf("phase %d: the engine saw %d roots, want 15 at least", phase, inits)
		}
	}
}

func find(truth tree.Truth, dir, variant string) tree.Root {
	for _, r := range truth.Roots {
		if r.Dir == dir && r.Variant == variant {
			return r
		}
	}
	return tree.Root{}
}
