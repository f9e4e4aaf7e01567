package site_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/faultproxy"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/state"
)

// steps is what an observer was told, each step below the one that it was in.
type steps struct {
	mu    sync.Mutex
	lines []string
	open  int
}

type pathKey struct{}

func (tr *steps) observe(ctx context.Context, s site.Step) (context.Context, func(error)) {
	path, _ := ctx.Value(pathKey{}).(string)
	path += "/" + s.Name
	for _, a := range s.Attrs {
		if a.Key == "holder" {
			path += "=" + a.Value.String()
		}
	}
	tr.note(1, "> "+path)
	return context.WithValue(ctx, pathKey{}, path), func(err error) {
		what := "ok"
		switch {
		case errors.Is(err, statelatch.ErrLocked):
			what = "locked"
		case err != nil:
			what = err.Error()
		}
		tr.note(-1, fmt.Sprintf("< %s %s", path, what))
	}
}

func (tr *steps) note(open int, line string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.open += open
	tr.lines = append(tr.lines, line)
}

func (tr *steps) clear() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = nil
}

func (tr *steps) want(t *testing.T, lines ...string) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.open != 0 || !slices.Equal(tr.lines, lines) {
		t.Errorf("%d steps have not ended; got\n%s\nwant\n%s", tr.open, strings.Join(tr.lines, "\n"), strings.Join(lines, "\n"))
	}
}

func TestSite_Observe(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	var tr steps
	opts := st.options()
	opts.Observe = tr.observe
	s, err := site.Open(t.Context(), "s3://acme-state", opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Do(t.Context(), ref, site.Lock{}, func(context.Context) error { return errWork }); !errors.Is(err, errWork) {
		t.Errorf("got %v", err)
	}
	tr.want(t, "> /acquire", "< /acquire ok", "> /work", "< /work "+errWork.Error(), "> /release", "< /release ok")

	tr.clear()
	m := &lock.Manager{Bucket: s.Bucket, Tier: lock.TierFull}
	held, err := m.Acquire(t.Context(), ref, lock.Request{Operation: "apply", Who: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(*state.Doc) error { return nil }
	if _, err := s.Update(t.Context(), ref, site.Lock{Wait: time.Second}, nothing); !errors.Is(err, statelatch.ErrLocked) {
		t.Errorf("got %v", err)
	}
	tr.want(t, "> /acquire", "> /acquire/wait=ann", "< /acquire/wait=ann locked", "< /acquire locked")

	tr.clear()
	if _, err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), ref, site.Lock{}, nothing); err != nil {
		t.Error(err)
	}
	tr.want(t, "> /acquire", "< /acquire ok", "> /update", "< /update ok", "> /release", "< /release ok")
}

// A renewal that fails is a step until one works again; a takeover is one of its own.
func TestSite_Observe_RenewalAndTakeOver(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	var tr steps
	opts := st.options()
	opts.Observe = tr.observe
	s, err := site.Open(t.Context(), "s3://acme-state", opts)
	if err != nil {
		t.Fatal(err)
	}
	m := *s.Manager
	m.Tier = lock.TierFull
	dead, err := m.Acquire(t.Context(), ref, lock.Request{Who: "ann", TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	dead.Abandon()
	err = s.Do(t.Context(), ref, site.Lock{TakeOver: true, Lease: 4 * time.Second, Wait: time.Minute}, func(ctx context.Context) error {
		st.Add(faultproxy.Rule{Match: isPut, Fault: faultproxy.Answer(503, "SlowDown")})
		waitFor(t, func() bool { return strings.Contains(st.log.String(), "cannot be renewed") })
		st.Heal()
		waitFor(t, func() bool { return strings.Contains(st.log.String(), "renewed again") })
		return ctx.Err()
	})
	if err != nil {
		t.Error(err)
	}
	tr.want(t, "> /acquire", "> /acquire/wait=ann", "> /acquire/take over=ann", "< /acquire/take over=ann ok",
		"< /acquire/wait=ann ok", "< /acquire ok", "> /work", "> /acquire/renew", "< /acquire/renew ok", "< /work ok",
		"> /release", "< /release ok")
}

func isPut(r *http.Request) bool { return r.Method == http.MethodPut }

func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	for range 6000 {
		if so() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it never came to this")
}
