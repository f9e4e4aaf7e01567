package migrate

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func plan(t *testing.T, dir string, phase int) *Plan {
	t.Helper()
	p, err := scan(t, dir).Plan(phase)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func apply(t *testing.T, p *Plan) {
	t.Helper()
	if err := p.Apply(t.Context(), func(FileEdit) {}); err != nil {
		t.Fatal(err)
	}
}

// files reads a whole tree.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		all[name] = string(data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPlan_Statuses(t *testing.T) {
	t.Parallel()
	dir, truth := wild(t)
	before := files(t, dir)
	for phase := 1; phase <= 2; phase++ {
		want := map[string]string{}
		for _, r := range truth.Roots {
			want[r.Dir+" "+r.Variant] = []string{r.Plan1, r.Plan2}[phase-1]
		}
		for _, m := range plan(t, dir, phase).Moves {
			if w := want[m.Root.Dir+" "+m.Root.Variant]; m.Status != w {
				t.Errorf("phase %d of %s: got %s (%s), want %s", phase, m.Root.Name(), m.Status, m.Why, w)
			}
			if m.Status == MoveManual && len(m.Manual) == 0 {
				t.Errorf("phase %d of %s: by hand, but no edit is told", phase, m.Root.Name())
			}
			if (m.Status == MoveRefused) != (m.Status == MoveRefused && m.Why != "" && m.Fix != "") {
				t.Errorf("phase %d of %s: refused without a reason or a fix", phase, m.Root.Name())
			}
		}
	}
	if !maps.Equal(before, files(t, dir)) {
		t.Error("a plan has changed files")
	}
}

var touched = regexp.MustCompile(`use_lockfile|dynamodb|endpoints`)

func TestApply_BothPhases(t *testing.T) {
	t.Parallel()
	dir, truth := wild(t)
	original := files(t, dir)
	phases := map[string]Phase{}
	for _, r := range truth.Roots {
		phases[r.Dir+" "+r.Variant] = Phase(r.Phase)
	}
	for phase := 1; phase <= 2; phase++ {
		before := files(t, dir)
		p := plan(t, dir, phase)
		if len(p.Files) < 30 {
			t.Errorf("phase %d edits %d files, want 30 at least", phase, len(p.Files))
		}
		apply(t, p)
		for name, text := range files(t, dir) {
			checkEdit(t, name, before[name], text)
		}
		for _, m := range p.Moves {
			if m.Status == MoveEdit {
				phases[m.Root.Dir+" "+m.Root.Variant] = []Phase{PhaseBoth, PhaseLockfile}[phase-1]
			}
		}
		now := scan(t, dir)
		for i := range now.Roots {
			r := &now.Roots[i]
			if want := phases[r.Dir+" "+r.Variant]; r.Phase != want {
				t.Errorf("after phase %d %s is at %s, want %s", phase, r.Name(), r.Phase, want)
			}
		}
		if again := plan(t, dir, phase); len(again.Files) != 0 {
			t.Errorf("phase %d again edits %s", phase, again.Files[0].Path)
		}
	}
	for name, text := range files(t, dir) {
		got, want := commentsOf([]byte(text), name, true), commentsOf([]byte(original[name]), name, true)
		if !strings.HasSuffix(name, ".json") && !slices.Equal(got, want) {
			t.Errorf("%s: got comments %q, want %q", name, got, want)
		}
	}
}

// checkEdit compares all lines but those that an edit is about; in those that stay, only blanks may differ.
func checkEdit(t *testing.T, name, before, after string) {
	t.Helper()
	rest := func(text string) []string {
		var kept []string
		for line := range strings.Lines(text) {
			bare := strings.Join(strings.Fields(line), " ")
			if !touched.MatchString(line) && strings.Trim(bare, "#/* ") != "" {
				kept = append(kept, bare+line[len(strings.TrimRight(line, "\r\n")):])
			}
		}
		return kept
	}
	if strings.HasSuffix(name, ".json") {
		return // TestEdit_Golden has those
	}
	// What is left of a removed argument is its comment.
	left := func(lines []string) []string {
		return slices.DeleteFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "#") || strings.HasPrefix(l, "//") || strings.HasPrefix(l, "/*")
		})
	}
	x, y := left(rest(before)), left(rest(after))
	if strings.Contains(name, "oneline") {
		return // its block gets lines of its own
	}
	if strings.TrimRight(strings.Join(x, ""), "\r\n") != strings.TrimRight(strings.Join(y, ""), "\r\n") {
		t.Errorf("%s: more has changed than was asked for:\n%s\n---\n%s", name, before, after)
	}
	if strings.Count(after, "\r\n") > 0 && strings.Count(after, "\r\n") != strings.Count(after, "\n") {
		t.Errorf("%s: its line ends are mixed", name)
	}
}

