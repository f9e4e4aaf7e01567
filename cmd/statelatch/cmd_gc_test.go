package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/gc"
	"github.com/statelatch/statelatch/lock"
)

// litter locks and unlocks states.
func (s *shell) litter(refs ...string) {
	s.t.Helper()
	for _, ref := range refs {
		for range 3 {
			s.want(s.run("lock", ref), 0)
			s.want(s.run("unlock", ref), 0)
		}
	}
}

// locks counts versions and delete markers of lock objects, and all others.
func (s *shell) count(name string) (locks, others int) {
	s.t.Helper()
	out, err := s.client().ListObjectVersions(s.t.Context(), &s3.ListObjectVersionsInput{Bucket: &name})
	if err != nil {
		s.t.Fatal(err)
	}
	var keys []string
	for _, v := range out.Versions {
		keys = append(keys, *v.Key)
	}
	for _, m := range out.DeleteMarkers {
		keys = append(keys, *m.Key)
	}
	for _, key := range keys {
		if strings.HasSuffix(key, ".tflock") {
			locks++
		} else {
			others++
		}
	}
	return locks, others
}

func TestGC(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	const held, other = "s3://demo/held/terraform.tfstate", "s3://demo/other/terraform.tfstate"
	s.want(s.run("gc", "s3://demo"), 0, "Nothing to collect")
	s.want(s.run("push", s.file(plainState(1, "a", "")), demoRef), 0)
	s.want(s.run("push", s.file(plainState(2, "a", oneResource)), demoRef), 0)
	s.litter(demoRef, held, other)
	s.want(s.run("lock", held), 0)
	before, states := s.count("demo")

	s.want(s.run("gc", "s3://demo"), 0, "no version of a lock may go (superseded more than 30 days ago)", fmt.Sprintf("%d stay", before))
	dry := s.run("gc", "-older-than", "0s", "-dry-run", "s3://demo")
	s.want(dry, 0, "held/terraform.tfstate.tflock", "of 3 lock objects", "1 stay.")
	if !strings.Contains(dry.out, "To remove from s3://demo") || dry.err != "" {
		t.Errorf("the plan of a dry run is its result: %+v", dry)
	}
	s.want(s.run("gc", "-older-than", "0s", "s3://demo"), 2, "-auto-approve", "To remove")
	s.typed = "no\n"
	s.want(s.run("gc", "-older-than", "0s", "s3://demo"), 1, "nothing was changed")
	s.typed = ""
	if locks, _ := s.count("demo"); locks != before {
		t.Fatalf("got %d versions of locks before anything was approved, want %d", locks, before)
	}

	s.want(s.run("gc", "-older-than", "0s", "-auto-approve", "s3://demo/other"), 0, "Removed 3 old versions and 3 delete markers")
	s.typed = "yes\n"
	s.want(s.run("gc", "-older-than", "0s", "s3://demo"), 0, "Removed", "delete markers")
	s.typed = ""
	if locks, others := s.count("demo"); locks != 1 || others != states {
		t.Errorf("got %d versions of locks and %d others, want the one that is held and %d", locks, others, states)
	}
	s.want(s.run("status", held), 11, "by you")
	s.want(s.run("status", demoRef), 0, "not locked")
	s.want(s.run("unlock", held), 0)
}

func TestGC_JSON(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.litter(demoRef)
	o := s.run("gc", "-json", "-older-than", "0s", "-auto-approve", "s3://demo")
	var got gc.Outcome
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || o.code != 0 {
		t.Fatalf("%v: %+v", err, o)
	}
	if got.Removed.Versions != 3 || got.Removed.Markers != 3 || got.Removed.Bytes == 0 || got.Planned.Bytes != got.Removed.Bytes ||
		!got.Versioned || !got.Before.IsZero() || got.Removed.Oldest.IsZero() || len(got.Keys) != 1 || got.Keys[0].Key != "app/terraform.tfstate.tflock" {
		t.Errorf("got %s", o.out)
	}
}

