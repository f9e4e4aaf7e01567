package s3door_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/gateway"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/gateway/s3door"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/s3/endpoint"
	"github.com/statelatch/statelatch/s3/sigv4"
	"github.com/statelatch/statelatch/state"
)

const (
	key    = "app/terraform.tfstate"
	secret = "0123456789012345678901234567890123456789"
)

var ref = statelatch.Ref{Bucket: "states", Key: key}

// rig is a door over a bucket in memory. The access key ID of a client is its session.
type rig struct {
	t     *testing.T
	store *membucket.Bucket
	calls *faultbucket.Bucket
	url   string
}

func newRig(t *testing.T, cfg s3door.Config) *rig {
	t.Helper()
	rules, err := access.Parse([]byte(`
master_key_file = "master"
issuer "ci" {
  url      = "https://issuer.example"
  audience = "statelatch"
}
allow "operators" {
  issuer = "ci"
  claims = { sub = "op" }
  states = ["*"]
  may    = ["admin"]
}
allow "app" {
  issuer = "ci"
  claims = { sub = "*" }
  states = ["app/*", "env:/*/app/*"]
  may    = ["read", "lock", "write", "delete"]
}
`), "rules.hcl")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: membucket.New("states", membucket.Options{Versioned: true})}
	r.calls = faultbucket.New(r.store, faultbucket.Options{})
	states := &state.Store{Bucket: r.calls}
	cfg.Gateway, err = gateway.New(gateway.Config{
		Locks:  &lock.Manager{Bucket: r.calls, Tier: lock.TierFull, Fence: states.Touch},
		States: states, Rules: rules.Rules,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.SpoolDir = t.TempDir()
	srv := httptest.NewServer(endpoint.New(endpoint.Config{
		Store: s3door.New(cfg),
		Verifier: &sigv4.Verifier{Lookup: func(_ context.Context, id, _ string) (sigv4.Key, error) {
			sub, _, _ := strings.Cut(id, "-")
			return sigv4.Key{Secret: secret, Who: access.Session{ID: id, Principal: access.Principal{
				Name: "ci:" + sub, Issuer: "ci", Claims: map[string]string{"sub": sub},
			}}}, nil
		}},
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

// client is a plain client, as engines are.
func (r *rig) client(id string) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(r.url), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""), RetryMaxAttempts: 1, AppID: "HashiCorp",
	})
}

// ours is a client as Statelatch's commands are.
func (r *rig) ours(id string) *s3bucket.Bucket {
	r.t.Helper()
	b, err := s3bucket.Open(r.t.Context(), ref.Bucket, s3bucket.Config{
		Region: "us-east-1", Endpoints: s3bucket.Endpoints{S3: r.url}, UsePathStyle: true, AccessKey: id, SecretKey: secret,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func body(serial, size int) string {
	return fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":"l","outputs":{},"resources":[{"mode":"managed","name":%q}],"check_results":null}`+"\n",
		serial, strings.Repeat("x", size))
}

func put(t *testing.T, c *s3.Client, key, content string, absent bool) error {
	t.Helper()
	in := &s3.PutObjectInput{
		Bucket: aws.String(ref.Bucket), Key: aws.String(key), Body: strings.NewReader(content),
		ContentType: aws.String("application/json"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	}
	if absent {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := c.PutObject(t.Context(), in)
	return err
}

func get(t *testing.T, c *s3.Client, key, span string) (string, error) {
	t.Helper()
	in := &s3.GetObjectInput{Bucket: aws.String(ref.Bucket), Key: aws.String(key), ChecksumMode: types.ChecksumModeEnabled}
	if span != "" {
		in.Range = aws.String(span)
	}
	out, err := c.GetObject(t.Context(), in)
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	return string(data), err
}

func wantCode(t *testing.T, what string, err error, code string, words ...string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(api.ErrorMessage(), word) {
			t.Errorf("%s: got %q, want it to say %q", what, api.ErrorMessage(), word)
		}
	}
}

func lockBody(id string) string {
	info := statelatch.LockInfo{ID: id, Operation: "OperationTypeApply", Who: "ci@runner", Path: ref.Path()}
	return string(info.Marshal())
}

// What an engine sends for an apply, one after the other, and what reaches the bucket.
func TestDoor_EngineApply(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 6 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, s3door.Config{})
			c := r.client("app-1")
			if err := put(t, c, ref.LockKey(), lockBody("one"), true); err != nil {
				t.Fatal(err)
			}
			wantCode(t, "no state yet", func() error { _, err := get(t, c, key, ""); return err }(), "NoSuchKey")
			for serial := 1; serial <= 2; serial++ {
				content := body(serial, size)
				if size > 5<<20 {
					upload(t, c, content)
				} else if err := put(t, c, key, content, false); err != nil {
					t.Fatal(err)
				}
				before := r.calls.Count(faultbucket.OpGet, key)
				head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(ref.Bucket), Key: aws.String(key)})
				if err != nil || aws.ToInt64(head.ContentLength) != int64(len(content)) ||
					head.Metadata["statelatch-principal"] != "ci:app" {
					t.Fatalf("HEAD: %+v, %v", head, err)
				}
				var got bytes.Buffer
				for at := 0; at < len(content); at += 5 << 20 {
					part, err := get(t, c, key, fmt.Sprintf("bytes=%d-%d", at, at+5<<20-1))
					if err != nil {
						t.Fatal(err)
					}
					got.WriteString(part)
				}
				if got.String() != content {
					t.Error("the ranges are not what was written")
				}
				if n := r.calls.Count(faultbucket.OpGet, key) - before; n != 1 {
					t.Errorf("HEAD and ranges cost %d reads of the state, want 1", n)
				}
			}
			if seen, err := get(t, c, ref.LockKey(), ""); err != nil || !strings.Contains(seen, `"ID":"one"`) {
				t.Errorf("its lock: %s, %v", seen, err)
			}
			if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(ref.Bucket), Key: aws.String(ref.LockKey())}); err != nil {
				t.Error(err)
			}
			_, err := r.store.Head(t.Context(), ref.LockKey(), bucket.ReadOptions{})
			if !errors.Is(err, statelatch.ErrNotFound) {
				t.Errorf("the lock: %v, want it gone", err)
			}
		})
	}
}

