package dynamo_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/dynamo"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

// patience bounds every wait for an engine; nothing is measured with it.
const patience = 2 * time.Minute

// engines runs a test with terraform and with tofu, whichever is installed. On CI terraform must be.
func engines(t *testing.T, test func(*rig)) {
	t.Helper()
	for _, program := range []string{"terraform", "tofu"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(program)
			switch {
			case err == nil:
				test(newRig(t, path))
			case program == "terraform" && os.Getenv("CI") == "true":
				t.Fatal("terraform is not installed, and this is CI")
			default:
				t.Skipf("%s is not installed", program)
			}
		})
	}
}

// rig is an initialised directory whose backend has a bucket in the embedded store and a table in the fake.
type rig struct {
	t       *testing.T
	program string
	dir     string
	env     []string
	server  *dynamotest.Server
	table   *dynamo.Table
	bucket  bucket.Bucket
}

func newRig(t *testing.T, program string) *rig {
	t.Helper()
	home := t.TempDir()
	store, err := embedded.Open(embedded.Config{Dir: filepath.Join(home, "data"), AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secretexample"})
	if err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(store.Handler())
	t.Cleanup(func() {
		s3.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.EnsureBucket(t.Context(), testRef.Bucket); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, program: program, dir: filepath.Join(home, "project"), server: dynamotest.NewServer(tableName)}
	ddb := web(t, r.server)
	r.table = open(t, ddb)
	cfg := config()
	cfg.Endpoints.S3 = s3.URL
	if r.bucket, err = s3bucket.Open(t.Context(), testRef.Bucket, cfg); err != nil {
		t.Fatal(err)
	}
	r.env = []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1",
		"TF_CLI_CONFIG_FILE=" + filepath.Join(home, "rc"), "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secretexample",
	}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{
		"rc": "disable_checkpoint = true\n",
		"project/main.tf": fmt.Sprintf(`
terraform {
  backend "s3" {
    bucket = %q
    key = %q
    region = "us-east-1"
    dynamodb_table = %q
    endpoints = { s3 = %q, dynamodb = %q }
    use_path_style = true
    skip_credentials_validation = true
    skip_requesting_account_id = true
    skip_metadata_api_check = true
    skip_region_validation = true
  }
}
resource "terraform_data" "x" { input = "a" }
`, testRef.Bucket, testRef.Key, tableName, s3.URL, ddb),
	} {
		if err := os.WriteFile(filepath.Join(home, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.want(0, "", "init", "-input=false", "-no-color")
	return r
}

func (r *rig) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	r.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, r.program, args...)
	cmd.Dir, cmd.Env = r.dir, r.env
	return cmd
}

// want runs the engine and checks its exit code and that its output has a text.
func (r *rig) want(code int, text string, args ...string) {
	r.t.Helper()
	cmd := r.command(args...)
	output, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code || !strings.Contains(strings.Join(strings.Fields(string(output)), " "), text) {
		r.t.Fatalf("%s %s: %v, want exit %d and %q in\n%s", filepath.Base(r.program), strings.Join(args, " "), err, code, text, output)
	}
}

// holder starts an apply that waits at its prompt, holding the lock. answer ends it.
func (r *rig) holder() (answer func(line string)) {
	r.t.Helper()
	cmd := r.command("apply", "-no-color")
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		text, err := lines.ReadString(':')
		if err != nil {
			r.t.Fatalf("apply ended before its prompt: %v", err)
		}
		if strings.HasSuffix(text, "Enter a value:") {
			break
		}
	}
	return func(line string) {
		_, _ = fmt.Fprintln(in, line)
		_, _ = lines.WriteTo(new(strings.Builder))
		_ = cmd.Wait() // a declined apply exits with 1
	}
}

// What a live engine puts on the wire is what a Table puts there.
func TestTable_Interop_SameRequests(t *testing.T) {
	t.Parallel()
	engines(t, func(r *rig) {
		t := r.t
		r.want(0, "Apply complete!", "apply", "-auto-approve", "-no-color")
		r.want(0, "", "workspace", "new", "w")
		r.want(0, "", "workspace", "select", "default")
		r.want(0, "", "workspace", "delete", "w")
		compareRequests(t, r.server.Requests())
	})
}

// The engine holds: we are refused, see its lock and can take it away.
func TestTable_Interop_EngineHolds(t *testing.T) {
	t.Parallel()
	engines(t, func(r *rig) {
		t := r.t
		answer := r.holder()
		checkKind(t, r.table.Lock(t.Context(), testRef, testInfo), statelatch.ErrPreconditionFailed)
		raw, err := r.table.Read(t.Context(), testRef)
		if err != nil {
			t.Fatal(err)
		}
		holder, err := statelatch.ParseLockInfo([]byte(raw))
		if err != nil || holder.Operation != "OperationTypeApply" || holder.Path != testRef.Path() {
			t.Errorf("holder: got %+v, %v, want an apply of %s", holder, err, testRef.Path())
		}
		r.want(1, "ID: "+holder.ID, "plan", "-no-color")
		if err := r.table.Unlock(t.Context(), testRef, raw); err != nil {
			t.Fatal(err)
		}
		if err := r.table.Lock(t.Context(), testRef, testInfo); err != nil {
			t.Errorf("Lock after Unlock: %v", err)
		}
		answer("no")
	})
}

// We hold: the engine is refused, shows our lock, and can force it away, with whatever characters are in it
// (tofu deletes only what equals its own encoding).
func TestTable_Interop_WeHold(t *testing.T) {
	t.Parallel()
	engines(t, func(r *rig) {
		t := r.t
		info := testInfo
		info.Info = "freeze <b>&\u2028 until \"tomorrow\" \\ ☃"
		info.Created = time.Date(2026, 11, 21, 8, 7, 3, 500_000_000, time.FixedZone("CET", 3600))
		if err := r.table.Lock(t.Context(), testRef, info); err != nil {
			t.Fatal(err)
		}
		r.want(1, "ConditionalCheckFailedException", "plan", "-no-color")
		r.want(1, "ID: "+info.ID+" Path: "+info.Path+" Operation: OperationTypeApply Who: root@host", "plan", "-no-color")
		r.want(0, "unlocked", "force-unlock", "-force", info.ID)
		_, err := r.table.Read(t.Context(), testRef)
		checkKind(t, err, statelatch.ErrNotFound)
		r.want(0, "Apply complete!", "apply", "-auto-approve", "-no-color")
	})
}

// The digest of one is the digest of the other.
func TestTable_Interop_Digest(t *testing.T) {
	t.Parallel()
	engines(t, func(r *rig) {
		t := r.t
		r.want(0, "Apply complete!", "apply", "-auto-approve", "-no-color")
		_, state, err := bucket.ReadAll(t.Context(), r.bucket, testRef.Key, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		sum := md5.Sum(state)
		got, err := r.table.Digest(t.Context(), testRef)
		if want := hex.EncodeToString(sum[:]); err != nil || got != want {
			t.Fatalf("Digest: got %q, %v, want %q", got, err, want)
		}
		state = append(state, ' ')
		if _, err := r.bucket.Put(t.Context(), testRef.Key, bytes.NewReader(state), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		sum = md5.Sum(state)
		if err := r.table.SwapDigest(t.Context(), testRef, got, hex.EncodeToString(sum[:])); err != nil {
			t.Fatal(err)
		}
		r.want(0, "No changes", "plan", "-no-color")
	})
}
