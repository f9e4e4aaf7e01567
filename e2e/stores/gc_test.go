package stores

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// counted is what the aws command lists in a bucket.
type counted struct{ locks, markers, others int }

func (r *awsRig) count(bucket string) counted {
	r.T.Helper()
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
	engine := rig.Need(t, rig.Engine())
	const bucket = "terraform-state"
	dir := r.Project(r.server.Block)
	r.Must(dir, engine, "init", "-input=false", "-no-color")
	apply := func(i int) {
		r.Must(dir, engine, "apply", "-input=false", "-no-color", "-auto-approve", "-var", fmt.Sprintf("value=v%d", i))
	}
	for i := range 5 {
		apply(i)
		r.Must(dir, engine, "plan", "-input=false", "-no-color", "-var", fmt.Sprintf("value=v%d", i))
	}
	before := r.count(bucket)
	if before.locks < 10 || before.markers < 10 || before.others != 5 {
		t.Fatalf("got %+v after 10 runs, want 10 locks, 10 markers, 5 states at least", before)
	}
	rig.Want(t, "dry run", r.Run(dir, rig.Binary, "gc", "-dry-run"), 0, "Nothing to collect", "30 days")
	rig.Want(t, "dry run", r.Run(dir, rig.Binary, "gc", "-dry-run", "-older-than", "0s"), 0, fmt.Sprintf("%d old versions", before.locks))
	rig.Want(t, "not approved", r.Run(dir, rig.Binary, "gc", "-older-than", "0s"), 2, "-auto-approve")
	if got := r.count(bucket); got != before {
		t.Fatalf("got %+v before anything was approved, want %+v", got, before)
	}

	var collectors sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		collectors.Go(func() {
			for {
				if res := r.Run(dir, rig.Binary, "gc", "-older-than", "0s", "-auto-approve"); res.Code != 0 {
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

	res := r.Run(dir, rig.Binary, "gc", "-older-than", "0s", "-auto-approve", "-json")
	var got struct {
		Removed struct{ Versions int }
		Kept    int
	}
	if err := json.Unmarshal([]byte(res.Stdout), &got); err != nil || res.Code != 0 || got.Kept != 0 {
		t.Errorf("gc: %v: %v", err, res)
	}
	after := r.count(bucket)
	if after.locks != 0 || after.markers != 0 || after.others < before.others+5 {
		t.Errorf("got %+v, want no litter and all of at least %d versions of the state", after, before.others+5)
	}
	rig.Want(t, "plan", r.Run(dir, engine, "plan", "-detailed-exitcode", "-input=false", "-no-color", "-var", "value=v14"), 0, "No changes.")
}

// A lock that is held, by an engine's own lock object, stays while what is older goes.
func TestGC_HeldLockStays(t *testing.T) {
	t.Parallel()
	r := newAWSRig(t)
	const ref = "s3://terraform-state/app/terraform.tfstate"
	for range 3 {
		rig.Want(t, "lock", r.Statelatch("lock", ref), 0)
		rig.Want(t, "unlock", r.Statelatch("unlock", ref), 0)
	}
	rig.Want(t, "lock", r.Statelatch("lock", ref), 0)
	rig.Want(t, "gc", r.Statelatch("gc", "-older-than", "0s", "-auto-approve", "s3://terraform-state"), 0, "Removed 3 old versions and 3 delete markers", "1 stay")
	rig.Want(t, "status", r.Statelatch("status", ref), 11, "by you")
	if got := r.count("terraform-state"); got.locks != 1 || got.markers != 0 {
		t.Errorf("got %+v, want the lock that is held", got)
	}
	rig.Want(t, "unlock", r.Statelatch("unlock", ref), 0)
	rig.Want(t, "status", r.Statelatch("status", ref), 0, "not locked")
}

// On a foreign store that keeps no versions there is nothing to collect, and nothing is changed.
func TestGC_Versitygw(t *testing.T) {
	t.Parallel()
	s := startVersitygw(t)
	w := userOf(t, s)
	rig.PlainBucket(t, s.url, s.accessKey, s.secretKey, "plain")
	w.Env["STATELATCH_PROBE"] = "off"
	const ref = "s3://plain/app/terraform.tfstate"
	rig.Want(t, "lock", w.Statelatch("lock", ref), 0)
	rig.Want(t, "gc", w.Statelatch("gc", "-older-than", "0s", "-auto-approve", "s3://plain"), 0, "no old versions of locks")
	rig.Want(t, "status", w.Statelatch("status", ref), 11, "by you")
	rig.Want(t, "unlock", w.Statelatch("unlock", ref), 0)
	for serial := 1; serial <= 4; serial++ {
		file := fmt.Sprintf("%s/%d.tfstate", w.Home, serial)
		w.Write(file, fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":"l","outputs":{},"resources":[],"check_results":null}`, serial))
		rig.Want(t, "push", w.Statelatch("push", file, ref), 0)
	}
	rig.Want(t, "gc", w.Statelatch("gc", "-keep-snapshots", "1", "-auto-approve", "s3://plain"), 0, "Removed 2 snapshots")
	rig.Want(t, "show", w.Statelatch("show", "-version", "3", ref), 0, "Serial: 3")
	rig.Want(t, "show", w.Statelatch("show", "-version", "1", ref), 10)
	rig.Want(t, "diff", w.Statelatch("diff", ref, "3"), 0, "No differences")
}