// upload sends content as Terraform does above 5 MiB.
func upload(t *testing.T, c *s3.Client, content string) {
	t.Helper()
	if err := tryUpload(t, c, content); err != nil {
		t.Fatal(err)
	}
}

func tryUpload(t *testing.T, c *s3.Client, content string) error {
	t.Helper()
	up, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
		Bucket: aws.String(ref.Bucket), Key: aws.String(key), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil {
		t.Fatal(err)
	}
	var parts []types.CompletedPart
	for at := 0; at < len(content); at += 5 << 20 {
		n := int32(len(parts) + 1)
		out, err := c.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: aws.String(ref.Bucket), Key: aws.String(key), UploadId: up.UploadId, PartNumber: aws.Int32(n),
			Body: strings.NewReader(content[at:min(at+5<<20, len(content))]), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(n), ChecksumSHA256: out.ChecksumSHA256})
	}
	complete := func() error {
		_, err := c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
			Bucket: aws.String(ref.Bucket), Key: aws.String(key), UploadId: up.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		return err
	}
	if err := complete(); err != nil {
		return err
	}
	return complete() // as after a lost answer
}

// Another session, and one whose lock was forced away, write neither at once nor in parts.
func TestDoor_ForcedAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, s3door.Config{})
	first, second, op := r.client("app-1"), r.client("app-2"), r.client("op-1")
	if err := put(t, first, ref.LockKey(), lockBody("one"), true); err != nil {
		t.Fatal(err)
	}
	if err := put(t, first, key, body(1, 1), false); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "second", put(t, second, ref.LockKey(), lockBody("two"), true), "PreconditionFailed", "ci@runner", "one")
	remove := func(c *s3.Client, key string) error {
		_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(ref.Bucket), Key: aws.String(key)})
		return err
	}
	if _, err := get(t, second, ref.LockKey(), ""); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "without the right", remove(second, ref.LockKey()), "AccessDenied", "ci:app", "force-unlock")
	if _, err := get(t, op, ref.LockKey(), ""); err != nil {
		t.Fatal(err)
	}
	if err := remove(op, ref.LockKey()); err != nil {
		t.Fatal(err)
	}
	if err := put(t, second, ref.LockKey(), lockBody("two"), true); err != nil {
		t.Fatal(err)
	}
	if err := put(t, second, key, body(2, 2), false); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "at once", put(t, first, key, body(3, 3), false), "PreconditionFailed", "taken from this process")
	wantCode(t, "in parts", tryUpload(t, first, body(3, 6<<20)), "PreconditionFailed")
	if got, err := get(t, second, key, ""); err != nil || got != body(2, 2) {
		t.Errorf("stored is %.100s, %v", got, err)
	}
}

