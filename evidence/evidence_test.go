package evidence_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/lock"
)

// told is a CI that gives one answer.
type told evidence.Answer

func (t told) Ask(context.Context, statelatch.Run) evidence.Answer { return evidence.Answer(t) }

// held is a lock of that age by the store's clock. Its Created and Who are lies.
func held(age time.Duration, m *statelatch.Managed) lock.Held {
	return lock.Held{
		Ref: statelatch.Ref{Bucket: "b", Key: "k"}, ETag: `"e"`, Since: time.Unix(1_700_000_000, 0), Age: age, Managed: m,
		Info: statelatch.LockInfo{ID: "id", Who: fmt.Sprintf("me@%s pid %d", hostname(), os.Getpid()), Created: time.Now().Add(-1000 * time.Hour)},
	}
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}

// dead is the client of a process of this machine that was there and is gone.
func dead(t *testing.T) string {
	t.Helper()
	me, err := identity.ParseClient(identity.Client())
	if err != nil || me.Start == "" {
		if runtime.GOOS == "linux" {
			t.Fatalf("this process cannot be looked for: %v", err)
		}
		t.Skip("processes cannot be looked for on this system")
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	me.PID, me.Start = cmd.Process.Pid, "1" // a later process of that PID would have started later
	return me.String()
}

func TestJudge_Table(t *testing.T) {
	t.Parallel()
	const lease = 90 * time.Second
	run := &statelatch.Run{System: "github-actions"}
	gone, here := dead(t), identity.Client()
	ended, goesOn := told{State: evidence.RunEnded, Detail: "run over"}, told{State: evidence.RunGoesOn, Detail: "run on"}
	jobsLeft := told{State: evidence.RunEnded, JobsLeft: true, Detail: "job over"}
	noIdea := told{Detail: "no answer"}
	type managed = statelatch.Managed
	for _, tc := range []struct {
		name  string
		held  lock.Held
		ci    evidence.Asker
		state evidence.State
		proof string
	}{
		{"an engine's (B7: Created does not count)", held(3*time.Hour, nil), nil, evidence.Unknown, "held for 3h; an engine's lock promises nothing"},
		{"an engine's, and a CI that knows nothing of it", held(time.Hour, nil), ended, evidence.Unknown, "held for 1h; an engine's lock promises nothing"},
		{"lease kept", held(30*time.Second, &managed{TTL: lease}), nil, evidence.Live, "its lease of 90s was renewed 30s ago"},
		{"lease just kept", held(lease, &managed{TTL: lease}), nil, evidence.Live, "renewed 90s ago"},
		{"lease running out", held(lease+3*time.Second, &managed{TTL: lease}), nil, evidence.Unknown, "running out just now"},
		{"lease out", held(12*time.Minute, &managed{TTL: lease}), nil, evidence.Stale, "its lease of 90s was last renewed 12m ago"},
		{"lease, age not told", lock.Held{ETag: `"e"`, Managed: &managed{TTL: lease}}, nil, evidence.Unknown, "no age"},
		{"expires later", held(5*time.Minute, &managed{Expires: time.Hour}), nil, evidence.Unknown, "held for 5m; it expires in 55m"},
		{"just expired", held(time.Hour, &managed{Expires: time.Hour}), nil, evidence.Stale, "it was taken for 1h, 1h ago"},
		{"expires, age not told", lock.Held{ETag: `"e"`, Managed: &managed{Expires: time.Hour}}, nil, evidence.Unknown, "no age"},
		{"expired", held(2*time.Hour, &managed{Expires: time.Hour}), nil, evidence.Stale, "it was taken for 1h, 2h ago"},
		{"no promise", held(50*time.Hour, &managed{}), nil, evidence.Unknown, "held for 2d, without a lease: it stays until it is released"},

		{"process gone", held(30*time.Second, &managed{TTL: lease, Client: gone}), nil, evidence.Stale, "is gone; its lease of 90s was renewed 30s ago"},
		{"process gone, run on", held(0, &managed{TTL: lease, Client: gone, Run: run}), goesOn, evidence.Stale, "is gone"},
		{"process runs", held(30*time.Second, &managed{TTL: lease, Client: here}), nil, evidence.Live, "still runs; its lease"},
		{"process runs, lease out", held(time.Hour, &managed{TTL: lease, Client: here}), nil, evidence.Live, "still runs; its lease of 90s was last renewed 1h ago"},
		{"process elsewhere", held(30*time.Second, &managed{TTL: lease, Client: hostname() + "/1/1/another-boot.1"}), nil, evidence.Live, "its lease"},
		{"process out of sight, lease out", held(time.Hour, &managed{TTL: lease, Client: hostname() + "/1//"}), nil, evidence.Stale, "its lease"},
		{"client garbled", held(time.Hour, &managed{TTL: lease, Client: "\x1b[2J"}), nil, evidence.Stale, "its lease"},

		{"run over, process runs", held(30*time.Second, &managed{TTL: lease, Client: here, Run: run}), ended, evidence.Live, "still runs; its lease"},
		{"run over, process runs, no lease", held(time.Hour, &managed{Client: here, Run: run}), ended, evidence.Live, "still runs; held for 1h"},
		{"run over, lease kept: it may be cancelled and go on", held(30*time.Second, &managed{TTL: lease, Run: run}), ended, evidence.Unknown, "run over; its lease of 90s was renewed 30s ago"},
		{"run over, lease out", held(time.Hour, &managed{TTL: lease, Run: run}), ended, evidence.Stale, "run over; its lease of 90s was last renewed 1h ago"},
		{"run over, no lease", held(time.Hour, &managed{Run: run}), ended, evidence.Stale, "run over; held for 1h"},
		{"run on, no lease", held(time.Hour, &managed{Run: run}), goesOn, evidence.Live, "run on; held for 1h"},
		{"run on, lease out", held(time.Hour, &managed{TTL: lease, Run: run}), goesOn, evidence.Stale, "last renewed 1h ago; run on"},
		{"job over, jobs left, lease kept", held(time.Second, &managed{TTL: lease, Run: run}), jobsLeft, evidence.Unknown, "job over"},
		{"job over, jobs left, lease out", held(time.Hour, &managed{TTL: lease, Run: run}), jobsLeft, evidence.Stale, "job over"},
		{"job over, jobs left, no lease", held(time.Hour, &managed{Run: run}), jobsLeft, evidence.Unknown, "held for 1h, without a lease: it stays until it is released; job over"},
		{"run not known", held(time.Second, &managed{TTL: lease, Run: run}), noIdea, evidence.Live, "renewed 1s ago; no answer"},
		{"no run", held(time.Hour, &managed{}), ended, evidence.Unknown, "held for 1h"},

		{"unreadable", lock.Held{ETag: `"e"`, Err: errors.New("x"), Since: time.Unix(1, 0), Age: time.Hour}, nil, evidence.Unknown, "cannot be read, so nothing is known of its holder; it is there for 1h"},
		{"only an item", lock.Held{Item: &lock.Item{}}, nil, evidence.Unknown, "no age"},
	} {
		got := evidence.Judge(t.Context(), tc.held, evidence.Sources{CI: tc.ci})
		if got.State != tc.state || !strings.Contains(got.Proof, tc.proof) {
			t.Errorf("%s: got %q, want %q with %q", tc.name, got, tc.state, tc.proof)
		}
		if strings.ContainsAny(got.Proof, "\x1b\n") {
			t.Errorf("%s: the proof can drive a terminal: %q", tc.name, got.Proof)
		}
	}
}

func TestSpan_Units(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "90s", 2 * time.Minute: "2m", 59*time.Minute + 59*time.Second: "59m", time.Hour: "1h",
		200 * time.Minute: "3h20m", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 400 * 24 * time.Hour: "400d",
	} {
		if got := evidence.Span(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
