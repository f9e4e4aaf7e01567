package bootstrap

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/statelatch/statelatch"
)

func TestHCL_Parses(t *testing.T) {
	t.Parallel()
	full := desired()
	full.Encryption = "arn:aws:kms:eu-central-1:123456789012:key/k"
	full.RequireConditions, full.LogBucket, full.LogPrefix = true, "logs", `a"${x}%{y}`
	http := desired()
	http.Endpoint = "http://127.0.0.1:1"
	for name, tc := range map[string]struct {
		desired Desired
		want    []string // besides those that are always there
	}{
		"plain": {desired(), []string{"aws_s3_bucket_policy"}},
		"full":  {full, []string{"aws_s3_bucket_policy", "aws_s3_bucket_logging"}},
		"http":  {http, nil},
	} {
		text, err := HCL(tc.desired)
		if err != nil {
			t.Fatal(err)
		}
		file, diags := hclsyntax.ParseConfig([]byte(text), name, hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("%s: %v\n%s", name, diags, text)
		}
		got := map[string]bool{}
		for _, b := range file.Body.(*hclsyntax.Body).Blocks {
			got[b.Labels[0]] = true
		}
		want := append([]string{
			"aws_s3_bucket", "aws_s3_bucket_public_access_block", "aws_s3_bucket_ownership_controls",
			"aws_s3_bucket_server_side_encryption_configuration", "aws_s3_bucket_versioning", "aws_s3_bucket_lifecycle_configuration",
		}, tc.want...)
		for _, w := range want {
			if !got[w] {
				t.Errorf("%s: no %s", name, w)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
		for _, b := range file.Body.(*hclsyntax.Body).Blocks {
			prefix, ok := b.Body.Attributes["target_prefix"]
			if !ok {
				continue
			}
			if v, diags := prefix.Expr.Value(nil); diags.HasErrors() || v.AsString() != full.LogPrefix {
				t.Errorf("log prefix: got %v (%v), want %q", v, diags, full.LogPrefix)
			}
		}
	}
}

func TestScript_Quotes(t *testing.T) {
	t.Parallel()
	d := desired()
	d.LogBucket, d.LogPrefix = "logs", "it's $(x)"
	text, err := Script(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`it'\''s $(x)`, "set -euo pipefail", "LocationConstraint='eu-central-1'", "TlsOnly", `"ObjectSizeLessThan":2048`} {
		if !strings.Contains(text, want) {
			t.Errorf("the script lacks %q:\n%s", want, text)
		}
	}
}

// What cannot be seen may be there: the script ends instead of replacing it.
func TestScript_ReplacesNothing(t *testing.T) {
	t.Parallel()
	d := desired()
	d.Endpoint, d.Owner = "", "123456789012"
	text, err := Script(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"AWS_DEFAULT_REGION='eu-central-1'", "--expected-bucket-owner '123456789012'", "get-caller-identity"} {
		if !strings.Contains(text, want) {
			t.Errorf("the script lacks %q:\n%s", want, text)
		}
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for denied, wrote := range map[string]string{"get-bucket-policy": "put-bucket-lifecycle-configuration", "head-bucket": "", "nothing": "put-bucket-policy"} {
		dir := t.TempDir()
		fake := "#!" + bash + "\n" + `echo "$@" >>"$0.log"
case "$*" in *` + denied + `*) echo "An error occurred (AccessDenied)" >&2; exit 254 ;; esac
case $2 in
  get-caller-identity) echo 123456789012 ;;
  head-bucket) echo "An error occurred (404) when calling" >&2; exit 254 ;;
  get-bucket-policy) echo "An error occurred (NoSuchBucketPolicy)" >&2; exit 254 ;;
  get-bucket-lifecycle-configuration) echo "An error occurred (NoSuchLifecycleConfiguration)" >&2; exit 254 ;;
esac
`
		if err := os.WriteFile(filepath.Join(dir, "aws"), []byte(fake), 0o700); err != nil {
			t.Fatal(err)
		}
		run := exec.CommandContext(t.Context(), bash, "-c", text)
		run.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
		out, err := run.CombinedOutput()
		if ended := err != nil; ended != (denied != "nothing") {
			t.Errorf("%s denied: ended with %v\n%s", denied, err, out)
		}
		log, _ := os.ReadFile(filepath.Join(dir, "aws.log"))
		last := ""
		for line := range strings.Lines(string(log)) {
			if verb := strings.Fields(line)[1]; strings.HasPrefix(verb, "put") || strings.HasPrefix(verb, "create") {
				last = verb
			}
		}
		if last != wrote {
			t.Errorf("%s denied: wrote %q last, want %q", denied, last, wrote)
		}
	}
}

func TestFormats_RefuseWhatIsNoName(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Desired){
		"region":     func(d *Desired) { d.Region = "x\nresource" },
		"bucket":     func(d *Desired) { d.Bucket = "${b}" },
		"owner":      func(d *Desired) { d.Owner = "1;x" },
		"log bucket": func(d *Desired) { d.LogBucket = "a b" },
		"log prefix": func(d *Desired) { d.LogBucket, d.LogPrefix = "logs", "a\nb" },
	} {
		d := desired()
		change(&d)
		if _, err := HCL(d); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}