// Statelatch's own clients go through the door as they are: their conditions are passed on, and their locks exclude
// engines, and the other way round.
func TestDoor_OwnClients(t *testing.T) {
	t.Parallel()
	r := newRig(t, s3door.Config{})
	b := r.ours("app-9")
	states := &state.Store{Bucket: b}
	m := &lock.Manager{Bucket: b, Tier: lock.TierFull, Fence: states.Touch}
	tenure, err := m.Acquire(t.Context(), ref, lock.Request{Operation: "run", Who: "ana", TTL: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, "an engine", put(t, r.client("app-1"), ref.LockKey(), lockBody("one"), true), "PreconditionFailed", "ana")
	x, err := states.Begin(t.Context(), tenure)
	if err != nil {
		t.Fatal(err)
	}
	seq := tenure.Held().Managed.Seq
	for tenure.Held().Managed.Seq == seq { // until it was renewed
		time.Sleep(50 * time.Millisecond)
		if t.Context().Err() != nil || tenure.Err() != nil {
			t.Fatal(tenure.Err())
		}
	}
	if _, err := x.Write(t.Context(), strings.NewReader(body(1, 1)), state.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	// A takeover of it by another session wants the right to end locks.
	other := r.ours("app-8")
	theirs := &lock.Manager{Bucket: other, Tier: lock.TierFull, Fence: (&state.Store{Bucket: other}).Touch}
	held, err := theirs.Status(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.ForceRelease(t.Context(), held, lock.Request{Who: "bob"}); !errors.Is(err, statelatch.ErrDenied) &&
		!errors.Is(err, statelatch.ErrLocked) {
		t.Errorf("a takeover without the right: %v, want ErrDenied", err)
	}
	if weak, err := tenure.Release(t.Context()); weak || err != nil {
		t.Errorf("release: %v, %v", weak, err)
	}
	if err := put(t, r.client("app-1"), ref.LockKey(), lockBody("later"), true); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Acquire(t.Context(), ref, lock.Request{Who: "ana"}); !errors.Is(err, statelatch.ErrLocked) {
		t.Errorf("ours beside an engine's: %v, want ErrLocked", err)
	}
}

// A listing has what may be read.
func TestDoor_ListShowsWhatMayBeRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, s3door.Config{})
	for _, k := range []string{"app/a", "app/b", "app/b.tflock", "db/a", "env:/dev/app/a", "env:/dev/db/a", "env:/prod/app/a"} {
		if _, err := r.store.Put(t.Context(), k, strings.NewReader("{}"), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ who, prefix, delimiter, want string }{
		{"app-1", "", "", "app/a app/b app/b.tflock env:/dev/app/a env:/prod/app/a"},
		{"app-1", "env:/", "", "env:/dev/app/a env:/prod/app/a"},
		{"app-1", "", "/", "app/ env:/"},
		{"app-1", "app/", "/", "app/a app/b app/b.tflock"},
		{"op-1", "", "/", "app/ db/ env:/"},
		{"op-1", "db/", "", "db/a"},
	} {
		for _, page := range []int32{1, 2, 1000} {
			var got []string
			pages := s3.NewListObjectsV2Paginator(r.client(tc.who), &s3.ListObjectsV2Input{
				Bucket: aws.String(ref.Bucket), Prefix: aws.String(tc.prefix), Delimiter: aws.String(tc.delimiter), MaxKeys: aws.Int32(page),
			})
			for pages.HasMorePages() {
				out, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range out.CommonPrefixes {
					got = append(got, aws.ToString(p.Prefix))
				}
				for _, o := range out.Contents {
					got = append(got, aws.ToString(o.Key))
				}
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("%+v, %d a page: got %v", tc, page, got)
			}
		}
	}
}

// What a gateway does not serve it refuses by name.
func TestDoor_Refuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, s3door.Config{})
	c := r.client("op-1")
	b, k := aws.String(ref.Bucket), aws.String(key)
	for what, tc := range map[string]struct {
		do          func() error
		code, words string
	}{
		"CopyObject": {func() error {
			_, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: b, Key: k, CopySource: aws.String(ref.Bucket + "/other")})
			return err
		}, "NotImplemented", "CopyObject"},
		"versioning": {func() error {
			_, err := c.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: b})
			return err
		}, "NotImplemented", "GetBucketVersioning"},
		"another bucket": {func() error {
			_, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("other")})
			return err
		}, "NoSuchBucket", ""},
		"a new bucket": {func() error {
			_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("other")})
			return err
		}, "NotImplemented", "CreateBucket"},
		"a lock without condition": {func() error { return put(t, c, ref.LockKey(), lockBody("x"), false) }, "InvalidRequest", "If-None-Match"},
		"no lock":                  {func() error { return put(t, c, ref.LockKey(), "x", true) }, "InvalidRequest", ""},
		"no state":                 {func() error { return put(t, c, "other", "x", false) }, "PreconditionFailed", ""},
		"encryption": {func() error {
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("x"), ServerSideEncryption: types.ServerSideEncryptionAes256})
			return err
		}, "InvalidRequest", "encrypt=true"},
		"tags": {func() error {
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("x"), Tagging: aws.String("a=b")})
			return err
		}, "InvalidRequest", "state_tags"},
		"a version": {func() error {
			_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: b, Key: k, VersionId: aws.String("v")})
			return err
		}, "PreconditionFailed", "versions"},
	} {
		if what == "no state" { // it is judged once the lock is held
			if err := put(t, c, "other.tflock", lockBody("o"), true); err != nil {
				t.Fatal(err)
			}
			tc.code = "InvalidRequest"
		}
		if err := tc.do(); tc.words == "" {
			wantCode(t, what, err, tc.code)
		} else {
			wantCode(t, what, err, tc.code, tc.words)
		}
	}
}