// Without the right nothing goes, and the missing statement is printed. Where only one version is refused the others go.
func TestGC_Denied(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.litter(demoRef, demoRef+"2")
	proxy := s.behindProxy()
	proxy.Add(deny("DELETE", "/demo/app/terraform.tfstate.tflock", "versionId="))
	s.want(s.run("gc", "-older-than", "0s", "-auto-approve", "s3://demo"), 0, "Removed 3 old versions and 3 delete markers", "refused 1 removal, so 6 stay", "Object Lock")
	s.want(s.run("gc", "-older-than", "0s", "-auto-approve", "s3://demo"), 14, "s3:DeleteObjectVersion", "Removed 0 old versions")
}

// In a bucket without versions there is nothing but snapshots, and those go only if that is asked for.
func TestGC_Unversioned(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.plainBucket("plain")
	const ref = "s3://plain/app/terraform.tfstate"
	for serial := 1; serial <= 5; serial++ {
		s.want(s.run("push", s.file(plainState(serial, "a", fmt.Sprintf(`{"mode":"managed","type":"t","name":"n%d"}`, serial))), ref), 0)
	}
	_, before := s.count("plain")
	if before != 5 {
		t.Fatalf("got %d objects, want the state and 4 snapshots", before)
	}
	s.want(s.run("gc", "-older-than", "0s", "s3://plain"), 0, "no old versions of locks are kept")
	s.want(s.run("gc", "-keep-snapshots", "0", "s3://plain"), 2, "at least 1")
	s.want(s.run("gc", "-keep-snapshots", "2", "-dry-run", "s3://plain"), 0, "2 snapshots", "newest 2")
	s.want(s.run("gc", "-keep-snapshots", "2", "-auto-approve", "s3://plain"), 0, "Removed 2 snapshots")
	if _, after := s.count("plain"); after != 3 {
		t.Errorf("got %d objects left, want the state and 2 snapshots", after)
	}
	for serial, code := range map[string]int{"5": 0, "4": 0, "3": 0, "2": 10} {
		if o := s.run("show", "-version", serial, ref); o.code != code {
			t.Errorf("serial %s: got exit %d, want %d: %s", serial, o.code, code, o.err)
		}
	}
	s.want(s.run("gc", "-keep-snapshots", "2", "s3://demo"), 0, "Nothing to collect in", "s3://demo")
}

// A store that is known not to keep its conditions is not touched.
func TestGC_TierNone(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.litter(demoRef)
	s.keep(lock.TierNone, 0)
	before, _ := s.count("demo")
	s.want(s.run("gc", "-older-than", "0s", "-auto-approve", "s3://demo"), 13, "nothing was removed", "statelatch probe s3://demo")
	if after, _ := s.count("demo"); after != before {
		t.Errorf("got %d versions, want all %d", after, before)
	}
}

func TestGC_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.want(s.runContext(t.Context(), "gc", "-h"), 0, "-older-than DURATION", "-keep-snapshots N", "-dry-run", "Examples:")
	s.want(s.runContext(t.Context(), "gc", "-older-than=-1h", "s3://demo"), 2, "negative")
	s.want(s.runContext(t.Context(), "gc", "s3://a", "s3://b"), 2, "at most")
}

// What is told at the end is true: a store that did something else may have changed a lock, and what could not be listed is not gone.
func TestGC_Tell(t *testing.T) {
	t.Parallel()
	p := gc.Plan{Keys: []gc.Key{{Sum: gc.Sum{Versions: 3}}}}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"unsafe":      {statelatch.ErrUnsafeStore, "Do not run it again"},
		"denied list": {statelatch.ErrDenied, "3 were not reached. No lock has changed"},
		"interrupted": {context.Canceled, "3 were not reached. No lock has changed"},
		"none":        {nil, "3 were gone already"},
	} {
		var errs strings.Builder
		gcOptions{}.tell(terminal{Err: &errs}, "old version", p, gc.Result{}, tc.err)
		if !strings.Contains(errs.String(), tc.want) {
			t.Errorf("%s: got %q, want %q", name, &errs, tc.want)
		}
	}
}
