//go:build unix

package migrate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/migrate"
)

// The script runs the engine in each root, stops where one fails, goes on from there, and takes any name.
func TestInitScript_GoesOn(t *testing.T) {
	t.Parallel()
	dir, bin := t.TempDir(), t.TempDir()
	seen, broken := filepath.Join(bin, "seen"), filepath.Join(bin, "broken")
	engine := "#!/bin/sh\nprintf '%s|%s|%s\\n' \"${0##*/}\" \"${PWD##*/}\" \"$*\" >>" + seen + "\n[ ! -f marker ] || [ ! -e " + broken + " ]\n"
	for _, name := range []string{"terraform", "tofu", "terragrunt"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(engine), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	plan := &migrate.Plan{Phase: 1}
	want := ""
	for _, one := range []struct{ dir, tool, file, flag string }{
		{dir: "a", tool: "terraform"},
		{dir: "it's $(touch x)", tool: "tofu", file: "a b'.tfbackend", flag: " -backend-config=../a b'.tfbackend"},
		{dir: "-c", tool: "terragrunt"},
		{dir: "d\xff\n", tool: "terraform"},
		{dir: "d\xff\n", tool: "terraform", file: "d\xff\n/x", flag: " -backend-config=x"},
		{dir: ".", tool: "terraform"},
	} {
		if err := os.MkdirAll(filepath.Join(dir, one.dir), 0o700); err != nil {
			t.Fatal(err)
		}
		r := &migrate.Root{Dir: one.dir, Tool: one.tool}
		if one.file != "" {
			r.Places = []*migrate.Place{{Kind: migrate.KindBackendConfig, File: one.file}}
		}
		plan.Moves = append(plan.Moves, migrate.Move{Root: r, Status: migrate.MoveEdit})
		want += one.tool + "|" + strings.TrimRight(filepath.Base(filepath.Join(dir, one.dir)), "\n") + "|init -reconfigure" + one.flag + " -input=false\n"
	}
	for _, name := range []string{broken, filepath.Join(dir, "-c", "marker")} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name, err := plan.WriteInitScript(dir)
	if err != nil {
		t.Fatal(err)
	}
	run := func() error {
		cmd := exec.CommandContext(t.Context(), name, "-input=false")
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		return err
	}
	if run() == nil {
		t.Fatal("it went on after a failure")
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.ReplaceAll(string(got), "\n|", "|"), "\n")
	lines = append(lines[:3], lines[4:]...) // the one that failed was run again
	if text := strings.Join(lines, ""); text != want {
		t.Errorf("got\n%q\nwant\n%q", text, want)
	}
	if _, err := os.Stat(name + ".done"); !os.IsNotExist(err) {
		t.Error("the record is still there at the end")
	}
	if second, err := plan.WriteInitScript(dir); err != nil || second == name {
		t.Errorf("got %s, %v, want a name of its own", second, err)
	}
}