func TestApply_StopsAnywhereAndGoesOn(t *testing.T) {
	t.Parallel()
	dir, _ := wild(t)
	for phase := 1; phase <= 2; phase++ {
		whole := plan(t, dir, phase)
		now := scan(t, dir)
		for range len(whole.Files)/4 + 1 {
			ctx, cancel := context.WithCancel(t.Context())
			written := 0
			p, err := now.Plan(phase)
			if err != nil {
				t.Fatal(err)
			}
			err = p.Apply(ctx, func(FileEdit) {
				if written++; written == 4 {
					cancel()
				}
			})
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			now = scan(t, dir)
			for _, f := range now.Findings {
				if f.ID == "mixed-phases" && !strings.HasPrefix(f.File, "conflict/") && !strings.HasPrefix(f.File, "odd/twin") {
					t.Fatalf("stopped in phase %d: %s: %s", phase, f.File, f.Text)
				}
			}
		}
		for _, f := range whole.Files {
			if got, _ := os.ReadFile(filepath.Join(dir, f.Path)); !bytes.Equal(got, f.After) {
				t.Errorf("phase %d: %s is not what was planned at first", phase, f.Path)
			}
		}
	}
}

func TestApply_ChangedFile(t *testing.T) {
	t.Parallel()
	dir, _ := wild(t)
	p := plan(t, dir, 1)
	name := filepath.Join(dir, p.Files[0].Path)
	if err := os.WriteFile(name, append(p.Files[0].Before, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	if err := p.Apply(t.Context(), func(FileEdit) {}); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
	if !maps.Equal(before, files(t, dir)) {
		t.Error("files have changed")
	}
}

func TestApply_KeepsModesAndLinks(t *testing.T) {
	t.Parallel()
	dir, _ := wild(t)
	target := filepath.Join(dir, "odd/shared/backend.txt")
	if err := os.Chmod(target, 0o640); err != nil {
		t.Fatal(err)
	}
	apply(t, plan(t, dir, 1))
	link, err := os.Lstat(filepath.Join(dir, "odd/linked/backend.tf"))
	if err != nil || link.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", link, err)
	}
	info, err := os.Stat(target)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v (%v), want mode 640", info.Mode(), err)
	}
	if text, _ := os.ReadFile(target); !bytes.Contains(text, []byte("use_lockfile")) {
		t.Error("the file behind the link is as it was")
	}
}

func TestPlan_Together(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const block = "terraform {\n  required_version = \"VERSION\"\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"k\"\n    dynamodb_table = \"t\"\n  }\n}\n"
	write(t, dir, "a/main.tf", strings.ReplaceAll(block, "VERSION", ">= 1.10"))
	write(t, dir, "b/main.tf", strings.ReplaceAll(block, "VERSION", ">= 1.5"))
	p := plan(t, dir, 1)
	if m := p.Moves[0]; len(p.Files) != 0 || m.Status != MoveRefused || !strings.Contains(m.Why, "s3://b/k") || !strings.Contains(m.Why, "1.5") {
		t.Errorf("got %s: %s and %d files, want a to wait for b", m.Status, m.Why, len(p.Files))
	}
	write(t, dir, "b/main.tf", strings.ReplaceAll(block, "VERSION", ">= 1.10"))
	if p := plan(t, dir, 1); len(p.Files) != 2 {
		t.Errorf("got %d files, want both", len(p.Files))
	}
}

