package main

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/digest"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

// tabled is a shell whose states have digests in a table.
type tabled struct {
	*shell
	items *dynamotest.Server
}

func newTabled(t *testing.T) *tabled {
	t.Helper()
	s := newShell(t).withStore()
	items := dynamotest.NewServer("locks")
	srv := httptest.NewServer(items)
	t.Cleanup(srv.Close)
	s.flags[1] = `endpoints={s3="` + s.url + `",dynamodb="` + srv.URL + `"}`
	s.flags = append(s.flags, "-backend-config", "dynamodb_table=locks")
	return &tabled{s, items}
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// set stores a digest item for a key.
func (s *tabled) set(key, digest string) {
	s.items.SetItem("locks", dynamotest.StringItem("demo/"+key+"-md5", "Digest", digest))
}

// remove deletes an object.
func (s *tabled) remove(key string) {
	s.t.Helper()
	b, err := s3bucket.Open(s.t.Context(), "demo", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: s.url}, Region: "us-east-1", AccessKey: "key", SecretKey: "secret-key",
	})
	if err == nil {
		_, err = b.Delete(s.t.Context(), key, bucket.DeleteOptions{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// wantDigest checks the item of a key; empty is none.
func (s *tabled) wantDigest(key, want string) {
	s.t.Helper()
	item, _ := s.items.Item("locks", "demo/"+key+"-md5")
	if got, _ := item["Digest"]["S"].(string); got != want {
		s.t.Errorf("digest of %s: got %q, want %q", key, got, want)
	}
}

const demoKey = "app/terraform.tfstate"

func TestDigest_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("digest", "check", demoRef), 2, "no DynamoDB table is configured", "dynamodb_table=NAME")
	s.want(s.run("digest", "fix", "s3://demo/"), 2, "no DynamoDB table is configured")
	s.want(s.run("digest", "check", "-versions=-1", demoRef), 2, "-versions -1")
	s.want(s.runContext(t.Context(), "digest", "mend"), 2, "mend")
	s.want(s.runContext(t.Context(), "digest", "fix", "-h"), 0, "-accept", "-versions N", "Examples:")
}

// A file-only writer makes a digest stale: check names the version that it is of, fix mends it under the lock.
func TestDigest_Stale(t *testing.T) {
	t.Parallel()
	s := newTabled(t)
	older, now := stateBody(1, "aaaaaaaa-1", "a"), stateBody(2, "aaaaaaaa-1", "b")
	s.put(demoKey, []byte(older))
	s.set(demoKey, md5Hex(older))
	s.want(s.run("digest", "check", demoRef), 0, "in step", "All in step: 1 digest")
	s.put(demoKey, []byte(now))
	s.want(s.run("digest", "check", demoRef), 1, "stale", md5Hex(older), md5Hex(now), "locks by file alone", "serial 1", "statelatch digest fix ")

	s.want(s.run("digest", "fix", demoRef), 2, "to be set to "+md5Hex(now), "-auto-approve")
	s.want(s.run("digest", "fix", "-dry-run", demoRef), 0, "to be set to")
	s.typed = "no\n"
	s.want(s.run("digest", "fix", demoRef), 1, "not confirmed")
	s.wantDigest(demoKey, md5Hex(older))

	s.typed = ""
	s.want(s.run("lock", demoRef), 0)
	s.want(s.run("digest", "fix", "-auto-approve", demoRef), 11, "Left alone", "1 digest left alone")
	s.wantDigest(demoKey, md5Hex(older))
	s.want(s.run("unlock", demoRef), 0)

	s.typed = "yes\n"
	s.want(s.run("digest", "fix", demoRef), 0, "Set the digest of "+demoRef)
	s.wantDigest(demoKey, md5Hex(now))
	s.want(s.run("digest", "fix", demoRef), 0, "Nothing to do")
	s.want(s.run("status", demoRef), 0, "not locked")
}

// A state that is older than its digest, or another one, is not blessed unless somebody says so.
func TestDigest_Fix_WantsAccept(t *testing.T) {
	t.Parallel()
	digestOf := stateBody(5, "aaaaaaaa-1", "newest")
	for name, tc := range map[string]struct {
		before, now string // empty now: deleted
		reading     string
	}{
		"rolled back":     {digestOf, stateBody(4, "aaaaaaaa-1", "old"), "the state was rolled back or lost: its serial is 4"},
		"update lost":     {digestOf, stateBody(5, "aaaaaaaa-1", "other"), "an update was lost"},
		"another lineage": {digestOf, stateBody(9, "bbbbbbbb-2", "other"), "replaced by another one"},
		"no state":        {digestOf, "oops", "what is stored is no state"},
		"not known":       {stateBody(3, "aaaaaaaa-1", "x"), stateBody(6, "aaaaaaaa-1", "y"), "cannot be told"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTabled(t)
			s.put(demoKey, []byte(tc.before))
			s.put(demoKey, []byte(tc.now))
			s.set(demoKey, md5Hex(digestOf))
			s.want(s.run("digest", "check", demoRef), 1, tc.reading)
			s.want(s.run("digest", "fix", "-auto-approve", demoRef), 1, tc.reading, "left alone without -accept", "1 digest left")
			s.wantDigest(demoKey, md5Hex(digestOf))
			s.want(s.run("digest", "fix", "-auto-approve", "-accept", demoRef), 0, "Set the digest")
			s.wantDigest(demoKey, md5Hex(tc.now))
		})
	}
}

