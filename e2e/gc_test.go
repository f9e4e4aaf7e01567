package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// counted is what the aws command lists in a bucket.
type counted struct{ locks, markers, others int }

func (r *awsRig) count(bucket string) counted {
	r.t.Helper()
	var listed struct {
		Versions, DeleteMarkers []struct{ Key string }
	}
	r.api(&listed, "list-object-versions", "--bucket", bucket)
	var c counted
	for _, v := range listed.Versions {
		if strings.HasSuffix(v.Key, ".tflock") {
			c.locks++
		} else {
			c.others++
		}
	}
	for _, m := range listed.DeleteMarkers {
		if strings.HasSuffix(m.Key, ".tflock") {
			c.markers++
		} else {
			c.others++
		}
	}
	return c
}

// A real engine locks dozens of times, also while two gcs remove what it leaves: it never meets a lock that is not
// there, and of the state nothing is removed.
func TestGC_BesideEngine(t *testing.T) {
	t.Parallel()
	r := newAWSRig(t)
	engine := need(t, engine())
	const bucket = "terraform-state"
	dir := r.project(r.server.block)
	r.must(dir, engine, "init", "-input=false", "-no-color")
	apply := func(i int) {
		r.must(dir, engine, "apply", "-input=false", "-no-color", "-auto-approve", "-var", fmt.Sprintf("value=v%d", i))
	}
	for i := range 5 {
		apply(i)
		r.must(dir, engine, "plan", "-input=false", "-no-color", "-var", fmt.Sprintf("value=v%d", i))
	}
	before := r.count(bucket)
	if before.locks < 10 || before.markers < 10 || before.others != 5 {
		t.Fatalf("got %+v after 10 runs, want 10 locks, 10 markers, 5 states at least", before)
	}
	want(t, "dry run", r.run(dir, binary, "gc", "-dry-run"), 0, "Nothing to collect", "30 days")
	want(t, "dry run", r.run(dir, binary, "gc", "-dry-run", "-older-than", "0s"), 0, fmt.Sprintf("%d old versions", before.locks))
	want(t, "not approved", r.run(dir, binary, "gc", "-older-than", "0s"), 2, "-auto-approve")
	if got := r.count(bucket); got != before {
		t.Fatalf("got %+v before anything was approved, want %+v", got, before)
	}

	var collectors sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		collectors.Go(func() {
			for {
				if res := r.run(dir, binary, "gc", "-older-than", "0s", "-auto-approve"); res.code != 0 {
					t.Errorf("gc: %v", res)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 5 {
		apply(10 + i)
	}
	close(done)
	collectors.Wait()

	res := r.run(dir, binary, "gc", "-older-than", "0s", "-auto-approve", "-json")
	var got struct {
		Removed struct{ Versions int }
		Kept    int
	}
	if err := json.Unmarshal([]byte(res.stdout), &got); err != nil || res.code != 0 || got.Kept != 0 {
		t.Errorf("gc: %v: %v", err, res)
	}
	after := r.count(bucket)
	if after.locks != 0 || after.markers != 0 || after.others < before.others+5 {
		t.Errorf("got %+v, want no litter and all of at least %d versions of the state", after, before.others+5)
	}
	want(t, "plan", r.run(dir, engine, "plan", "-detailed-exitcode", "-input=false", "-no-color", "-var", "value=v14"), 0, "No changes.")
}

// A lock that is held, by an engine's own lock object, stays while what is older goes.
func TestGC_HeldLockStays(t *testing.T) {
	t.Parallel()
	r := newAWSRig(t)
	const ref = "s3://terraform-state/app/terraform.tfstate"
	for range 3 {
		want(t, "lock", r.statelatch("lock", ref), 0)
		want(t, "unlock", r.statelatch("unlock", ref), 0)
	}
	want(t, "lock", r.statelatch("lock", ref), 0)
	want(t, "gc", r.statelatch("gc", "-older-than", "0s", "-auto-approve", "s3://terraform-state"), 0, "Removed 3 old versions and 3 delete markers", "1 stay")
	want(t, "status", r.statelatch("status", ref), 11, "by you")
	if got := r.count("terraform-state"); got.locks != 1 || got.markers != 0 {
		t.Errorf("got %+v, want the lock that is held", got)
	}
	want(t, "unlock", r.statelatch("unlock", ref), 0)
	want(t, "status", r.statelatch("status", ref), 0, "not locked")
}

// On a foreign store that keeps no versions there is nothing to collect, and nothing is changed.
func TestGC_Versitygw(t *testing.T) {
	t.Parallel()
	s := startVersitygw(t)
	w := userOf(t, s)
	plainBucket(t, s.url, s.accessKey, s.secretKey, "plain")
	w.env["STATELATCH_PROBE"] = "off"
	const ref = "s3://plain/app/terraform.tfstate"
	want(t, "lock", w.statelatch("lock", ref), 0)
	want(t, "gc", w.statelatch("gc", "-older-than", "0s", "-auto-approve", "s3://plain"), 0, "no old versions of locks")
	want(t, "status", w.statelatch("status", ref), 11, "by you")
	want(t, "unlock", w.statelatch("unlock", ref), 0)
	for serial := 1; serial <= 4; serial++ {
		file := fmt.Sprintf("%s/%d.tfstate", w.home, serial)
		w.write(file, fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":"l","outputs":{},"resources":[],"check_results":null}`, serial))
		want(t, "push", w.statelatch("push", file, ref), 0)
	}
	want(t, "gc", w.statelatch("gc", "-keep-snapshots", "1", "-auto-approve", "s3://plain"), 0, "Removed 2 snapshots")
	want(t, "show", w.statelatch("show", "-version", "3", ref), 0, "Serial: 3")
	want(t, "show", w.statelatch("show", "-version", "1", ref), 10)
	want(t, "diff", w.statelatch("diff", ref, "3"), 0, "No differences")
}