func TestPlan_Phase(t *testing.T) {
	t.Parallel()
	if _, err := scan(t, t.TempDir()).Plan(3); err == nil || !strings.Contains(err.Error(), "phase 3") {
		t.Errorf("got %v, want the phase named", err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Two roots share a file by a symbolic link; one of them may not move.
func TestPlan_TogetherByLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "shared/backend.txt", "terraform {\n  backend \"s3\" {\n    dynamodb_table = \"t\"\n    bucket = \"b\"\n    key = var.key\n  }\n}\n")
	for name, version := range map[string]string{"new": ">= 1.10", "old": "~> 1.5.0"} {
		write(t, dir, name+"/main.tf", "terraform {\n  required_version = \""+version+"\"\n}\n")
		if err := os.Symlink("../shared/backend.txt", filepath.Join(dir, name, "backend.tf")); err != nil {
			t.Fatal(err)
		}
	}
	p := plan(t, dir, 1)
	if m := p.Moves[0]; len(p.Files) != 0 || m.Status != MoveRefused || !strings.Contains(m.Why, "shared/backend.txt") {
		t.Errorf("got %s: %s and %d files, want new to wait for old", m.Status, m.Why, len(p.Files))
	}
}

// Roots that share a -backend-config file with one that may not move get use_lockfile in their own blocks.
func TestPlan_OwnBlockInsteadOfSharedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const stub = "terraform {\n  required_version = \"VERSION\"\n  backend \"s3\" {\n    key = \"KEY\"\n  }\n}\n"
	write(t, dir, "config/backend.tfvars", "bucket = \"b\"\nregion = \"r\"\ndynamodb_table = \"t\"\n")
	for name, version := range map[string]string{"new": ">= 1.10", "old": "~> 1.5.0"} {
		write(t, dir, name+"/main.tf", strings.NewReplacer("VERSION", version, "KEY", name).Replace(stub))
	}
	write(t, dir, "empty/main.tf", "terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {} # see config\n}\n")
	write(t, dir, "empty/key.tfbackend", "bucket = \"b\"\nkey = \"empty\"\nregion = \"r\"\ndynamodb_table = \"t\"\n")
	p := plan(t, dir, 1)
	if got := p.Moves[1]; got.Status != MoveEdit || len(p.Files) != 2 || p.Files[1].Path != "new/main.tf" || !strings.Contains(string(p.Files[1].After), "    key          = \"new\"\n    use_lockfile = true\n") {
		t.Fatalf("got %s (%s) and %d files, want new to move in its own block", got.Status, got.Why, len(p.Files))
	}
	apply(t, p)
	for i, want := range []Phase{PhaseBoth, PhaseBoth, PhaseTable} {
		if r := scan(t, dir).Roots[i]; r.Phase != want {
			t.Errorf("%s: got phase %s, want %s", r.Name(), r.Phase, want)
		}
	}
	p = plan(t, dir, 2)
	if got := p.Moves[1]; got.Status != MoveRefused { // the table of old is there until it has moved
		t.Errorf("phase 2: got %s, want new to wait for old", got.Status)
	}
}

func TestEdit_EmptyBlock(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{
		"terraform {\n  backend \"s3\" {} # see\n}\n":       "terraform {\n  backend \"s3\" {\n    use_lockfile = true\n  } # see\n}\n",
		"terraform {\r\n  backend \"s3\" {\r\n  }\r\n}\r\n": "terraform {\r\n  backend \"s3\" {\r\n    use_lockfile = true\r\n  }\r\n}\r\n",
		"terraform {\n  backend \"s3\" { # see\n  }\n}\n":   "",
	} {
		src := &source{rel: "main.tf", data: []byte(before)}
		var err error
		if src.doc, err = read(fileTerraform, src); err != nil {
			t.Fatal(err)
		}
		got, err := edit(src, 1, map[int]bool{0: true})
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", before, got, err)
		}
	}
}

// After one flag every root moves that can: what stays has no lock, or says itself that it cannot.
func TestPlan_OneFlag(t *testing.T) {
	t.Parallel()
	dir, truth := wild(t)
	found, err := Scan(t.Context(), dir, Options{Engine: "1.11.4"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := found.Plan(1)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, r := range truth.Roots {
		want[r.Dir+" "+r.Variant] = cmp.Or(r.Flagged, r.Plan1)
	}
	for _, m := range p.Moves {
		if got := m.Status; got != want[m.Root.Dir+" "+m.Root.Variant] {
			t.Errorf("%s: got %s (%s), want %s", m.Root.Name(), got, m.Why, want[m.Root.Dir+" "+m.Root.Variant])
		}
	}
}
