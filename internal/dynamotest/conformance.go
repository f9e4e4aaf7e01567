package dynamotest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
)

// Store is what packages lock and state together ask of a lock table.
type Store interface {
	Name() string                                                                 // of the table
	Lock(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error // as in lock.Table
	Read(ctx context.Context, ref statelatch.Ref) (raw string, err error)         // as in lock.Table
	// Replace: as in lock.Table
	Replace(ctx context.Context, ref statelatch.Ref, oldRaw string, info statelatch.LockInfo) error
	Unlock(ctx context.Context, ref statelatch.Ref, raw string) error           // as in lock.Table
	Digest(ctx context.Context, ref statelatch.Ref) (stored string, err error)  // as in state.Digests
	SwapDigest(ctx context.Context, ref statelatch.Ref, old, next string) error // as in state.Digests
}

var _ Store = (*Table)(nil)

// The size of each race, and what is left of it with -short.
const (
	clients           = 16
	rounds, shortRuns = 20, 3
)

// Run is the conformance suite: one named check for each promise of a Store, and for the promise that locking rests on,
// under contention: of many clients whose conditions allow one, exactly one wins. The table may be in use: every check
// has refs of its own, which are random. The outcome of the checks that are named as races, which a foreign table is
// known to fail now and then, is logged and decides nothing.
func Run(t *testing.T, table Store, races ...string) {
	t.Helper()
	n := rounds
	if testing.Short() {
		n = shortRuns
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			repeat := 1
			if strings.HasPrefix(c.name, "contention/") {
				repeat = n
			}
			for range repeat {
				err := c.do(t.Context(), newProbe(table))
				if err != nil && slices.Contains(races, c.name) {
					t.Logf("known race: %v", err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// check is one promise. It returns how it is broken.
type check struct {
	name string
	do   func(context.Context, *probe) error
}

var checks = []check{
	{"lock/free", lockFree},
	{"lock/taken", lockTaken},
	{"lock/bytes", lockBytes},
	{"read/absent", readAbsent},
	{"replace/same", replaceSame},
	{"replace/changed", replaceChanged},
	{"replace/absent", replaceAbsent},
	{"unlock/same", unlockSame},
	{"unlock/changed", unlockChanged},
	{"unlock/absent", unlockAbsent},
	{"no-info", noInfo},
	{"digest/same", digestSame},
	{"digest/changed", digestChanged},
	{"digest/not-an-md5", digestMalformed},
	{"apart", apart},
	{"context", ended},
	{"contention/lock", raceLock},
	{"contention/replace", raceReplace},
	{"contention/replace-against-unlock", raceReplaceUnlock},
	{"contention/digest", raceDigest},
}

// probe is one run of a check, on a ref of its own.
type probe struct {
	Store
	ref statelatch.Ref
}

func newProbe(table Store) *probe {
	return &probe{Store: table, ref: statelatch.Ref{
		Bucket: "bkt",
		Key:    "conformance/" + rand.Text() + "/terraform.tfstate",
	}}
}

// info is a lock of the i-th client.
func (p *probe) info(i int) statelatch.LockInfo {
	return statelatch.LockInfo{
		ID: fmt.Sprintf("00000000-0000-0000-0000-%012d", i), Operation: "OperationTypeApply", Who: "root@host",
		Version: "1.11.4",
		Created: time.Date(2026, 11, 21, 8, 7, 3, 855087793, time.UTC), Path: p.ref.Path(),
	}
}

func (p *probe) raw(i int) string { return string(p.info(i).Marshal()) }

// holds checks what is stored; an empty want is no item.
func (p *probe) holds(ctx context.Context, want string) error {
	got, err := p.Read(ctx, p.ref)
	if want == "" {
		if err := isKind(err, statelatch.ErrNotFound); err != nil {
			return fmt.Errorf("read: got %q; %w", got, err)
		}
		return nil
	}
	if err != nil || got != want {
		return fmt.Errorf("read: got %q, %w, want %q", got, err, want)
	}
	return nil
}

var kinds = []error{
	statelatch.ErrPreconditionFailed, statelatch.ErrNotFound, statelatch.ErrDenied, statelatch.ErrConflict,
	statelatch.ErrThrottled, statelatch.ErrUnsupported, statelatch.ErrAmbiguous, statelatch.ErrBroken,
}

// isKind checks that err is a StoreError of exactly one kind.
func isKind(err, want error) error {
	se, ok := errors.AsType[*statelatch.StoreError](err)
	for _, k := range kinds {
		if errors.Is(err, k) != errors.Is(want, k) {
			ok = false
		}
	}
	if !ok || se.Op == "" || se.Bucket == "" || se.Key == "" {
		return fmt.Errorf("error: got %w (%T), want a StoreError that names op, table and item, and is %q alone", err, err,
			want.Error())
	}
	return nil
}

// steps runs functions in order up to the first error.
func steps(all ...func() error) error {
	for i, s := range all {
		if err := s(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func lockFree(ctx context.Context, p *probe) error {
	return steps(
		func() error { return p.Lock(ctx, p.ref, p.info(1)) },
		func() error { return p.holds(ctx, p.raw(1)) },
	)
}

func lockTaken(ctx context.Context, p *probe) error {
	return steps(
		func() error { return p.Lock(ctx, p.ref, p.info(1)) },
		func() error { return isKind(p.Lock(ctx, p.ref, p.info(2)), statelatch.ErrPreconditionFailed) },
		func() error { return isKind(p.Lock(ctx, p.ref, p.info(1)), statelatch.ErrPreconditionFailed) },
		func() error { return p.holds(ctx, p.raw(1)) },
	)
}

// lockBytes: what is stored is what LockInfo.Marshal says, or tofu could never release it.
func lockBytes(ctx context.Context, p *probe) error {
	info := p.info(1)
	info.Info = "<a> & \"b\" \u2028 \\ ☃ 😀 \x00\t" + strings.Repeat("x", 20_000)
	raw := string(info.Marshal())
	return steps(
		func() error { return p.Lock(ctx, p.ref, info) },
		func() error { return p.holds(ctx, raw) },
		func() error { return p.Unlock(ctx, p.ref, raw) },
	)
}

func readAbsent(ctx context.Context, p *probe) error { return p.holds(ctx, "") }

func replaceSame(ctx context.Context, p *probe) error {
	return steps(
		func() error { return p.Lock(ctx, p.ref, p.info(1)) },
		func() error { return p.Replace(ctx, p.ref, p.raw(1), p.info(2)) },
		func() error { return p.holds(ctx, p.raw(2)) },
		func() error { return p.Replace(ctx, p.ref, p.raw(2), p.info(2)) },
		func() error { return p.holds(ctx, p.raw(2)) },
	)
}

func replaceChanged(ctx context.Context, p *probe) error {
	return steps(
		func() error { return p.Lock(ctx, p.ref, p.info(1)) },
		func() error {
			return isKind(p.Replace(ctx, p.ref, p.raw(2), p.info(2)), statelatch.ErrPreconditionFailed)
		},
		func() error { return p.holds(ctx, p.raw(1)) },
	)
}

func replaceAbsent(ctx context.Context, p *probe) error {
	return steps(
		func() error {
			return isKind(p.Replace(ctx, p.ref, p.raw(1), p.info(2)), statelatch.ErrPreconditionFailed)
		},
		func() error { return p.holds(ctx, "") },
	)
}

func unlockSame(ctx context.Context, p *probe) error {
	return steps(
		func() error { return p.Lock(ctx, p.ref, p.info(1)) },
		func() error { return p.Unlock(ctx, p.ref, p.raw(1)) },
		func() error { return p.holds(ctx, "") },
		func() error { return p.Lock(ctx, p.ref, p.info(2)) },
	)
}

func unlockChanged(ctx context.Context, p *probe) error {
	return steps(
		func() error { return p.Lock(ctx, p.ref, p.info(1)) },
		func() error { return isKind(p.Unlock(ctx, p.ref, p.raw(2)), statelatch.ErrPreconditionFailed) },
		func() error { return isKind(p.Unlock(ctx, p.ref, p.raw(1)+" "), statelatch.ErrPreconditionFailed) },
		func() error { return p.holds(ctx, p.raw(1)) },
	)
}

func unlockAbsent(ctx context.Context, p *probe) error {
	return isKind(p.Unlock(ctx, p.ref, p.raw(1)), statelatch.ErrPreconditionFailed)
}

func noInfo(ctx context.Context, p *probe) error {
	return steps(
		func() error { return p.Lock(ctx, p.ref, p.info(1)) },
		func() error { return isKind(p.Unlock(ctx, p.ref, ""), statelatch.ErrUnsupported) },
		func() error { return isKind(p.Replace(ctx, p.ref, "", p.info(2)), statelatch.ErrUnsupported) },
		func() error { return p.holds(ctx, p.raw(1)) },
	)
}

const (
	sum1 = "d41d8cd98f00b204e9800998ecf8427e"
	sum2 = "900150983cd24fb0d6963f7d28e17f72"
)

// digests checks the stored digest; an empty want is none.
func (p *probe) digests(ctx context.Context, want string) error {
	got, err := p.Digest(ctx, p.ref)
	if want == "" {
		return isKind(err, statelatch.ErrNotFound)
	}
	if err != nil || got != want {
		return fmt.Errorf("digest: got %q, %w, want %q", got, err, want)
	}
	return nil
}

func digestSame(ctx context.Context, p *probe) error {
	return steps(
		func() error { return p.digests(ctx, "") },
		func() error { return p.SwapDigest(ctx, p.ref, "", "") },
		func() error { return p.SwapDigest(ctx, p.ref, "", sum1) },
		func() error { return p.digests(ctx, sum1) },
		func() error { return p.SwapDigest(ctx, p.ref, sum1, sum2) },
		func() error { return p.digests(ctx, sum2) },
		func() error { return p.SwapDigest(ctx, p.ref, sum2, "") },
		func() error { return p.digests(ctx, "") },
	)
}

func digestChanged(ctx context.Context, p *probe) error {
	refused := func(old, next string) func() error {
		return func() error {
			return isKind(p.SwapDigest(ctx, p.ref, old, next), statelatch.ErrPreconditionFailed)
		}
	}
	return steps(
		refused(sum1, sum2),
		refused(sum1, ""),
		func() error { return p.digests(ctx, "") },
		func() error { return p.SwapDigest(ctx, p.ref, "", sum1) },
		refused("", sum2),
		refused("", ""),
		refused(sum2, sum2),
		refused(sum2, ""),
		func() error { return p.digests(ctx, sum1) },
	)
}

// digestMalformed: what was read can be swapped, whatever it is.
func digestMalformed(ctx context.Context, p *probe) error {
	return steps(
		func() error { return p.SwapDigest(ctx, p.ref, "", "none") },
		func() error { return p.digests(ctx, "none") },
		func() error { return p.SwapDigest(ctx, p.ref, "none", strings.ToUpper(sum1)) },
		func() error { return p.digests(ctx, strings.ToUpper(sum1)) },
	)
}

// apart: a lock and a digest, and two states, are nothing to each other.
func apart(ctx context.Context, p *probe) error {
	other := newProbe(p.Store)
	return steps(
		func() error { return p.SwapDigest(ctx, p.ref, "", sum1) },
		func() error { return p.holds(ctx, "") },
		func() error { return p.Lock(ctx, p.ref, p.info(1)) },
		func() error { return other.Lock(ctx, other.ref, other.info(2)) },
		func() error { return other.digests(ctx, "") },
		func() error { return other.Unlock(ctx, other.ref, other.raw(2)) },
		func() error { return p.holds(ctx, p.raw(1)) },
		func() error { return p.Unlock(ctx, p.ref, p.raw(1)) },
		func() error { return p.digests(ctx, sum1) },
	)
}

// ended: nothing is sent once the context is done.
func ended(ctx context.Context, p *probe) error {
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, readErr := p.Read(done, p.ref)
	_, digestErr := p.Digest(done, p.ref)
	for _, err := range []error{
		p.Lock(done, p.ref, p.info(1)), readErr, p.Replace(done, p.ref, p.raw(1), p.info(2)), p.Unlock(done, p.ref, p.raw(1)),
		digestErr, p.SwapDigest(done, p.ref, "", sum1), p.SwapDigest(done, p.ref, sum1, ""),
	} {
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("error: got %w, want one that matches context.Canceled", err)
		}
		if err := isKind(err, statelatch.ErrBroken); err != nil {
			return err
		}
	}
	return steps(
		func() error { return p.holds(ctx, "") },
		func() error { return p.digests(ctx, "") },
	)
}

// race lets all clients act at once and returns what each was told.
func race(act func(i int) error) []error {
	errs := make([]error, clients)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			<-start
			errs[i] = act(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// oneWinner returns the index of the one client that succeeded; all others must have been refused.
func oneWinner(errs []error) (int, error) {
	winner := slices.Index(errs, nil)
	if winner < 0 {
		return 0, fmt.Errorf("nobody won; the first was told: %w", errs[0])
	}
	for i, err := range errs {
		if i == winner {
			continue
		}
		if err == nil {
			return 0, fmt.Errorf("clients %d and %d both won", winner, i)
		}
		if err := isKind(err, statelatch.ErrPreconditionFailed); err != nil {
			return 0, err
		}
	}
	return winner, nil
}

func raceLock(ctx context.Context, p *probe) error {
	winner, err := oneWinner(race(func(i int) error { return p.Lock(ctx, p.ref, p.info(i)) }))
	if err != nil {
		return err
	}
	return p.holds(ctx, p.raw(winner))
}

func raceReplace(ctx context.Context, p *probe) error {
	const first = clients
	if err := p.Lock(ctx, p.ref, p.info(first)); err != nil {
		return err
	}
	winner, err := oneWinner(race(func(i int) error { return p.Replace(ctx, p.ref, p.raw(first), p.info(i)) }))
	if err != nil {
		return err
	}
	return p.holds(ctx, p.raw(winner))
}

func raceReplaceUnlock(ctx context.Context, p *probe) error {
	const first = clients
	if err := p.Lock(ctx, p.ref, p.info(first)); err != nil {
		return err
	}
	winner, err := oneWinner(race(func(i int) error {
		if i%2 == 0 {
			return p.Unlock(ctx, p.ref, p.raw(first))
		}
		return p.Replace(ctx, p.ref, p.raw(first), p.info(i))
	}))
	switch {
	case err != nil:
		return err
	case winner%2 == 0:
		return p.holds(ctx, "")
	}
	return p.holds(ctx, p.raw(winner))
}

func raceDigest(ctx context.Context, p *probe) error {
	sum := func(i int) string { return fmt.Sprintf("%032x", i) }
	winner, err := oneWinner(race(func(i int) error { return p.SwapDigest(ctx, p.ref, "", sum(i)) }))
	if err != nil {
		return err
	}
	return p.digests(ctx, sum(winner))
}