// What was not looked at may be what the digest is the only sign of.
func TestDigest_Fix_LimitedVersions(t *testing.T) {
	t.Parallel()
	s := newTabled(t)
	lost := strings.Replace(stateBody(3, "aaaaaaaa-1", "a"), `"resources":[]`, `"resources":[{"mode":"managed"}]`, 1)
	s.put(demoKey, []byte(lost))
	s.remove(demoKey)
	s.set(demoKey, md5Hex(lost))
	s.want(s.run("digest", "fix", "-versions", "1", "-auto-approve", demoRef), 1, "older versions were not looked at", "left alone without -accept")
	s.wantDigest(demoKey, md5Hex(lost))
	s.want(s.run("digest", "fix", "-versions", "2", "-auto-approve", demoRef), 1, "can be brought back")
	s.wantDigest(demoKey, md5Hex(lost))
}

// A state that was rolled back and then written on by those who look at no digest has a higher serial again, and lacks
// updates all the same.
func TestDigest_Fix_RolledBackAndWrittenOn(t *testing.T) {
	t.Parallel()
	s := newTabled(t)
	lost := stateBody(5, "aaaaaaaa-1", "newest")
	for _, body := range []string{lost, stateBody(4, "aaaaaaaa-1", "old"), stateBody(5, "aaaaaaaa-1", "on"), stateBody(6, "aaaaaaaa-1", "and on")} {
		s.put(demoKey, []byte(body))
	}
	s.set(demoKey, md5Hex(lost))
	s.want(s.run("digest", "fix", "-auto-approve", demoRef), 1, "serial stepped back", "left alone without -accept")
	s.wantDigest(demoKey, md5Hex(lost))
}

// A digest that was changed is an act like others: recorded, and not done where it cannot be.
func TestDigest_Fix_Recorded(t *testing.T) {
	t.Parallel()
	s := newTabled(t)
	older, now := stateBody(1, "aaaaaaaa-1", "a"), stateBody(2, "aaaaaaaa-1", "b")
	s.put(demoKey, []byte(older))
	s.put(demoKey, []byte(now))
	s.set(demoKey, md5Hex(older))
	s.env["STATELATCH_AUDIT_REQUIRED"] = "true"
	s.env["STATELATCH_AUDIT"] = "file:" + filepath.Join(t.TempDir(), "none", "x")
	s.want(s.run("digest", "fix", "-auto-approve", demoRef), exitError, "nothing was done")
	s.wantDigest(demoKey, md5Hex(older))
	location := "file:" + filepath.Join(t.TempDir(), "log")
	s.env["STATELATCH_AUDIT"] = location
	s.want(s.run("digest", "fix", "-auto-approve", demoRef), 0, "Set the digest")
	got := s.events(location)
	if len(got) != 2 || brief(got[0]) != "digest-fix intent "+demoRef || brief(got[1]) != "digest-fix ok "+demoRef+" 2" || got[1].LockID == "" || got[1].VersionID != "" ||
		!strings.Contains(got[1].Detail, md5Hex(older)) || !strings.Contains(got[1].Detail, md5Hex(now)) {
		t.Errorf("got %+v, want an intent and what was done", got)
	}
}

