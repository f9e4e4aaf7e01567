package stores

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// awsRig is a running store and the real aws command.
type awsRig struct {
	*rig.World
	program string
	server  *rig.Server
}

func newAWSRig(t *testing.T) *awsRig {
	t.Helper()
	w := rig.NewWorld(t)
	return &awsRig{World: w, program: rig.Need(t, "aws"), server: w.Serve()}
}

// try runs the command. The endpoint is given outright: Debian's version does not read it from the environment.
func (r *awsRig) try(args ...string) rig.Result {
	r.T.Helper()
	return r.Run(r.Home, r.program, append([]string{"--endpoint-url", r.server.URL}, args...)...)
}

// aws is try that demands success.
func (r *awsRig) aws(args ...string) rig.Result {
	r.T.Helper()
	res := r.try(args...)
	if res.Code != 0 {
		r.T.Fatalf("aws %s: %v", strings.Join(args, " "), res)
	}
	return res
}

func (r *awsRig) api(into any, args ...string) {
	r.T.Helper()
	out := r.aws(append([]string{"s3api", "--output", "json"}, args...)...).Stdout
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		r.T.Fatalf("aws s3api %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// wantFailure is want for any exit code but 0: the aws command's differ between versions.
func wantFailure(t *testing.T, what string, r rig.Result, text string) {
	t.Helper()
	if r.Code == 0 || !strings.Contains(r.Stderr, text) {
		t.Fatalf("%s: want a failure that says %q: %v", what, text, r)
	}
}

// The tutorial's order: bucket, versioning, encryption, public access block, then objects.
func TestAWS_BucketTutorial(t *testing.T) {
	t.Parallel()
	r := newAWSRig(t)
	r.api(nil, "create-bucket", "--bucket", "plain")
	r.api(nil, "create-bucket", "--bucket", "located", "--create-bucket-configuration", "LocationConstraint=eu-central-1")
	var location struct{ LocationConstraint *string }
	r.api(&location, "get-bucket-location", "--bucket", "located")
	if location.LocationConstraint == nil || *location.LocationConstraint != "eu-central-1" {
		t.Errorf("location %v, want the one given", location.LocationConstraint)
	}
	r.api(&location, "get-bucket-location", "--bucket", "plain")
	if location.LocationConstraint != nil {
		t.Errorf("location %q, want none", *location.LocationConstraint)
	}
	r.api(nil, "create-bucket", "--bucket", "plain") // as in us-east-1, again is fine
	again := r.try("s3api", "create-bucket", "--bucket", "located", "--create-bucket-configuration", "LocationConstraint=eu-central-1")
	wantFailure(t, "create again elsewhere", again, "BucketAlreadyOwnedByYou")

	const b = "located"
	r.api(nil, "put-bucket-versioning", "--bucket", b, "--versioning-configuration", "Status=Enabled")
	var versioning struct{ Status string }
	r.api(&versioning, "get-bucket-versioning", "--bucket", b)
	if versioning.Status != "Enabled" {
		t.Errorf("versioning %q", versioning.Status)
	}
	r.api(nil, "put-bucket-encryption", "--bucket", b, "--server-side-encryption-configuration",
		`{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}`)
	r.api(nil, "put-public-access-block", "--bucket", b, "--public-access-block-configuration",
		"BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true")
	var access struct {
		PublicAccessBlockConfiguration struct{ BlockPublicAcls, RestrictPublicBuckets bool }
	}
	r.api(&access, "get-public-access-block", "--bucket", b)
	if c := access.PublicAccessBlockConfiguration; !c.BlockPublicAcls || !c.RestrictPublicBuckets {
		t.Errorf("public access block %+v", c)
	}
	kms := r.try("s3api", "put-bucket-encryption", "--bucket", b, "--server-side-encryption-configuration",
		`{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"aws:kms"}}]}`)
	if kms.Code == 0 || !strings.Contains(kms.Stderr, "KMS") {
		t.Errorf("aws:kms: %v", kms)
	}
	unknown := r.try("s3api", "put-bucket-website", "--bucket", b, "--website-configuration", `{"IndexDocument":{"Suffix":"i"}}`)
	wantFailure(t, "website", unknown, "NotImplemented")

	file := filepath.Join(r.Home, "object")
	for _, content := range []string{"first", "second"} {
		r.Write(file, content)
		r.aws("s3", "cp", file, "s3://"+b+"/dir/object")
	}
	var head struct{ ServerSideEncryption, VersionId, ETag string } //nolint:revive // AWS's spelling
	r.api(&head, "head-object", "--bucket", b, "--key", "dir/object")
	if head.ServerSideEncryption != "AES256" || head.VersionId == "" {
		t.Errorf("head %+v, want AES256 by the bucket's default, and a version", head)
	}
	r.aws("s3", "rm", "s3://"+b+"/dir/object")
	var versions struct {
		Versions      []struct{ Key, VersionId string } //nolint:revive // AWS's spelling
		DeleteMarkers []struct{ Key, VersionId string } //nolint:revive // AWS's spelling
	}
	r.api(&versions, "list-object-versions", "--bucket", b)
	if len(versions.Versions) != 2 || len(versions.DeleteMarkers) != 1 {
		t.Fatalf("versions %+v, want two and a marker", versions)
	}
	back := filepath.Join(r.Home, "back")
	r.api(nil, "get-object", "--bucket", b, "--key", "dir/object", "--version-id", versions.Versions[1].VersionId, back)
	if got, err := os.ReadFile(back); err != nil || string(got) != "first" {
		t.Errorf("oldest version is %q, %v", got, err)
	}
	r.api(nil, "delete-object", "--bucket", b, "--key", "dir/object", "--version-id", versions.DeleteMarkers[0].VersionId)
	rig.Want(t, "ls after the marker is gone", r.aws("s3", "ls", "s3://"+b+"/dir/"), 0, "6 object")
}

func TestAWS_CopySyncPresign(t *testing.T) {
	t.Parallel()
	r := newAWSRig(t)
	tree := filepath.Join(r.Home, "tree")
	content := map[string]string{
		"a.txt": "a", "sub/b with space.txt": "b", "sub/ü+%.txt": "c", "big.bin": strings.Repeat("0123456789abcdef", 20<<16),
	}
	for name, text := range content {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		r.Write(path, text)
	}
	r.aws("s3", "sync", "--quiet", tree, "s3://terraform-state/tree")
	rig.Want(t, "second sync has nothing to do", r.aws("s3", "sync", tree, "s3://terraform-state/tree"), 0)
	if out := r.aws("s3", "sync", tree, "s3://terraform-state/tree").Stdout; strings.Contains(out, "upload") {
		t.Errorf("second sync uploads again: %s", out)
	}
	r.aws("s3", "cp", "--quiet", "--recursive", "s3://terraform-state/tree", "s3://terraform-state/copy")
	back := filepath.Join(r.Home, "back")
	r.aws("s3", "sync", "--quiet", "s3://terraform-state/copy", back)
	for name, text := range content {
		if got, err := os.ReadFile(filepath.Join(back, name)); err != nil || string(got) != text {
			t.Errorf("%s came back with %d bytes, %v; want %d", name, len(got), err, len(text))
		}
	}
	rig.Want(t, "ls", r.aws("s3", "ls", "s3://terraform-state/tree/"), 0, "PRE sub/", "a.txt", "20971520 big.bin")
	rig.Want(t, "ls of buckets", r.aws("s3", "ls"), 0, "terraform-state")

	// Version 1 of the command presigns with the old signature unless told.
	r.Write(r.Env["AWS_CONFIG_FILE"], "[default]\nregion = us-east-1\n[profile statelatch]\nregion = us-east-1\ns3 =\n  signature_version = s3v4\n")
	url := strings.TrimSpace(r.aws("s3", "presign", "s3://terraform-state/tree/a.txt").Stdout)
	if got := rig.HTTPGet(t, url); got != "200 a" {
		t.Errorf("presigned: %s", got)
	}
	if got := rig.HTTPGet(t, strings.Replace(url, "a.txt", "big.bin", 1)); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, "SignatureDoesNotMatch") {
		t.Errorf("presigned for another key: %.200s", got)
	}
	if got := rig.HTTPGet(t, r.server.URL+"/terraform-state/tree/a.txt"); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, "AccessDenied") {
		t.Errorf("anonymous: %.200s", got)
	}
	r.aws("s3", "rm", "--quiet", "--recursive", "s3://terraform-state/copy")
	if out := r.try("s3", "ls", "s3://terraform-state/copy/"); strings.Contains(out.Stdout, "a.txt") {
		t.Errorf("left after rm: %v", out)
	}
	r.Env["AWS_ACCESS_KEY_ID"], r.Env["AWS_SECRET_ACCESS_KEY"] = "nobody", "nothing"
	wantFailure(t, "unknown key", r.try("s3", "ls"), "InvalidAccessKeyId")
}
