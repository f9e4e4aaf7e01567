//go:build unix

package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostile is a tree that somebody filled to break whoever reads it, with one root like any other.
func hostile(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const block = "terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"KEY\"\n    dynamodb_table = \"t\"\n  }\n}\n"
	write(t, dir, "good/main.tf", strings.ReplaceAll(block, "KEY", "good"))
	write(t, dir, "deep/main.tf", block+"locals {\n  a = "+strings.Repeat("[", 20_000)+"\n}\n")
	write(t, dir, "blocks/main.tf", block+strings.Repeat("a {\n", 10_000))
	write(t, dir, "template/main.tf", block+"locals {\n  a = "+strings.Repeat(`"${`, 10_000)+"\n}\n")
	write(t, dir, "json/main.tf.json", `{"terraform": {"backend": {"s3": {"bucket": `+strings.Repeat("[", 20_000)+"}}}}")
	write(t, dir, "jsonstring/main.tf.json", `{"terraform": {"backend": {"s3": {"bucket": "${`+strings.Repeat("(", 20_000)+`}"}}}}`)
	write(t, dir, "bomb/main.tf", "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    key = "+strings.Repeat("[for a in [1, 2] : ", 40)+"1"+strings.Repeat("]", 40)+"\n    max_retries = 1e99999999\n    dynamodb_table = \"t\"\n  }\n}\n")
	write(t, dir, "text/main.tf", "terraform {\n  backend \"s3\" {\n    key = \""+strings.Repeat("$", 100_000)+"\"\n  }\n}\n")
	write(t, dir, "terragrunt.hcl", "remote_state {\n  backend = \"s3\"\n  config = "+strings.Repeat("(", 20_000)+"\n}\n")
	write(t, dir, "x.tfbackend", "bucket = "+strings.Repeat("{a=", 20_000)+"\n")
	write(t, dir, "Makefile", strings.Repeat("\tterraform init ", 10_000))
	write(t, dir, "yaml/b.yml", "x:\n"+strings.Repeat("- a: ${{ "+strings.Repeat("a ", 200)+"}}\n", 2000)+"terraform_version: ${{ a }}\n")
	write(t, dir, "yaml/c.yml", "terraform_version: "+strings.Repeat("[", 9000)+"\n")
	write(t, dir, "yaml/d.yml", "a: &a [x, x]\n"+"b: &b [*a, *a]\nc: &c [*b, *b, *c]\nterraform_version: *c\n")
	write(t, dir, "\xff\xfe/ma\xffin.tf", strings.ReplaceAll(block, "KEY", "bytes"))
	for _, name := range []string{"main.tf", "x.tfbackend", "terragrunt.hcl", ".terraform-version", "Makefile", ".tool-versions"} {
		if err := os.MkdirAll(filepath.Join(dir, "pipes"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(dir, "pipes", name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "directories", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir, "big/main.tf", "")
	if err := os.Truncate(filepath.Join(dir, "big/main.tf"), 4<<30); err != nil { // sparse
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"proc.tf": "/proc/kmsg", "zero.tf": "/dev/zero", "mem.tf": "/proc/self/mem", "me.tf": "me.tf", "up": "..", "root": "/", "tty.tf": "/dev/tty", "none.tf": "/nowhere", "dir.tf": "..",
	} {
		if err := os.MkdirAll(filepath.Join(dir, "links"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, "links", name)); err != nil {
			t.Fatal(err)
		}
	}
	below := filepath.Join(dir, "below")
	for range 200 {
		below = filepath.Join(below, "d")
	}
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestScan_HostileTree(t *testing.T) {
	t.Parallel()
	dir := hostile(t)
	found := scan(t, dir)
	unreadable := map[string]bool{}
	for _, f := range found.Findings {
		if f.ID == "unreadable" {
			unreadable[f.File] = true
		}
		if len(f.Text) > 2000 {
			t.Errorf("%s at %s is %d bytes long", f.ID, f.File, len(f.Text))
		}
	}
	for _, want := range []string{"deep/main.tf", "blocks/main.tf", "template/main.tf", "json/main.tf.json", "jsonstring/main.tf.json", "text/main.tf", "terragrunt.hcl", "x.tfbackend", "big/main.tf"} {
		if !unreadable[want] {
			t.Errorf("nobody says that %s was not read", want)
		}
	}
	p, err := found.Plan(1)
	if err != nil {
		t.Fatal(err)
	}
	var moved []string
	for _, f := range p.Files {
		moved = append(moved, f.Path)
	}
	if got, want := fmt.Sprintf("%q", moved), `["good/main.tf" "\xff\xfe/ma\xffin.tf"]`; got != want {
		t.Errorf("got %s to move, want %s", got, want)
	}
	apply(t, p)
	if text, _ := os.ReadFile(filepath.Join(dir, "\xff\xfe/ma\xffin.tf")); !bytes.Contains(text, []byte("use_lockfile")) {
		t.Error("a file whose name is not UTF-8 was not edited")
	}
}

// A scan ends when it is told to, however many entries a directory has.
func TestScan_Cancelled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 2 * batch {
		write(t, dir, fmt.Sprintf("%d.tf", i), "")
	}
	ctx := &countdown{Context: t.Context(), left: 3}
	if _, err := Scan(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if ctx.left < -3 {
		t.Errorf("it went on for %d looks at its context", -ctx.left)
	}
}

// countdown is over after it has been asked a few times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func (c *countdown) Deadline() (time.Time, bool) { return time.Time{}, false }
