package wrap

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/state"
)

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
