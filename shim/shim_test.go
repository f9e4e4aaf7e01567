package shim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engines makes a PATH with programs of these names.
func engines(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, programName(name)), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(d.path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", d.path, err)
		}
	})
	return d
}

// Only engines that are installed get a shim: terragrunt takes tofu where it finds one.
func TestDir_ShimsOfWhatIsThere(t *testing.T) {
	t.Parallel()
	path := engines(t, "terraform")
	d := open(t, path)
	env := d.Env([]string{"A=b", "PATH=" + path})
	bin := filepath.SplitList(strings.TrimPrefix(env[1], "PATH="))[0]
	if !hasShims(bin) {
		t.Fatalf("the first in %s has no shims", env[1])
	}
	if _, err := os.Stat(filepath.Join(bin, programName("terraform"))); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(bin, programName("tofu"))); !os.IsNotExist(err) {
		t.Errorf("there is a shim of tofu, which is not installed: %v", err)
	}
	for program, want := range map[string]string{
		"terraform": filepath.Join(bin, programName("terraform")), "tofu": "tofu", "make": "make", "./no/terraform": "./no/terraform",
		filepath.Join(path, "terraform"): filepath.Join(d.path, directDir, programName("terraform")),
	} {
		if got, err := d.Program(program); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", program, got, err, want)
		}
	}
	if got := d.Env([]string{"A=b"}); got[1] != "PATH="+bin {
		t.Errorf("without a PATH: got %q", got)
	}
}

// The next engine is behind every shim, also those of a run around this one.
func TestNext(t *testing.T) {
	t.Parallel()
	real := engines(t, "terraform")
	inner, outer := open(t, real), open(t, real)
	list := strings.Join([]string{filepath.Join(inner.path, binDir), filepath.Join(outer.path, binDir), "", t.TempDir(), real}, string(os.PathListSeparator))
	if got, err := next("terraform", list); err != nil || filepath.Dir(got) != real {
		t.Errorf("got %q, %v, want the one in %s", got, err, real)
	}
	if _, err := next("tofu", list); err == nil || !strings.Contains(err.Error(), "tofu") {
		t.Errorf("got %v", err)
	}
	if above, ok := Find(list); !ok || above.dir != inner.path {
		t.Errorf("got %v, %t, want the inner run", above, ok)
	}
	if _, ok := Find(real); ok {
		t.Error("a run was found in a PATH without one")
	}
}

// cached makes a directory that init left with a backend.
func cached(t *testing.T, kind, key string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".terraform"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"version":3,"backend":{"type":%q,"config":{"bucket":"b","key":%q}}}`, kind, key)
	if err := os.WriteFile(filepath.Join(dir, ".terraform", "terraform.tfstate"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAsk_Decide(t *testing.T) {
	t.Parallel()
	mine, empty := cached(t, "s3", "k"), t.TempDir()
	elsewhere := cached(t, "azurerm", "k")
	const held, own, silent = "held", "keeps its own lock", ""
	for _, tc := range []struct {
		dir, line, env string
		want           string
		asked          string // of the holder: the ref, and "only" where nothing may be locked
	}{
		{mine, "apply", "", held, "s3://b/k"},
		{mine, "plan", "", held, "s3://b/k"},
		{mine, "plan -lock=false", "", silent, ""},
		{mine, "apply -lock=false", "", held, "s3://b/k"},
		{mine, "output", "", silent, ""},
		{empty, "-chdir=" + mine + " apply", "", held, "s3://b/k"},
		{mine, "apply", "TF_WORKSPACE=w", held, "s3://b/env:/w/k"},
		{mine, "workspace delete w", "", held, "s3://b/env:/w/k only"},
		{mine, "workspace delete", "", own, ""},
		{mine, "console", "", own, "s3://b/k only"},
		{mine, "init", "", silent, ""}, // its configuration says nothing
		{mine, "-new-global apply", "", own, ""},
		{mine, "apply no-such-plan", "", silent, ""},
		{mine, "apply", "TF_WORKSPACE=../x", own, ""},
		{elsewhere, "apply", "", silent, ""},
		{empty, "apply", "", silent, ""},
	} {
		a := ask{Name: "terraform", Args: strings.Fields(tc.line), Dir: tc.dir}
		if tc.env != "" {
			a.Environ = []string{tc.env}
		}
		asked := ""
		got := a.decide(t.Context(), func(_ context.Context, r Request, _ func(string)) Answer {
			asked = r.State.Ref.String()
			if r.OnlyIfHeld {
				asked += " only"
			}
			return Answer{Held: true}
		}, nil)
		result := silent
		switch {
		case got.Held:
			result = held
		case got.Why != "":
			result = own
		}
		if result != tc.want || asked != tc.asked {
			t.Errorf("%s (%s): got %q, asked %q, want %q, %q", tc.line, tc.env, result, asked, tc.want, tc.asked)
		}
	}
}

func TestDir_Serve(t *testing.T) {
	t.Parallel()
	ref := statelatch.Ref{Bucket: "b", Key: "k"}
	d := open(t, engines(t, "terraform"))
	above := Above{d.path}
	waits := cached(t, "s3", "waits")
	waiting, ended := make(chan struct{}), make(chan struct{})
	d.Serve(t.Context(), func(ctx context.Context, r Request, say func(string)) Answer {
		switch {
		case r.OnlyIfHeld:
			return Answer{Held: r.State.Ref == ref}
		case r.Dir == waits:
			close(waiting)
			<-ctx.Done()
			close(ended)
			return Answer{}
		}
		say("two\nlines\n")
		return Answer{ExitCode: 11}
	})
	if !above.Holds(t.Context(), ref, "") || above.Holds(t.Context(), statelatch.Ref{Bucket: "b", Key: "other"}, "") {
		t.Error("what is held is told wrong")
	}
	said := ""
	mine := cached(t, "s3", "k")
	answer, err := above.send(t.Context(), ask{Name: "terraform", Args: []string{"apply"}, Dir: mine}, func(text string) { said += text })
	if err != nil || answer.ExitCode != 11 || said != "two\nlines\n" {
		t.Errorf("got %+v, %v, %q", answer, err, said)
	}
	// Who asks and goes away waits for nothing any more.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := above.send(ctx, ask{Name: "terraform", Args: []string{"apply"}, Dir: waits}, func(string) {})
		gone <- err
	}()
	<-waiting
	cancel()
	if err := <-gone; err == nil {
		t.Error("no error of a call that was given up")
	}
	<-ended
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := above.send(t.Context(), ask{Ref: &ref}, func(string) {}); err == nil {
		t.Error("an answer after the end")
	}
	if above.Holds(t.Context(), ref, "") {
		t.Error("held by nobody")
	}
}

func TestMain_NoShim(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("programs are known by another rule there")
	}
	for _, args := range [][]string{nil, {"statelatch"}, {filepath.Join(engines(t, "terraform"), "terraform")}, {"no-such-dir/terraform"}} {
		if code, ok := Main(args); ok {
			t.Errorf("%q: taken for a shim, exit code %d", args, code)
		}
	}
}

// What says which state is meant and where it is reaches the run above; what is none of its business does not.
func TestTelling(t *testing.T) {
	t.Parallel()
	env := []string{"PATH=/bin", "HOME=/h", "AWS_PROFILE=p", "https_proxy=x", "TF_WORKSPACE=w", "SECRET=s", "USERPROFILE=u", "HOMEPAGE=p"}
	want := []string{"HOME=/h", "AWS_PROFILE=p", "https_proxy=x", "TF_WORKSPACE=w", "USERPROFILE=u"}
	if got := telling(env); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
