package state_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
)

// A store that says that it did nothing is believed: the write is sent again, and if that is in vain the lock need not
// stay.
func TestSession_Write_RefusalIsNoDoubt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status, times int
		within        time.Duration
		written       bool
	}{
		"507 once":     {507, 1, time.Second, true},
		"507 for ever": {507, 0, 10 * time.Second, false},
		"429 burst":    {429, 6, 10 * time.Second, true},
		"429 for ever": {429, 0, 31 * time.Second, false},
		"409 for ever": {409, 0, 31 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.seed(t, body(4, lineage, "a"))
				lock := holding()
				x := r.begin(t, lock)
				r.bucket.Add(faultbucket.Rule{Op: faultbucket.OpPut, Limit: tc.times, Fault: faultbucket.Answer(tc.status)})
				start := time.Now()
				_, err := x.Write(t.Context(), strings.NewReader(body(5, lineage, "a b")), opts())
				if (err == nil) != tc.written || errors.Is(err, statelatch.ErrAmbiguous) || len(lock.held) > 0 {
					t.Errorf("got %v, held %v; want it written: %v, and the lock free to go", err, lock.held, tc.written)
				}
				if took := time.Since(start); took > tc.within {
					t.Errorf("it took %v, want at most %v", took, tc.within)
				}
			})
		})
	}
}
