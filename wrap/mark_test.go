package wrap

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/state"
)

// nullIDs is a bucket whose versioning is suspended.
type nullIDs struct{ bucket.Bucket }

func (n nullIDs) Put(ctx context.Context, key string, body io.ReadSeeker, o bucket.PutOptions) (bucket.Object, error) {
	obj, err := n.Bucket.Put(ctx, key, body, o)
	obj.VersionID = "null"
	return obj, err
}

func (n nullIDs) Get(ctx context.Context, key string, o bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	obj, body, err := n.Bucket.Get(ctx, key, o)
	obj.VersionID = "null"
	return obj, body, err
}

// What a bucket does not keep is read whole and kept, before an engine starts that replaces it.
func TestHoldings_Prepare(t *testing.T) {
	t.Parallel()
	const large = 40 << 10
	for name, tc := range map[string]struct {
		objects   bucket.Bucket
		workspace string
		absent    bool
		engine    bool
		waits     bool // for what the state is
		whole     bool // it was read
		writes    int  // besides the lock
		verifies  int
	}{
		"versions":                      {membucket.New("b", membucket.Options{Versioned: true}), "default", false, true, false, false, 0, 0},
		"versions, a script":            {membucket.New("b", membucket.Options{Versioned: true}), "default", false, false, true, false, 0, 0},
		"versions, a workspace":         {membucket.New("b", membucket.Options{Versioned: true}), "dev", false, true, true, false, 0, 0},
		"versions, a workspace without": {membucket.New("b", membucket.Options{Versioned: true}), "dev", true, true, true, false, 1, 1},
		"no versions":                   {membucket.New("b", membucket.Options{}), "default", false, true, true, true, 1, 1},
		"versioning is suspended":       {nullIDs{membucket.New("b", membucket.Options{})}, "default", false, true, true, true, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := statelatch.Ref{Bucket: "b", Key: "app/terraform.tfstate"}
			if !tc.absent {
				body := `{"version":4,"serial":7,"lineage":"l","outputs":{},"resources":[],"check_results":"` + strings.Repeat("x", large) + `"}`
				if _, err := tc.objects.Put(t.Context(), ref.Key, strings.NewReader(body), bucket.PutOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			answer := make(chan struct{})
			b := faultbucket.New(tc.objects, faultbucket.Options{Rules: []faultbucket.Rule{
				{Op: faultbucket.OpGet, Key: ref.Key, Nth: 1, Fault: faultbucket.Hold(answer)},
			}})
			m := &lock.Manager{Bucket: b, Tier: lock.TierFull}
			tenure, err := m.Acquire(t.Context(), ref, lock.Request{Operation: "run", Who: "ann", TTL: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			store := &state.Store{Bucket: b, Snapshots: true}
			s := State{Site: &site.Site{Store: store, Backend: backendconf.Backend{Workspace: tc.workspace}}, Ref: ref}
			ctx, end := context.WithCancel(t.Context())
			defer end()
			h := newHoldings(ctx, &run{})
			e := &holding{ref: ref, state: s, tenure: tenure}
			began := len(b.Requests())
			done := make(chan error, 1)
			go func() { done <- h.prepare(ctx, e, tc.engine) }()
			if !tc.waits {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				done <- nil
			}
			close(answer)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			v, err := e.before.wait(ctx)
			if err != nil || v.Exists == tc.absent || (v.MD5 != "") != tc.whole {
				t.Errorf("got %+v, %v, want it whole: %v", v, err, tc.whole)
			}
			writes, verifies := 0, 0
			for _, r := range b.Requests()[began:] {
				if r.Op == faultbucket.OpPut {
					writes++
				} else if r.Op == faultbucket.OpGet && r.Key == ref.LockKey() {
					verifies++
				}
			}
			if writes != tc.writes || verifies != tc.verifies {
				t.Errorf("got %d writes, and the lock read %d times; want %d, %d", writes, verifies, tc.writes, tc.verifies)
			}
		})
	}
}

// An engine does not wait for what its state was before. Should it write first, nothing of what it wrote over is missed.
func TestMark_Overtaken(t *testing.T) {
	t.Parallel()
	ref := statelatch.Ref{Bucket: "b", Key: "app/terraform.tfstate"}
	body := func(serial int, lineage string) string {
		return fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":%q,"outputs":{},"resources":[]}`, serial, lineage)
	}
	for name, tc := range map[string]struct {
		answered  time.Duration // after which the mark is
		written   string        // by the engine, after 100 ms
		kept      time.Duration // for how long the state has been there before
		late      bool
		from      uint64 // the serial that it is compared with
		anomalies int
	}{
		"at once":                   {time.Millisecond, body(8, "ours"), time.Hour, false, 7, 0},
		"at once, a state just now": {time.Millisecond, body(8, "ours"), 0, false, 7, 0},
		"slow, nothing is written":  {time.Minute, "", time.Hour, false, 7, 0},
		"slow, it was written":      {time.Minute, body(8, "ours"), time.Hour, true, 7, 0},
		"slow, it was overwritten":  {time.Minute, body(8, "theirs"), time.Hour, true, 7, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner := membucket.New("b", membucket.Options{Versioned: true})
				put := func(content string) {
					if _, err := inner.Put(t.Context(), ref.Key, strings.NewReader(content), bucket.PutOptions{}); err != nil {
						t.Error(err)
					}
				}
				put(body(6, "ours"))
				time.Sleep(time.Hour)
				put(body(7, "ours"))
				time.Sleep(tc.kept)
				slow := faultbucket.New(inner, faultbucket.Options{Rules: []faultbucket.Rule{
					{Op: faultbucket.OpGet, Nth: 1, Fault: faultbucket.Delay(tc.answered)},
				}})
				store := &state.Store{Bucket: slow}
				e := &holding{
					ref: ref, state: State{Site: &site.Site{Store: store}, Ref: ref}, tenure: &lock.Tenure{},
					before: startMark(t.Context(), store, ref),
				}
				time.Sleep(100 * time.Millisecond)
				if tc.written != "" {
					put(tc.written)
				}
				report, err := e.since(t.Context())
				if err != nil || e.before.late != tc.late || report.Mark.Header.Serial != tc.from || len(report.Anomalies) != tc.anomalies ||
					report.Moved != (tc.written != "") {
					t.Errorf("got late %v, from serial %d, moved %v, %v, %v; want late %v, from %d, %d anomalies", e.before.late,
						report.Mark.Header.Serial, report.Moved, report.Anomalies, err, tc.late, tc.from, tc.anomalies)
				}
			})
		})
	}
}