func TestDigest_Scope(t *testing.T) {
	t.Parallel()
	s := newTabled(t)
	full := strings.Replace(stateBody(3, "aaaaaaaa-1", "a"), `"resources":[]`, `"resources":[{"mode":"managed"}]`, 1)
	empty := `{"version":4,"serial":4,"lineage":"l","outputs":{},"resources":[]}`
	for key, body := range map[string]string{
		"prod/in.tfstate": full, "prod/stale.tfstate": full, "prod/lost.tfstate": full, "prod/destroyed.tfstate": empty, "prod/none.tfstate": full, "dev/bad.tfstate": full,
	} {
		s.put(key, []byte(body))
	}
	newer := strings.Replace(full, `"serial":3`, `"serial":4`, 1)
	s.put("prod/stale.tfstate", []byte(newer))
	for key, digest := range map[string]string{
		"prod/in.tfstate": md5Hex(full), "prod/stale.tfstate": md5Hex(full), "prod/lost.tfstate": md5Hex(full),
		"prod/destroyed.tfstate": md5Hex(empty), "prod/never.tfstate": md5Hex(full), "dev/bad.tfstate": "bad", "prod/../../x": md5Hex(full),
	} {
		s.set(key, digest)
	}
	s.remove("prod/lost.tfstate")
	s.remove("prod/destroyed.tfstate")
	s.put("zero/a.tfstate", nil)
	s.set("zero/a.tfstate", md5Hex(""))
	s.want(s.run("digest", "check", "s3://demo/zero/"), 1, "  stale   ", "of which it is the MD5", "take those for no state")
	s.want(s.run("digest", "fix", "-auto-approve", "s3://demo/zero/"), 0, "Removed the digest of s3://demo/zero/a.tfstate")
	s.wantDigest("zero/a.tfstate", "")
	s.remove("zero/a.tfstate")

	o := s.run("digest", "check", "-json", "s3://demo")
	s.want(o, 1)
	var got struct {
		Table   string
		Digests []struct {
			Key    string
			Status digest.Status
		}
		Totals struct{ Digests, Wrong, Without int }
	}
	if err := json.Unmarshal([]byte(o.out), &got); err != nil {
		t.Fatal(err)
	}
	status := map[string]digest.Status{}
	for _, f := range got.Digests {
		status[f.Key] = f.Status
	}
	for key, want := range map[string]digest.Status{
		"prod/in.tfstate": digest.InStep, "prod/stale.tfstate": digest.Stale, "prod/lost.tfstate": digest.Orphan, "prod/destroyed.tfstate": digest.Orphan,
		"prod/never.tfstate": digest.Orphan, "dev/bad.tfstate": digest.Malformed, "prod/../../x": digest.Foreign,
	} {
		if status[key] != want {
			t.Errorf("%s: got %q, want %q", key, status[key], want)
		}
	}
	if got.Totals.Digests != 7 || got.Totals.Wrong != 6 || got.Totals.Without != 1 || got.Table != "locks" {
		t.Errorf("totals: %+v", got)
	}
	s.want(s.run("digest", "check", "s3://demo/dev/"), 1, "1 digest in s3://demo/dev: 1 not in step")

	s.want(s.run("digest", "fix", "-auto-approve", "s3://demo/prod/"), 1,
		"can be brought back", "statelatch rollback", "left alone without -accept", "Removed the digest of s3://demo/prod/never.tfstate", "2 digests left")
	s.wantDigest("prod/stale.tfstate", md5Hex(newer))
	s.wantDigest("prod/lost.tfstate", md5Hex(full))
	s.wantDigest("prod/destroyed.tfstate", "")
	s.wantDigest("prod/never.tfstate", "")
	s.wantDigest("prod/../../x", md5Hex(full))
	s.wantDigest("dev/bad.tfstate", "bad")
	s.want(s.run("digest", "fix", "-auto-approve", "-accept", "-json", "s3://demo/prod/lost.tfstate"), 0, `"fixed":true`)
	s.wantDigest("prod/lost.tfstate", "")
}
