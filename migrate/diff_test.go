package migrate

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestFileEdit_Diff(t *testing.T) {
	t.Parallel()
	var before []string
	for i := range 20 {
		before = append(before, fmt.Sprintf("line %d\n", i))
	}
	after := append([]string{}, before...)
	after[2] = "changed\n"
	after = append(after[:15], after[16:]...)
	got := FileEdit{Path: "a/b.tf", Before: []byte(strings.Join(before, "")), After: []byte(strings.Join(after, "") + "end")}.Diff()
	want := "--- a/a/b.tf\n+++ b/a/b.tf\n@@ -1,6 +1,6 @@\n line 0\n line 1\n-line 2\n+changed\n line 3\n line 4\n line 5\n" +
		"@@ -13,8 +13,8 @@\n line 12\n line 13\n line 14\n-line 15\n line 16\n line 17\n line 18\n line 19\n+end\n\\ No newline at end of file\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestFileEdit_Diff_GitApplies lets git make the second version of the first.
func TestFileEdit_Diff_GitApplies(t *testing.T) {
	t.Parallel()
	git, err := exec.LookPath("git")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("git is not installed")
	}
	rnd := rand.New(rand.NewSource(2))
	dir := t.TempDir()
	var patch strings.Builder
	want := map[string]string{}
	for i := range 60 {
		text := func(n int) string {
			var b strings.Builder
			for range n {
				fmt.Fprintf(&b, "%d%s", rnd.Intn(3), []string{"\n", "\n", "\r\n"}[rnd.Intn(3)])
			}
			return b.String() + []string{"", "end"}[rnd.Intn(2)]
		}
		common := text(10)
		before, after := text(rnd.Intn(6))+common+text(1+rnd.Intn(4)), text(rnd.Intn(6))+common+text(1+rnd.Intn(4))
		if before == after {
			continue
		}
		name := []string{"f%d", "a b %d.tf", "é%d", "it's \"%d\"", "line\n%d", "\xff%d"}[i%6]
		name = fmt.Sprintf(name, i)
		write(t, dir, name, before)
		want[name] = after
		patch.WriteString(FileEdit{Path: name, Before: []byte(before), After: []byte(after)}.Diff())
	}
	cmd := exec.Command(git, "apply", "--whitespace=nowarn", "-")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(patch.String())
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir), "GIT_CONFIG_GLOBAL=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v: %s\n%s", err, out, patch.String())
	}
	for name, text := range want {
		if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != text {
			t.Errorf("%s: got %q, want %q", name, got, text)
		}
	}
}

// A diff ends up in logs of CI and in reviews: no value of an argument that is a secret may stand in it.
func TestFileEdit_Diff_Secrets(t *testing.T) {
	t.Parallel()
	const before = `terraform {
  backend "s3" {
    access_key     = "hush-1" # rotate
    secret_key     = "hush\"-2"
    dynamodb_table = "t"
    token          = "hush-3"
  }
}
provider "db" { password = "hush-4" }
variable "q" { api_token: "hush-5", "sse_customer_key" : "hush-6", secret = var.x, web_identity_token_file = "/shown", skip_credentials_validation = "shown" }
`
	after := strings.Replace(before, "    dynamodb_table = \"t\"\n", "", 1)
	after = strings.Replace(after, "access_key     =", "access_key =", 1)
	got := FileEdit{Path: "main.tf", Before: []byte(before), After: []byte(after)}.Diff()
	got += FileEdit{Path: "x.tf.json", Before: []byte(`{"secret_key":"hush-7","dynamodb_table":"t"}`), After: []byte(`{"secret_key":"hush-7"}`)}.Diff()
	if strings.Contains(got, "hush") || strings.Count(got, "(sensitive)") != 6 {
		t.Errorf("got\n%s\nwant no secret", got)
	}
	for _, want := range []string{"-    dynamodb_table = \"t\"", "# rotate", "-    access_key     = ", "+    access_key = "} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwithout %q", got, want)
		}
	}
}
